"""Few-step distillation: a student that makes in 4 calls of the network what its teacher makes in
32, guidance folded in.

The student, a copy of the teacher to begin with, walks by itself from noise to latents. From each
state that it comes to, its guided teacher goes on to the end of the student's step in a few steps
of its own, and the student learns the mean velocity of that: progressive distillation (Salimans and
Ho, 2022) in one stage, on a guided teacher (Meng et al., 2023), at the states that the student will
see (DAgger, Ross et al., 2011). What it did before is not its business to make good: where its
teacher would go from here is a smooth function of the state, and where it had been going is not.
The student is a bundle like any other: the same network, sampler and tasks, with another sampler
recipe.

RESULT

Shapes: G latent frames, C channels, h w latent positions.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from infra.errors import InputError
from infra.recipes import fingerprint
from modeling.bundle import Bundle
from modeling.dit import DiT
from modeling.documents import grid_of
from modeling.latents import LatentClip
from modeling.noise import over_latents, sample_given
from modeling.recipes import ModelRecipe, OptimizerRecipe
from modeling.sampler import SamplerRecipe, Task, guided_velocities, initial_state, schedule
from modeling.text import NULL
from modeling.trainer import Summed, Trainer

FLAVOUR = "few-step"


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """How a student is made: ten minutes of one core for the demo's 2.5 M parameters."""

    steps: int = 4
    """Of the student's sampler; `teacher_steps` is a multiple."""
    teacher_steps: int = 8
    """Euler steps of the teacher, on the student's schedule."""
    shift: float = 4.0
    """Of that schedule: 8 Euler steps follow as many prompts with it as 16 steps of the second
    order with the demo's own."""
    optimizer: OptimizerRecipe = field(  # `batch` counts walks, of all their steps
        default_factory=lambda: OptimizerRecipe(
            steps=400,
            batch=16,
            learning_rate=1e-3,
            muon_learning_rate=2e-3,
            warmup_steps=10,
            fall_share=1.0,
            ema=0.98,
        )
    )


def student_recipe(teacher: ModelRecipe, recipe: DistillRecipe) -> ModelRecipe:
    """The student's model: the teacher's, but for its name and its sampler.

    Raises:
        InputError: the teacher's steps are no multiple of the student's, or it is itself a student.
    """
    if teacher.dit.sampler.guidance == 1 and teacher.name.endswith(FLAVOUR):
        raise InputError(f"{teacher.name!r} is distilled already; name the model it was made from")
    if recipe.steps < 1 or recipe.teacher_steps < 1 or recipe.teacher_steps % recipe.steps:
        raise InputError(
            f"a student of {recipe.steps} steps cannot follow a teacher of {recipe.teacher_steps}: "
            "teacher_steps has to be a multiple of steps"
        )
    sampler = SamplerRecipe(steps=recipe.steps, guidance=1.0, shift=recipe.shift)
    dit = replace(teacher.dit, sampler=sampler, optimizer=recipe.optimizer)
    return replace(teacher, name=f"{teacher.name}-{FLAVOUR}", dit=dit)


class TaskMaker:
    """Draws a student's batches: captions and given frames as its teacher was trained on."""

    def __init__(self, teacher: Bundle, clips: Sequence[LatentClip], batch: int) -> None:
        self.teacher, self.clips, self.batch = teacher, clips, batch

    def __call__(self, generator: Generator) -> list[Task]:
        return [self._task(generator) for _ in range(self.batch)]

    def _task(self, generator: Generator) -> Task:
        teacher, recipe = self.teacher, self.teacher.recipe.dit
        clip = self.clips[int(torch.randint(len(self.clips), (), generator=generator))]
        windows = clip.windows_WGChw
        latents = windows[int(torch.randint(len(windows), (), generator=generator))]
        latents = latents.to(teacher.device)
        if float(torch.rand((), generator=generator)) < recipe.image_share:
            latents = latents[:1]
        tokens = teacher.tokenizer.encode(clip.caption)
        text, nothing = map(teacher.features, (tokens, [NULL]))
        given = sample_given(grid_of(latents, recipe.config), recipe.noise, generator)
        seed = int(torch.randint(2**62, (), generator=generator))
        return Task(latents, given, text, nothing, teacher.recipe.data.fps, seed)


def walk_error(
    network: DiT, teacher: Bundle, tasks: Sequence[Task], recipe: DistillRecipe
) -> Summed:
    """Squared velocity error along the student's own walk, over all values that are asked for in
    its steps. No gradient goes back through the steps."""
    student = student_recipe(teacher.recipe, recipe).dit.sampler
    times = schedule(student).tolist()
    fine = schedule(replace(student, steps=recipe.teacher_steps)).tolist()
    every = recipe.teacher_steps // recipe.steps
    states, errors = [initial_state(task) for task in tasks], list[Tensor]()
    for step, (now, following) in enumerate(itertools.pairwise(times)):
        part = fine[step * every : (step + 1) * every + 1]
        goals = teacher_goes(teacher, tasks, states, part)
        count = len(tasks)
        velocities = guided_velocities(network, tasks, states, [now] * count, [student] * count)
        for index, (task, state) in enumerate(zip(tasks, states, strict=True)):
            right = (goals[index] - state) / (following - now)
            asked = over_latents(~task.given_Gyx, state).expand_as(state)
            errors.append((velocities[index] - right)[asked])
            step_GChw = (following - now) * velocities[index].detach()
            states[index] = task.keep_given(state + step_GChw)
    error = torch.cat(errors)
    return Summed(error.square().sum(), error.numel())


@torch.no_grad()
def teacher_goes(
    teacher: Bundle, tasks: Sequence[Task], states: Sequence[Tensor], times: Sequence[float]
) -> list[Tensor]:
    """Where the teacher, guided, comes to from these states in Euler steps between the times."""
    sampler = teacher.recipe.dit.sampler
    for now, following in itertools.pairwise(times):
        moments, recipes = [now] * len(tasks), [sampler] * len(tasks)
        velocities = guided_velocities(teacher.dit, tasks, states, moments, recipes)
        states = [
            task.keep_given(state + (following - now) * velocity)
            for task, state, velocity in zip(tasks, states, velocities, strict=True)
        ]
    return list(states)


def student_trainer(
    teacher: Bundle,
    clips: Sequence[LatentClip],
    recipe: DistillRecipe,
    folder: Path,
    *,
    seed: int,
    checkpoint_s: float,
) -> Trainer[list[Task]]:
    """Trains a copy of the teacher's network, "dit"; its text encoder stays as it is."""
    network = copy.deepcopy(teacher.dit).train().requires_grad_(True)
    return Trainer(
        {"dit": network},
        TaskMaker(teacher, clips, recipe.optimizer.batch),
        lambda tasks, _generator: walk_error(network, teacher, tasks, recipe),
        recipe.optimizer,
        folder,
        seed=seed,
        tag=fingerprint(recipe),
        checkpoint_s=checkpoint_s,
    )
