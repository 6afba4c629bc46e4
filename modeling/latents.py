"""Latents in the lake: every clip's windows encoded once by a VAE, keyed by the VAE's hash.

Shapes: W windows of a clip, G latent frames, C channels, h w latent positions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from infra.errors import InputError
from infra.lake import Lake, quote, quote_all
from modeling.codec import VAE
from modeling.data import Clip, to_float, window_starts
from modeling.recipes import DataRecipe

ROWS_PER_COMMIT = 256
STATISTICS_CLIPS = 256
SHARE_KEPT = 0.3  # measured on the demo: 0 and 0.5 learn shapes more slowly


@dataclass(frozen=True)
class LatentClip:
    """A clip as the transformer trains on it."""

    clip_id: str
    caption: str
    windows_WGChw: Tensor


@torch.no_grad()
def encode_windows(vae: VAE, clip: Clip, recipe: DataRecipe) -> Tensor:
    """Normalised latents of a clip's windows, (W, G, C, h, w)."""
    starts = window_starts(len(clip.frames_THWC), recipe)
    windows = [clip.frames_THWC[start : start + recipe.num_frames] for start in starts]
    return vae.encode(to_float(np.stack(windows)).to(vae.device))


def measure_statistics(vae: VAE, clips: Sequence[Clip], recipe: DataRecipe) -> None:
    """Set the statistics by which latents are normalised, over a spread of these clips.

    Unit power over all channels together, but a channel keeps a part (the power SHARE_KEPT) of its
    share in the picture. With every channel at unit deviation the finest detail is as loud as the
    layout and the sampler has to settle both at once; with the shares as they are, detail drowns
    in noise.
    """
    some = clips[:: max(1, len(clips) // STATISTICS_CLIPS)]
    latents = [encode_windows(vae, clip, recipe).movedim(2, -1).flatten(0, -2) for clip in some]
    values = torch.cat(latents)
    # What `encode` returned was already normalised by the statistics that are now replaced.
    vae.latent_mean += values.mean(0) * vae.latent_std
    deviation = vae.latent_std * (values.std(0) + 1e-6)
    share = (vae.channel_gain() * deviation) ** SHARE_KEPT
    vae.latent_std.copy_(deviation / share * share.square().mean().sqrt())


def write_latents(
    lake: Lake,
    vae: VAE,
    vae_hash: str,
    clips: Sequence[Clip],
    recipe: DataRecipe,
    on_progress: Callable[[int, int], None],
) -> int:
    """Encode the clips whose latents by this VAE are missing; returns how many there were."""
    done = lake.read("latents", ["clip_id"], where=f"vae_hash = {quote(vae_hash)}")
    stored = set(done.column("clip_id").to_pylist())
    missing = [clip for clip in clips if clip.clip_id not in stored]
    for first in range(0, len(missing), ROWS_PER_COMMIT):
        part = missing[first : first + ROWS_PER_COMMIT]
        rows = []
        for clip in part:
            latents = encode_windows(vae, clip, recipe)
            rows.append(
                {
                    "clip_id": clip.clip_id,
                    "vae_hash": vae_hash,
                    "shape": list(latents.shape),
                    "fps": recipe.fps,
                    "latent": latents.cpu().numpy().astype(np.float16).tobytes(),
                }
            )
        lake.append("latents", rows)
        on_progress(min(first + ROWS_PER_COMMIT, len(missing)), len(missing))
    return len(missing)


def read_latents(lake: Lake, vae_hash: str, clips: dict[str, str]) -> list[LatentClip]:
    """Latents of the clips (id to caption) by this VAE, in the order of their ids.

    Raises:
        InputError: a clip has none; the latents step was not run for it.
    """
    table = lake.read("latents", where=f"vae_hash = {quote(vae_hash)}")
    rows = {row["clip_id"]: row for row in table.to_pylist() if row["clip_id"] in clips}
    missing = sorted(set(clips) - set(rows))
    if missing:
        raise InputError(
            f"{len(missing)} of {len(clips)} clips have no latents by VAE {vae_hash} "
            f"(first: {quote_all(missing[:3])}); run the latents step first"
        )
    return [_latent_clip(rows[clip_id], clips[clip_id]) for clip_id in sorted(clips)]


def _latent_clip(row: dict[str, object], caption: str) -> LatentClip:
    data, shape = row["latent"], row["shape"]
    assert isinstance(data, bytes) and isinstance(shape, list)
    values = np.frombuffer(data, np.float16).astype(np.float32).reshape(shape)
    return LatentClip(str(row["clip_id"]), caption, torch.from_numpy(values))
