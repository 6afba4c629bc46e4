"""What a model is worth, measured on clips it never trained on.

Every number comes with its count; the promotion gate reads the same table as people do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from infra.pictures import contact_sheet, frame_strip
from infra.video import write_mp4
from modeling.bundle import Bundle
from modeling.data import Clip, to_float, to_pixels
from modeling.generate import Generator
from modeling.latents import LatentClip
from modeling.tasks import Given, Request
from modeling.train_dit import dit_loss, noised
from modeling.train_vae import psnr_db
from modeling.trainer import rng

LOSS_TIMESTEPS = (0.1, 0.3, 0.5, 0.7, 0.9)
PICTURED_CLIPS = 8
LEARNED_CLIPS = 64


@dataclass(frozen=True)
class Measure:
    """One row of the evaluation table."""

    name: str
    value: float
    n: int
    note: str


def heldout_loss(bundle: Bundle, clips: Sequence[LatentClip]) -> Measure:
    """Velocity loss on held-out clips; a network that learned nothing comes to about 2."""
    note = f"velocity error at t = {', '.join(map(str, LOSS_TIMESTEPS))}"
    return Measure("heldout_loss", _velocity_loss(bundle, clips), len(clips), note)


def training_clips_loss(bundle: Bundle, clips: Sequence[LatentClip]) -> Measure:
    """The same on clips that it did train on: whether it learned anything, not how well."""
    step = -(-len(clips) // LEARNED_CLIPS)
    some = clips[::step]
    note = "the same on clips it trained on: far below the held-out one, it knows them by heart"
    return Measure("training_clips_loss", _velocity_loss(bundle, some), len(some), note)


@torch.no_grad()
def _velocity_loss(bundle: Bundle, clips: Sequence[LatentClip]) -> float:
    """With fixed noise, averaged over fixed timesteps."""
    losses = []
    for number, timestep in enumerate(LOSS_TIMESTEPS):
        generator = rng(17, number)
        samples = []
        for clip in clips:
            latents = clip.windows_WGChw[0]
            given = torch.zeros(len(latents), 1, 1, dtype=torch.bool)
            timesteps = torch.full((len(latents), 1, 1), timestep)
            tokens = bundle.tokenizer.encode(clip.caption)
            samples.append(
                noised(latents, given, timesteps, tokens, bundle.recipe.data.fps, generator)
            )
        losses.append(float(dit_loss(bundle.dit, bundle.text, samples)))
    return float(np.mean(losses))


@torch.no_grad()
def vae_psnr(bundle: Bundle, clips: Sequence[Clip]) -> Measure:
    """Reconstruction of held-out clips' first windows."""
    values = []
    for clip in clips:
        video = to_float(clip.frames_THWC[: bundle.recipe.data.num_frames])
        again = bundle.vae.decode(bundle.vae.encode(video[None]))[0].clamp(-1, 1)
        values.append(psnr_db(again, video))
    return Measure("vae_psnr_db", float(np.mean(values)), len(values), "held-out clips, mean")


@torch.no_grad()
def image_to_video_psnr(bundle: Bundle, clips: Sequence[Clip]) -> Measure:
    """First frame shown when a picture is given, against that picture through the VAE."""
    generator, values = Generator(bundle), []
    for number, clip in enumerate(clips):
        frame = clip.frames_THWC[:1]
        request = _request(generator, clip, number, given=frame)
        shown = generator.decoded_window(request)[:1]
        expected = bundle.vae.decode(bundle.vae.encode(to_float(frame)[None]))[0]
        values.append(psnr_db(to_float(shown), to_float(to_pixels(expected))))
    note = "given frame as generated, against its own reconstruction; lowest of all"
    return Measure("image_to_video_psnr_db", float(np.min(values)), len(values), note)


def draw_samples(bundle: Bundle, clips: Sequence[Clip], folder: Path) -> dict[str, Path]:
    """Generated clips beside the held-out ones of the same captions: a picture, and MP4s."""
    generator = Generator(bundle)
    shown = clips[:PICTURED_CLIPS]
    requests = [_request(generator, clip, 100 + i, given=None) for i, clip in enumerate(shown)]
    tiles, files = [], {}
    for index, (clip, video) in enumerate(
        zip(shown, generator.generate_many(requests), strict=True)
    ):
        real = clip.frames_THWC[: len(video)]
        tiles.append((frame_strip(real, 5), f"real: {clip.caption}"))
        tiles.append((frame_strip(video, 5), f"generated: {clip.caption}"))
        path = folder / f"sample-{index}.mp4"
        write_mp4(np.concatenate([real, video], axis=2), bundle.recipe.data.fps, path)
        files[path.stem] = path
    sheet = folder / "samples.png"
    contact_sheet(tiles, columns=2, tile_width=480).save(sheet)
    return {"samples": sheet, **files}


def _request(
    generator: Generator,
    clip: Clip,
    seed: int,
    given: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None,
) -> Request:
    height, width = clip.frames_THWC.shape[1:3]
    return Request(
        prompt=clip.caption,
        num_frames=generator.data.num_frames,
        height=height,
        width=width,
        seed=seed,
        given=() if given is None else (Given(given),),
    )
