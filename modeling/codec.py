"""What every video VAE offers, ours or another library's: normalised latents in both directions.

    latents = vae.encode(video)                 # the whole clip
    cache = vae.encoder_cache()                 # or a stream of any frames as they come
    parts = [vae.encode(frames, cache) for frames in stream]
    cache = vae.decoder_cache()
    videos = [vae.decode(part, cache) for part in parts]

A cache is all that a stream remembers; the VAE itself remembers nothing, so streams may interleave.

Shapes: B batch, T frames, G latent frames, C latent channels, H W pixels, h w latent positions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modeling.tiling import Tiling


@dataclass
class EncoderCache:
    """A stream of frames so far: groups encoded, and frames that wait for the rest of theirs."""

    groups: int = 0
    waiting_BTHWC: Tensor | None = None

    def take(self, video_BTHWC: Tensor, group: int) -> Tensor:
        """Frames of whole groups, (B, n * group, H, W, 3); the rest waits.

        The video's first frame is a group of its own: it is shown `group` times.
        """
        if self.waiting_BTHWC is not None:
            video_BTHWC = torch.cat([self.waiting_BTHWC, video_BTHWC], dim=1)
        elif self.groups == 0 and video_BTHWC.shape[1]:
            still = video_BTHWC[:, :1].expand(-1, group - 1, -1, -1, -1)
            video_BTHWC = torch.cat([still, video_BTHWC], dim=1)
        whole = video_BTHWC.shape[1] // group * group
        rest = video_BTHWC[:, whole:]
        self.waiting_BTHWC = rest.clone() if rest.shape[1] else None
        self.groups += whole // group
        return video_BTHWC[:, :whole]


@dataclass
class DecoderCache:
    """A stream of latents so far: how many, and the last ones, as they are still needed.

    To go on after latents that were decoded elsewhere, start with these as `previous_BGChw`.
    """

    groups: int = 0
    previous_BGChw: Tensor | None = None


class VAE(nn.Module):
    """A video VAE. Clips have 1 + group * k frames, and sides that are multiples of `spatial`.

    group, spatial: frames in one latent frame, pixels along one latent position.
    local_groups: a latent frame is made of its own frames alone, so any subset of a clip's latents
        may be given without telling of the others. Where it is False, latents also carry what came
        before: frames that are given have to be encoded on their own, as a clip of theirs.
    latent_mean, latent_std: (C,), what latents are normalised by; they are saved with the weights.
    """

    group: int
    spatial: int
    local_groups: bool
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.latent_channels = latent_channels
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @property
    def device(self) -> torch.device:
        """Where it computes, and wants its input."""
        return self.latent_mean.device

    def encoder_cache(self) -> EncoderCache:
        return EncoderCache()

    def decoder_cache(self) -> DecoderCache:
        return DecoderCache()

    def encode(
        self,
        video_BTHWC: Tensor,
        cache: EncoderCache | None = None,
        tiling: Tiling | None = None,
    ) -> Tensor:
        """Pixels in [-1, 1] -> normalised latents (B, G, C, h, w).

        Without a cache these are the clip's 1 + k. With one, those of the groups that these frames
        completed, maybe none: (B, 0, C, h, w).

        Raises:
            ValueError: a clip is not 1 + group * k frames, or a side no multiple of `spatial`.
        """
        raise NotImplementedError

    def decode(
        self,
        latents_BGChw: Tensor,
        cache: DecoderCache | None = None,
        tiling: Tiling | None = None,
    ) -> Tensor:
        """Normalised latents -> pixels, about [-1, 1]: (B, T, H, W, 3).

        The first latent frame of a video gives one frame, every other one gives `group`.
        """
        raise NotImplementedError

    def still(self, latents_GChw: Tensor, group: int) -> Tensor:
        """The last frame of one group of a clip's latents, (H, W, 3): `decode`'s, up to rounding.

        It costs about what decoding that group alone does.
        """
        cache = self.decoder_cache()
        if group:
            cache.previous_BGChw = latents_GChw[None, group - 1 : group]
        return self.decode(latents_GChw[None, group : group + 1], cache, Tiling())[0, -1]

    def channel_gain(self) -> Tensor:
        """How much a unit of each latent channel moves the picture; ones where it is not known."""
        return torch.ones_like(self.latent_std)

    def no_latents(self, video_BTHWC: Tensor) -> Tensor:
        """What encodes to nothing yet: (B, 0, C, h, w)."""
        batch, _, height, width, _ = video_BTHWC.shape
        sides = (height // self.spatial, width // self.spatial)
        return video_BTHWC.new_zeros(batch, 0, self.latent_channels, *sides)

    def no_video(self, latents_BGChw: Tensor) -> Tensor:
        """What no latents decode to: (B, 0, H, W, 3)."""
        batch, _, _, height, width = latents_BGChw.shape
        return latents_BGChw.new_zeros(batch, 0, height * self.spatial, width * self.spatial, 3)

    def normalised(self, z_BGChw: Tensor) -> Tensor:
        return (z_BGChw - over_channels(self.latent_mean)) / over_channels(self.latent_std)

    def denormalised(self, latents_BGChw: Tensor) -> Tensor:
        return latents_BGChw * over_channels(self.latent_std) + over_channels(self.latent_mean)

    def check_clip(self, video_BTHWC: Tensor, *, streamed: bool) -> None:
        """Refuse what does not divide into groups and positions; a stream may have any frames."""
        frames, height, width = video_BTHWC.shape[1:4]
        odd = not streamed and (frames - 1) % self.group
        if odd or height % self.spatial or width % self.spatial:
            raise ValueError(
                f"a clip must have 1+{self.group}k frames and sides that are multiples of "
                f"{self.spatial}; got {frames} frames of {height}x{width}"
            )


def over_channels(values_C: Tensor) -> Tensor:
    return values_C.view(1, 1, -1, 1, 1)
