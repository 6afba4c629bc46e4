"""The sampler: from noise to latents along the learned velocity, with classifier-free guidance.

Steps from t = 1 to t = 0 on a shifted schedule (Esser et al., 2024), each one packed call of the
network, with conditional and unconditional documents side by side.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modeling.dit import DiT
from modeling.documents import Document, pack, split, table_order
from modeling.step_cache import StepCache


@dataclass(frozen=True, kw_only=True)
class SamplerRecipe:
    """Steps and guidance; `shift` > 1 spends more steps near noise, as larger grids need."""

    steps: int = 16
    guidance: float = 4.0
    shift: float = 1.0
    solver: Literal["euler", "adams"] = "euler"
    """adams: the two-step method of Adams and Bashforth, second order for one call a step."""
    cache_threshold: float = 0.0
    """Where the first block changes by a smaller share, the others are not asked; 0: always."""


@dataclass(frozen=True)
class Task:
    """What to generate: the given frames hold clean latents, the others are ignored.

    text_LD and negative_LD are features of the prompt and of what guidance steers away from.
    The noise comes from `seed` alone, so a task gives the same video whatever else is in the batch.
    """

    latents_GChw: Tensor
    given_G: Tensor
    text_LD: Tensor
    negative_LD: Tensor
    fps: float
    seed: int


class SamplingStopped(Exception):  # noqa: N818 - an outcome, not an error
    """`on_step` returned False."""


def schedule(recipe: SamplerRecipe) -> Tensor:
    """Timesteps from 1 to 0, (steps + 1,)."""
    t = torch.linspace(1, 0, recipe.steps + 1)
    return recipe.shift * t / (1 + (recipe.shift - 1) * t)


def initial_noise(task: Task) -> Tensor:
    generator = torch.Generator().manual_seed(task.seed)
    return torch.randn(task.latents_GChw.shape, generator=generator).to(task.latents_GChw)


@torch.no_grad()
def sample(
    dit: DiT,
    tasks: Sequence[Task],
    recipe: SamplerRecipe,
    on_step: Callable[[int, int], bool] | None = None,
    on_states: Callable[[int, Sequence[Tensor]], None] | None = None,
) -> list[Tensor]:
    """Latents (G, C, h, w) of each task, given frames unchanged.

    `on_step(done, steps)` is called after each step, `on_states(step, states)` before each and
    after the last with the latents on their way.

    Raises:
        SamplingStopped: `on_step` returned False.
    """
    states = [
        torch.where(task.given_G.view(-1, 1, 1, 1), task.latents_GChw, initial_noise(task))
        for task in tasks
    ]
    times = schedule(recipe).tolist()
    threshold = recipe.cache_threshold
    cache = StepCache(dit, threshold, recipe.steps) if threshold else None
    before: list[Tensor] = []
    for step, (now, following) in enumerate(itertools.pairwise(times)):
        if on_states is not None:
            on_states(step, states)
        velocities = guided_velocities(dit, tasks, states, now, recipe.guidance, cache)
        slopes = velocities
        if recipe.solver == "adams" and before:
            slopes = extrapolated(before, velocities, times[step - 1] - now, now - following)
        before = velocities
        for index, (task, slope) in enumerate(zip(tasks, slopes, strict=True)):
            moved = states[index] + (following - now) * slope
            states[index] = torch.where(task.given_G.view(-1, 1, 1, 1), states[index], moved)
        if on_step is not None and not on_step(step + 1, recipe.steps):
            raise SamplingStopped
    if on_states is not None:
        on_states(recipe.steps, states)
    return states


def extrapolated(
    before: Sequence[Tensor], velocities: Sequence[Tensor], last: float, step: float
) -> list[Tensor]:
    """Velocities in the middle of the coming step, on the line through the last two.

    `last`, `step`: lengths in t of the step made and of the one to make.
    """
    share = step / (2 * last)
    return [v + share * (v - b) for b, v in zip(before, velocities, strict=True)]


def guided_velocities(
    dit: DiT,
    tasks: Sequence[Task],
    states: Sequence[Tensor],
    time: float,
    guidance: float,
    cache: StepCache | None = None,
) -> list[Tensor]:
    """Velocity of each task at one timestep (Ho and Salimans, 2022), float32."""
    documents = []
    for negative in (False, True) if guidance != 1 else (False,):
        for task, state in zip(tasks, states, strict=True):
            text = task.negative_LD if negative else task.text_LD
            steps = torch.full((len(state),), time).masked_fill(task.given_G, 0)
            documents.append(Document(state, text, steps, task.given_G, task.fps))
    rows = pack(documents, dit.config)
    if cache is None:
        velocity_NP = dit(rows)
    else:
        velocity_NP = cache(rows, [index % len(tasks) for index in table_order(documents)])
    velocities = [v.float() for v in split(velocity_NP, documents, dit.config)]
    if guidance == 1:
        return velocities
    conditional, unconditional = velocities[: len(tasks)], velocities[len(tasks) :]
    return [u + guidance * (c - u) for c, u in zip(conditional, unconditional, strict=True)]
