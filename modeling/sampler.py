"""The sampler: from noise to latents along the learned velocity, with classifier-free guidance.

Steps from t = 1 to t = 0 on a shifted schedule (Esser et al., 2024), each one packed call of the
network, with conditional and unconditional documents side by side.

    latents = sample(dit, tasks, recipe)

or step by step, each with steps and guidance of its own, and others joining and leaving:

    under_way = [Sampling(task, recipe), …]
    advance(dit, under_way)                     # one step of each, in one call
    latents = [each.state_GChw for each in under_way if each.done]

On CPU what comes out is bit for bit the same in any company (`documents.steady`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modeling.device import half_on_gpu
from modeling.dit import DiT
from modeling.documents import Document, Memory, pack, split, steady
from modeling.noise import add_noise, over_latents
from modeling.step_cache import CARRIED, whole_steps


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
    whole_share: float = 1.0
    """Share of the steps that ask the network; the others reuse its velocity (`step_cache`)."""


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


class Sampling:
    """One task on its way from noise to latents.

    state_GChw: the latents as they are; step: how many steps were made, reused ones included.
    before_GChw: the velocity that the network said last, once it has.
    """

    def __init__(self, task: Task, recipe: SamplerRecipe) -> None:
        self.task, self.recipe = task, recipe
        self.times: list[float] = schedule(recipe, task.start).tolist()
        self.state_GChw = initial_state(task)
        self.before_GChw: Tensor | None = None
        self.step = 0
        self._stops = [*whole_steps(recipe.steps, recipe.whole_share), recipe.steps]

    @property
    def done(self) -> bool:
        return self.step == self.recipe.steps

    def rows(self, patch: int) -> int:
        """Rows that the next step takes in a call, of patches of that side and of words."""
        task = self.task
        seen = (self.state_GChw, *(memory.latents_GChw for memory in task.memory))
        patches = sum(latents[:, 0].numel() for latents in seen) // patch**2
        guided = _is_guided(self.recipe, self.times[self.step])
        return len(task.text_LD) + patches + guided * (len(task.negative_LD) + patches)

    def move(self, velocity_GChw: Tensor) -> None:
        """Make the step that this velocity says, and those after it that reuse it.

        The line of the second-order solver goes through velocities of the network alone. What it
        says lies off the further, the longer it is followed: reused steps follow a part of it.
        """
        at = self._stops.index(self.step)
        stop = self._stops[at + 1]
        now, following, end = (self.times[step] for step in (self.step, self.step + 1, stop))
        slope = rest = velocity_GChw
        if self.recipe.solver == "adams" and self.before_GChw is not None:
            pair = [self.before_GChw], [velocity_GChw], [self.times[self._stops[at - 1]] - now]
            (slope,) = extrapolated(*pair, [now - following])
            # Twice as far as the middle of the reused steps, as for a step that begins now.
            (rest,) = extrapolated(*pair, [CARRIED * (2 * now - following - end)])
        state = self.state_GChw + (following - now) * slope
        if stop > self.step + 1:
            state = state + (end - following) * rest
        self.state_GChw = self.task.keep_given(state)
        self.before_GChw, self.step = velocity_GChw, stop

    def estimate(self) -> Tensor | None:
        """The clean latents at which the last velocity points; None before the first step."""
        if self.before_GChw is None:
            return None
        return self.task.keep_given(self.state_GChw - self.times[self.step] * self.before_GChw)

    def tensors(self) -> dict[str, Tensor]:
        """All that is needed, with the task and the recipe, to go on from here; see `restore`."""
        found = {"state": self.state_GChw, "step": torch.tensor(self.step)}
        if self.before_GChw is not None:
            found["before"] = self.before_GChw
        return {name: value.contiguous() for name, value in found.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from where another of the same task and recipe was.

        Raises:
            ValueError: these are of another task or recipe.
        """
        step, state = int(tensors["step"]), tensors["state"]
        if state.shape != self.state_GChw.shape or step not in self._stops:
            raise ValueError(
                f"step {step} of latents {tuple(state.shape)} is none of the "
                f"{self.recipe.steps} steps of {tuple(self.state_GChw.shape)} that ask the network"
            )
        self.step, self.state_GChw = step, state.to(self.state_GChw)
        before = tensors.get("before")
        self.before_GChw = None if before is None else before.to(self.state_GChw.device)


@torch.no_grad()
def advance(dit: DiT, samplings: Sequence[Sampling]) -> None:
    """One step of each of them, none of which is done, in one call of the network.

    Steps that reuse its answer follow at once, so nobody waits for them, and they for nobody.
    """
    velocities = guided_velocities(
        dit,
        [each.task for each in samplings],
        [each.state_GChw for each in samplings],
        [each.times[each.step] for each in samplings],
        [each.recipe for each in samplings],
    )
    for each, velocity in zip(samplings, velocities, strict=True):
        each.move(velocity)


def sample(
    dit: DiT,
    tasks: Sequence[Task],
    recipe: SamplerRecipe,
    on_step: Callable[[int, int], bool] | None = None,
    on_states: Callable[[int, Sequence[Tensor]], None] | None = None,
) -> list[Tensor]:
    """Latents (G, C, h, w) of each task, what is given unchanged.

    `on_step(done, steps)` is called after each call of the network, `on_states(step, states)`
    before each and after the last with the latents on their way.

    Raises:
        SamplingStopped: `on_step` returned False.
    """
    samplings = [Sampling(task, recipe) for task in tasks]
    step = 0
    while True:
        states = [each.state_GChw for each in samplings]
        if on_states is not None:
            on_states(step, states)
        if step == recipe.steps:
            return states
        advance(dit, samplings)
        step = samplings[0].step
        if on_step is not None and not on_step(step, recipe.steps):
            raise SamplingStopped


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
    recipes: Sequence[SamplerRecipe],
) -> list[Tensor]:
    """Velocity of each task at its timestep (Ho and Salimans, 2022), float32."""
    guided = [i for i, t in enumerate(times) if _is_guided(recipes[i], t)]
    moment = list(zip(tasks, states, times, strict=True))
    documents = [task.document(state, t, negative=False) for task, state, t in moment]
    documents += [
        task.document(state, t, negative=True) for task, state, t in (moment[i] for i in guided)
    ]
    rows = pack(documents, dit.config)
    with half_on_gpu(rows.patches_NP.device):
        velocity_NP = dit(steady(rows, dit.config.width))
    velocities = [v.float() for v in split(velocity_NP, documents, dit.config)]
    for index, unconditional in zip(guided, velocities[len(tasks) :], strict=True):
        recipe, conditional = recipes[index], velocities[index]
        steered = unconditional + recipe.guidance * (conditional - unconditional)
        if recipe.guidance_rescale:
            asked = over_latents(~tasks[index].given_Gyx, steered).expand_as(steered)
            spread = conditional[asked].std() / steered[asked].std()
            steered = steered * (1 + recipe.guidance_rescale * (spread - 1))
        velocities[index] = steered
    return velocities[: len(tasks)]


def _is_guided(recipe: SamplerRecipe, time: float) -> bool:
    low, high = recipe.guidance_interval
    return recipe.guidance != 1 and low <= time <= high
