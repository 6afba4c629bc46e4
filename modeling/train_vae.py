"""Training the VAE: windows of real clips, a detail-weighted reconstruction loss, a little KL."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from modeling.data import Clip, to_float
from modeling.perceptual import PerceptualLoss
from modeling.recipes import VAERecipe
from modeling.vae import VideoVAE

LINEAR_START_CLIPS = 400


class WindowSampler:
    """Random windows of `num_frames`; a batch has one size, sizes come as often as their clips."""

    def __init__(self, clips: Sequence[Clip], num_frames: int, batch: int) -> None:
        self.num_frames, self.batch = num_frames, batch
        by_size: dict[tuple[int, ...], list[Clip]] = defaultdict(list)
        for clip in clips:
            by_size[clip.frames_THWC.shape[1:]].append(clip)
        self.sizes = [by_size[size] for size in sorted(by_size)]
        self.shares = torch.tensor([float(len(group)) for group in self.sizes])

    def __call__(self, rng: Generator) -> Tensor:
        """(B, T, H, W, 3) in [-1, 1]."""
        group = self.sizes[int(torch.multinomial(self.shares, 1, generator=rng))]
        windows: list[npt.NDArray[np.uint8]] = []
        for index in torch.randint(len(group), (self.batch,), generator=rng).tolist():
            frames = group[index].frames_THWC
            spare = len(frames) - self.num_frames
            start = int(torch.randint(spare + 1, (), generator=rng))
            windows.append(frames[start : start + self.num_frames])
        return to_float(np.stack(windows))


def detail_weight(video_BTHWC: Tensor, weight: float) -> Tensor:
    """1 on plain areas, up to 1 + weight where brightness varies nearby; (B, T, H, W, 1).

    Unweighted losses spend themselves on the background, while outlines are what one looks at.
    """
    luma = video_BTHWC.mean(-1).flatten(0, 1)[:, None]
    spread = F.max_pool2d(luma, 5, 1, 2) + F.max_pool2d(-luma, 5, 1, 2)
    return 1 + weight * spread.clamp(0, 1).view(*video_BTHWC.shape[:4], 1)


def vae_loss(
    vae: VideoVAE,
    video_BTHWC: Tensor,
    recipe: VAERecipe,
    rng: Generator,
    perceptual: PerceptualLoss | None = None,
) -> Tensor:
    """What the VAE is trained by: `reconstruction_loss` of a draw from the posterior."""
    video_BTHWC = video_BTHWC.to(vae.device)
    mean, log_var = vae.posterior(video_BTHWC)
    noise = torch.randn(mean.shape, generator=rng).to(mean)
    again = vae.reconstruct(mean + noise * (0.5 * log_var).exp())
    loss = reconstruction_loss(video_BTHWC, again, mean, log_var, recipe)
    if perceptual is not None:
        loss = loss + recipe.perceptual.weight * perceptual(again, video_BTHWC)
    return loss


def reconstruction_loss(
    video_BTHWC: Tensor, again_BTHWC: Tensor, mean: Tensor, log_var: Tensor, recipe: VAERecipe
) -> Tensor:
    """Weighted L1 + MSE of the reconstruction, and the KL divergence from a unit normal."""
    error = again_BTHWC - video_BTHWC
    weight = detail_weight(video_BTHWC, recipe.detail_weight)
    fit = (weight * (error.abs() + error.square())).sum() / (weight.sum() * 3)
    divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
    return fit + recipe.kl_weight * divergence


def start_linear(vae: VideoVAE, clips: Sequence[Clip], recipe: VAERecipe) -> None:
    """Start from the principal components of a spread of the training clips, size by size."""
    step = max(1, len(clips) // LINEAR_START_CLIPS)
    vae.start_linear([to_float(clip.frames_THWC[: recipe.num_frames]) for clip in clips[::step]])


@torch.no_grad()
def psnr_db(video: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [-1, 1]."""
    return float(-10 * torch.log10(((video - reference) / 2).square().mean() + 1e-12))
