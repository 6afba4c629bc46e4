"""The one objective: rectified flow with a sampled pattern of given frames.

Rectified flow (Liu et al., 2022): x_t = (1 - t) x + t noise, and the network learns the velocity
noise - x. Timesteps are logit-normal (Esser et al., 2024); given frames stay clean at t = 0 and
carry no loss. Which frames are given makes the task. The frames that are asked for share one
timestep, as they do when sampling, or, in a share of the clips, have each their own (diffusion
forcing, Chen et al., 2024): then a noisy frame can only be told from its cleaner neighbours.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True, kw_only=True)
class NoiseRecipe:
    """Shares of the patterns (the rest gives nothing: text-to-video) and the timestep's spread."""

    head_share: float = 0.15
    """Some first latent frames are given: image-to-video and extension forward."""
    tail_share: float = 0.2
    """Some last latent frames are given: extension backward."""
    independent_share: float = 0.0
    """Every frame that is asked for has a timestep of its own."""
    logit_mean: float = 0.0
    logit_std: float = 1.0


def sample_given(frames: int, recipe: NoiseRecipe, generator: Generator) -> Tensor:
    """Which of a clip's latent frames are given, (G,) bool; never all of them."""
    given = torch.zeros(frames, dtype=torch.bool)
    if frames == 1:
        return given
    chance = float(torch.rand((), generator=generator))
    count = int(torch.randint(1, frames, (), generator=generator))
    if chance < recipe.head_share:
        given[:count] = True
    elif chance < recipe.head_share + recipe.tail_share:
        given[frames - count :] = True
    return given


def sample_timesteps(given_G: Tensor, recipe: NoiseRecipe, generator: Generator) -> Tensor:
    """A timestep in (0, 1) for each latent frame, 0 for the given ones; (G,)."""
    independent = float(torch.rand((), generator=generator)) < recipe.independent_share
    normal = torch.randn(len(given_G) if independent else 1, generator=generator)
    timesteps = torch.sigmoid(recipe.logit_mean + recipe.logit_std * normal)
    return timesteps.expand(len(given_G)).masked_fill(given_G, 0)


def add_noise(latents_GChw: Tensor, noise_GChw: Tensor, timesteps_G: Tensor) -> Tensor:
    """The point at t on the straight line from data to noise, frame by frame."""
    t = timesteps_G.view(-1, 1, 1, 1).to(latents_GChw)
    return (1 - t) * latents_GChw + t * noise_GChw
