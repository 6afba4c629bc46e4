"""The sampler: from noise to latents along the learned velocity, with classifier-free guidance.

Steps from t = 1 to t = 0 on a shifted schedule (Esser et al., 2024), each one packed call of the
network, with conditional and unconditional documents side by side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modeling.dit import DiT
from modeling.documents import Document, Memory, pack, split, table_order
from modeling.noise import add_noise, over_latents
from modeling.step_cache import StepCache


@dataclass(frozen=True, kw_only=True)
class SamplerRecipe:
    """Steps and guidance; `shift` > 1 spends more steps near noise, as larger grids need."""

    steps: int = 16
    guidance: float = 4.0
    guidance_interval: tuple[float, ...] = (0.0, 1.0)
    """Least and greatest timestep that is guided (Kynkäänniemi et al., 2024). Elsewhere a step
    costs half: nothing unconditional is computed."""
    guidance_rescale: float = 0.0
    """How far the spread of a guided velocity goes back to that of the unguided one (Lin et al.,
    2024); 0 leaves it."""
    shift: float = 1.0
    solver: Literal["euler", "adams"] = "euler"
    """adams: the two-step method of Adams and Bashforth, second order for one call a step."""
    cache_threshold: float = 0.0
    """Where the first block changes by a smaller share, the others are not asked; 0: always."""


@dataclass(frozen=True)
class Task:
    """What to generate: `given_Gyx` holds clean latents, the others are ignored.

    text_LD and negative_LD are features of the prompt and of what guidance steers away from.
    The noise comes from `seed` alone, so a task gives the same video whatever else is in the batch.
    With `start` below 1 the others are not ignored: sampling begins at that timestep, from them
    (SDEdit, Meng et al., 2022). `opens` and `memory` are those of the `Document`.
    """

    latents_GChw: Tensor
    given_Gyx: Tensor
    text_LD: Tensor
    negative_LD: Tensor
    fps: float
    seed: int
    start: float = 1.0
    opens: bool = True
    memory: tuple[Memory, ...] = ()

    def document(self, state_GChw: Tensor, time: float, *, negative: bool) -> Document:
        text = self.negative_LD if negative else self.text_LD
        times = torch.full(self.given_Gyx.shape, time).masked_fill(self.given_Gyx, 0)
        given, fps = self.given_Gyx, self.fps
        return Document(state_GChw, text, times, given, fps, self.opens, self.memory)

    def keep_given(self, state_GChw: Tensor) -> Tensor:
        return torch.where(over_latents(self.given_Gyx, state_GChw), self.latents_GChw, state_GChw)


class SamplingStopped(Exception):  # noqa: N818 - an outcome, not an error
    """`on_step` returned False."""


def schedule(recipe: SamplerRecipe, start: float = 1.0) -> Tensor:
    """Timesteps from `start` to 0, (steps + 1,)."""
    even = start / (recipe.shift - (recipe.shift - 1) * start)
    t = torch.linspace(even, 0, recipe.steps + 1)
    return recipe.shift * t / (1 + (recipe.shift - 1) * t)


def initial_noise(task: Task) -> Tensor:
    generator = torch.Generator().manual_seed(task.seed)
    return torch.randn(task.latents_GChw.shape, generator=generator).to(task.latents_GChw)


def initial_state(task: Task) -> Tensor:
    """Noise, or the task's own latents as far on the way to noise as it starts."""
    noise = initial_noise(task)
    if task.start < 1:
        noise = add_noise(task.latents_GChw, noise, torch.full(task.given_Gyx.shape, task.start))
    return task.keep_given(noise)


@torch.no_grad()
def sample(
    dit: DiT,
    tasks: Sequence[Task],
    recipe: SamplerRecipe,
    on_step: Callable[[int, int], bool] | None = None,
    on_states: Callable[[int, Sequence[Tensor]], None] | None = None,
) -> list[Tensor]:
    """Latents (G, C, h, w) of each task, what is given unchanged.

    `on_step(done, steps)` is called after each step, `on_states(step, states)` before each and
    after the last with the latents on their way.

    Raises:
        SamplingStopped: `on_step` returned False.
    """
    states = [initial_state(task) for task in tasks]
    times = torch.stack([schedule(recipe, task.start) for task in tasks], dim=1).tolist()
    threshold = recipe.cache_threshold
    cache = StepCache(dit, threshold, recipe.steps) if threshold else None
    before: list[Tensor] = []
    for step in range(recipe.steps):
        now, following = times[step], times[step + 1]
        if on_states is not None:
            on_states(step, states)
        velocities = guided_velocities(dit, tasks, states, now, recipe, cache)
        slopes = velocities
        if recipe.solver == "adams" and before:
            last = [a - b for a, b in zip(times[step - 1], now, strict=True)]
            coming = [a - b for a, b in zip(now, following, strict=True)]
            slopes = extrapolated(before, velocities, last, coming)
        before = velocities
        for index, (task, slope) in enumerate(zip(tasks, slopes, strict=True)):
            moved = states[index] + (following[index] - now[index]) * slope
            states[index] = task.keep_given(moved)
        if on_step is not None and not on_step(step + 1, recipe.steps):
            raise SamplingStopped
    if on_states is not None:
        on_states(recipe.steps, states)
    return states


def extrapolated(
    before: Sequence[Tensor],
    velocities: Sequence[Tensor],
    last: Sequence[float],
    coming: Sequence[float],
) -> list[Tensor]:
    """Velocities in the middle of the coming step, on the line through the last two.

    `last`, `coming`: for each task, lengths in t of the step made and of the one to make.
    """
    shares = (step / (2 * made) for made, step in zip(last, coming, strict=True))
    return [v + s * (v - b) for b, v, s in zip(before, velocities, shares, strict=True)]


def guided_velocities(
    dit: DiT,
    tasks: Sequence[Task],
    states: Sequence[Tensor],
    times: Sequence[float],
    recipe: SamplerRecipe,
    cache: StepCache | None = None,
) -> list[Tensor]:
    """Velocity of each task at its timestep (Ho and Salimans, 2022), float32."""
    low, high = recipe.guidance_interval
    guided = [i for i, t in enumerate(times) if recipe.guidance != 1 and low <= t <= high]
    moment = list(zip(tasks, states, times, strict=True))
    documents = [task.document(state, t, negative=False) for task, state, t in moment]
    documents += [
        task.document(state, t, negative=True) for task, state, t in (moment[i] for i in guided)
    ]
    rows = pack(documents, dit.config)
    if cache is None:
        velocity_NP = dit(rows)
    else:
        owners = [*range(len(tasks)), *guided]
        velocity_NP = cache(rows, [owners[index] for index in table_order(documents)])
    velocities = [v.float() for v in split(velocity_NP, documents, dit.config)]
    for index, unconditional in zip(guided, velocities[len(tasks) :], strict=True):
        conditional = velocities[index]
        steered = unconditional + recipe.guidance * (conditional - unconditional)
        if recipe.guidance_rescale:
            asked = over_latents(~tasks[index].given_Gyx, steered).expand_as(steered)
            spread = conditional[asked].std() / steered[asked].std()
            steered = steered * (1 + recipe.guidance_rescale * (spread - 1))
        velocities[index] = steered
    return velocities[: len(tasks)]
