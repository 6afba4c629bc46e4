"""Any video VAE of diffusers, from a folder that it saved, behind our interface.

    vae = read_diffusers_vae(Path("Wan2.1/vae"))        # AutoencoderKLWan, AutoencoderKLLTXVideo, …

The folder holds config.json and safetensors; pickled weights are not read. Nothing else of
diffusers is used, and it is imported only here, when such a folder is opened.

These VAEs are causal in time at best: a latent carries what came before it (`local_groups` is
False), so given frames have to be encoded on their own, as a clip of theirs.

Shapes: as in `modeling/codec.py`.
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infra.errors import InputError, NotFoundError
from modeling.codec import VAE, DecoderCache, EncoderCache
from modeling.tiling import Tiling, tiled

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
CONTEXT = 4
"""Latent frames that a stream decodes again before the new ones, or encodes again."""


class DiffusersVAE(VAE):
    """A diffusers video VAE. A stream is the whole as far as `CONTEXT` latent frames reach back;
    a decoder that also looks ahead, as LTX's, sees no further than the part it is given."""

    local_groups = False

    def __init__(self, model: Any, config: dict[str, Any]) -> None:
        super().__init__(latent_channels(config))
        self.config = config
        self.model = model
        self.spatial, self.group = compression(model)
        mean, std = statistics(model, config)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)
        # LTX's classes come with zeros and ones until somebody measures.
        self.has_statistics = bool(mean.any()) or not torch.equal(std, torch.ones_like(std))

    def encode(
        self,
        video_BTHWC: Tensor,
        cache: EncoderCache | None = None,
        tiling: Tiling | None = None,
    ) -> Tensor:
        """See `VAE.encode`: the posterior's mean."""
        self.check_clip(video_BTHWC, streamed=cache is not None)
        if cache is None:
            return self._encode_clip(video_BTHWC, tiling)
        if not isinstance(cache, _SeenFrames):
            raise TypeError("this VAE's streams need the cache that its own encoder_cache() makes")
        return cache.encode(video_BTHWC, lambda clip: self._encode_clip(clip, tiling), self)

    def encoder_cache(self) -> EncoderCache:
        return _SeenFrames()

    def decode(
        self,
        latents_BGChw: Tensor,
        cache: DecoderCache | None = None,
        tiling: Tiling | None = None,
    ) -> Tensor:
        """See `VAE.decode`."""
        if not latents_BGChw.shape[1]:
            return self.no_video(latents_BGChw)
        cache = cache or DecoderCache()
        before = cache.previous_BGChw
        seen = latents_BGChw if before is None else torch.cat([before, latents_BGChw], dim=1)
        video = self._decode_clip(seen, tiling)
        cache.groups += latents_BGChw.shape[1]
        cache.previous_BGChw = seen[:, -CONTEXT:].clone()
        return video if before is None else video[:, -self.group * latents_BGChw.shape[1] :]

    def _encode_clip(self, video_BTHWC: Tensor, tiling: Tiling | None) -> Tensor:
        def mean(x_BCTHW: Tensor) -> Tensor:
            z: Tensor = self.model.encode(x_BCTHW).latent_dist.mode()
            return z

        z = tiled(mean, video_BTHWC.movedim(-1, 1), tiling, scale_in=self.spatial)
        return self.normalised(z.movedim(1, 2))

    def _decode_clip(self, latents_BGChw: Tensor, tiling: Tiling | None) -> Tensor:
        def pixels(z_BCGhw: Tensor) -> Tensor:
            video: Tensor = self.model.decode(z_BCGhw).sample
            return video

        z = self.denormalised(latents_BGChw).movedim(2, 1)
        return tiled(pixels, z, tiling, scale_out=self.spatial).movedim(1, -1)


