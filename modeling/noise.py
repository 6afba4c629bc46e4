"""The one objective: rectified flow with a sampled pattern of what is given.

Rectified flow (Liu et al., 2022): x_t = (1 - t) x + t noise, and the network learns the velocity
noise - x. Timesteps are logit-normal (Esser et al., 2024); what is given stays clean at t = 0 and
carries no loss. Which frames, or which part of every frame, are given makes the task. What is asked
for shares one timestep, as it does when sampling, or, in a share of the clips, each frame has its
own (diffusion forcing, Chen et al., 2024), in any order or rising with time: then a noisy frame can
only be told from its cleaner neighbours.

A mask or a timestep has one value for each patch, (G, y, x), or for each whole frame, (G, 1, 1).
Shapes: G latent frames, y x positions of the patch grid, C channels, h w latent positions.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

Grid = tuple[int, int, int]  # G, y, x


@dataclass(frozen=True, kw_only=True)
class NoiseRecipe:
    """Shares of the patterns (the rest gives nothing: text-to-video) and the timestep's spread."""

    head_share: float = 0.15
    """Some first latent frames are given: image-to-video and extension forward."""
    tail_share: float = 0.2
    """Some last latent frames are given: extension backward."""
    ends_share: float = 0.03
    """First and last ones: a bridge between two clips, a loop's seam."""
    scattered_share: float = 0.02
    """Any ones: key frames, infill in time."""
    outside_share: float = 0.025
    """All but a box, the same in every frame: infill in space."""
    box_share: float = 0.025
    """Only a box: outpaint."""
    independent_share: float = 0.0
    """Every frame that is asked for has a timestep of its own."""
    rising_share: float = 0.0
    """The same, but no frame is cleaner than the one before it."""
    midstream_share: float = 0.3
    """Of the windows of which something is given, those without their first latent frame, which
    alone stands for a single frame of pixels: what a rollout sees from its second window on."""
    logit_mean: float = 0.0
    logit_std: float = 1.0


def sample_given(grid: Grid, recipe: NoiseRecipe, generator: Generator) -> Tensor:
    """What of a clip is given, bool, (G, 1, 1) or (G, y, x); never all of it."""
    patterns = (
        (recipe.head_share, _head),
        (recipe.tail_share, _tail),
        (recipe.ends_share, _ends),
        (recipe.scattered_share, _scattered),
        (recipe.outside_share, _outside),
        (recipe.box_share, _box),
    )
    chance = float(torch.rand((), generator=generator))
    for share, draw in patterns:
        if chance < share:
            return draw(grid, generator)
        chance -= share
    return _nothing(grid)


def _nothing(grid: Grid) -> Tensor:
    return torch.zeros(grid[0], 1, 1, dtype=torch.bool)


def _head(grid: Grid, generator: Generator) -> Tensor:
    given = _nothing(grid)
    if grid[0] > 1:
        given[: _between(1, grid[0], generator)] = True
    return given


def _tail(grid: Grid, generator: Generator) -> Tensor:
    return _head(grid, generator).flip(0)


def _ends(grid: Grid, generator: Generator) -> Tensor:
    given = _nothing(grid)
    if grid[0] > 2:
        first = _between(1, grid[0] - 1, generator)
        given[:first] = given[_between(first + 1, grid[0], generator) :] = True
    return given


def _scattered(grid: Grid, generator: Generator) -> Tensor:
    given = _nothing(grid)
    if grid[0] > 1:
        order = torch.randperm(grid[0], generator=generator)
        given[order[: _between(1, grid[0], generator)]] = True
    return given


def _box(grid: Grid, generator: Generator) -> Tensor:
    frames, rows, columns = grid
    inside = torch.zeros(rows, columns, dtype=torch.bool)
    spans = []
    for side in (rows, columns):
        length = _between(1, side + 1, generator)
        first = _between(0, side - length + 1, generator)
        spans.append(slice(first, first + length))
    inside[spans[0], spans[1]] = True
    if inside.all():  # an even half instead, which is nothing of a single patch
        inside[rows // 2 if columns == 1 else 0 :, columns // 2 :] = False
    return inside.expand(frames, -1, -1)


def _outside(grid: Grid, generator: Generator) -> Tensor:
    inside = _box(grid, generator)
    return ~inside if inside.any() else inside


def _between(low: int, high: int, generator: Generator) -> int:
    """A whole number, low <= number < high."""
    return int(torch.randint(low, high, (), generator=generator))


def sample_timesteps(given_Gyx: Tensor, recipe: NoiseRecipe, generator: Generator) -> Tensor:
    """Timesteps in (0, 1), 0 for what is given; of the mask's shape."""
    chance = float(torch.rand((), generator=generator))
    rising = chance < recipe.rising_share
    apart = chance < recipe.rising_share + recipe.independent_share
    normal = torch.randn(len(given_Gyx) if apart else 1, generator=generator)
    if rising:
        normal = normal.sort().values
    timesteps = torch.sigmoid(recipe.logit_mean + recipe.logit_std * normal)
    return timesteps.view(-1, 1, 1).expand(given_Gyx.shape).masked_fill(given_Gyx, 0)


def over_latents(values_Gyx: Tensor, latents_GChw: Tensor) -> Tensor:
    """Values of patches or of whole frames, shaped to meet the latents: (G, 1, h, w) or 1, 1."""
    _, rows, columns = values_Gyx.shape
    height, width = latents_GChw.shape[2:]
    if rows * columns > 1:
        values_Gyx = values_Gyx.repeat_interleave(height // rows, 1)
        values_Gyx = values_Gyx.repeat_interleave(width // columns, 2)
    return values_Gyx[:, None].to(latents_GChw.device)


def add_noise(latents_GChw: Tensor, noise_GChw: Tensor, timesteps_Gyx: Tensor) -> Tensor:
    """The point at t on the straight line from data to noise, each patch at its own t."""
    t = over_latents(timesteps_Gyx, latents_GChw).to(latents_GChw)
    return (1 - t) * latents_GChw + t * noise_GChw