class _SeenFrames(EncoderCache):
    """Also keeps the frames of the last groups, which the next ones are encoded after."""

    before_BTHWC: Tensor | None = None

    def encode(self, video: Tensor, encode_clip: Callable[[Tensor], Tensor], vae: VAE) -> Tensor:
        groups = self.groups
        frames = self.take(video, vae.group)
        new = self.groups - groups
        if new == 0:
            return vae.no_latents(video)
        if self.before_BTHWC is None:
            clip = frames[:, vae.group - 1 :]
        else:
            clip = torch.cat([self.before_BTHWC, frames], dim=1)
        # A clip opens with a single frame; the context's first group is shortened to one.
        self.before_BTHWC = clip[:, -(1 + vae.group * (CONTEXT - 1)) :].clone()
        return encode_clip(clip)[:, -new:]


def read_diffusers_vae(folder: Path) -> DiffusersVAE:
    """The VAE in a folder of diffusers, in evaluation mode.

    Raises:
        NotFoundError: the folder holds no config.json.
        InputError: the config names no video VAE, or there are no safetensors, or they do not fit.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise NotFoundError(f"{folder} is no diffusers VAE: it has no {CONFIG}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        name = config["_class_name"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path} names no model class ({error!r}); save the VAE again") from error
    if not list(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder} has no safetensors, and pickled weights are not read; "
            "save it with save_pretrained(…, safe_serialization=True)"
        )
    try:
        model = _model_class(str(name)).from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, TypeError, RuntimeError, KeyError) as error:
        raise InputError(f"{folder} cannot be read as {name}: {error}") from error
    vae = DiffusersVAE(model, config)
    vae.eval().requires_grad_(False)
    return vae


def diffusers_vae(config: dict[str, Any]) -> DiffusersVAE:
    """A VAE by its config alone, without its weights.

    Raises:
        InputError: the config names no video VAE that this diffusers has.
    """
    model_class = _model_class(str(config.get("_class_name")))
    return DiffusersVAE(model_class.from_config(config), config)


def _model_class(name: str) -> Any:
    diffusers = importlib.import_module("diffusers")
    found = getattr(diffusers, name, None)
    if found is None or not name.startswith("Autoencoder"):
        raise InputError(
            f"diffusers {diffusers.__version__} has no autoencoder {name!r}; "
            "expected AutoencoderKLWan, AutoencoderKLLTXVideo or another video VAE"
        )
    return found


def latent_channels(config: dict[str, Any]) -> int:
    """Channels by any of the names that diffusers' VAEs have for them."""
    for key in ("z_dim", "latent_channels"):
        if isinstance(config.get(key), int):
            return int(config[key])
    raise InputError("the VAE's config gives neither z_dim nor latent_channels; is it a VAE?")


def compression(model: Any) -> tuple[int, int]:
    """(pixels along a latent position, frames of a latent frame).

    Raises:
        InputError: the model does not say; it is one of images, not of videos.
    """
    config = dict(model.config)
    spatial = config.get("scale_factor_spatial") or getattr(model, "spatial_compression_ratio", 0)
    temporal = config.get("scale_factor_temporal") or getattr(
        model, "temporal_compression_ratio", 0
    )
    if not spatial or not temporal:
        raise InputError(f"{type(model).__name__} does not say how it compresses time and space")
    return int(spatial), int(temporal)


def statistics(model: Any, config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each latent channel: from the config, else the weights, else 0 and 1.

    `latents.measure_statistics` measures them where a VAE came without.
    """
    channels = latent_channels(config)
    mean, std = (
        config.get(key) if config.get(key) is not None else getattr(model, key, None)
        for key in ("latents_mean", "latents_std")
    )
    if mean is None or std is None:
        scale = float(config.get("scaling_factor") or 1.0)
        return torch.zeros(channels), torch.full((channels,), 1 / scale)
    found = tuple(torch.as_tensor(part, dtype=torch.float32).flatten() for part in (mean, std))
    if any(len(part) != channels for part in found) or not bool((found[1] > 0).all()):
        raise InputError(
            f"the VAE's latents_mean and latents_std have {len(found[0])} and {len(found[1])} "
            f"values for {channels} channels, or a deviation is not above 0; correct its config"
        )
    return found[0], found[1]
