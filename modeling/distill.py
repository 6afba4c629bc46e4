"""Few-step distillation: a student that makes in 4 calls of the network what its teacher makes in
32, guidance folded in.

The teacher's sampler walks from noise to latents once for each lesson, and its states at the
student's few timesteps are kept. The student, a copy of the teacher to begin with, walks from the
same noise by itself and learns the mean velocity from each state that it comes to, to the teacher's
next one. So its plain Euler steps land where the teacher's many steps do: progressive distillation
(Salimans and Ho, 2022) in one stage, on a guided teacher (Meng et al., 2023). The student is a
bundle like any other: the same network, sampler and tasks, with another sampler recipe.

Of 768 lessons, gone through five times, a student knew the demo's by heart: its error on others was
twice as large. Of 2048, gone through three times, it follows 89 % of the prompts where its teacher
follows 94 %, and of 3072 no more.

Shapes: K steps of the student, G latent frames, C channels, h w latent positions.
"""

import copy
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from infra.errors import InputError
from infra.recipes import fingerprint
from modeling.bundle import Bundle
from modeling.dit import DiT
from modeling.documents import grid_of
from modeling.latents import LatentClip
from modeling.noise import over_latents, sample_given
from modeling.recipes import ModelRecipe, OptimizerRecipe
from modeling.sampler import SamplerRecipe, Task, guided_velocities, sample, schedule
from modeling.text import NULL, CaptionEncoder, token_tensor
from modeling.trainer import Summed, Trainer, rng

LESSONS_PER_FILE = 64
FLAVOUR = "few-step"


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """How a student is made: ten minutes of one core for the demo's 2.5 M parameters."""

    steps: int = 4
    """Of the student's sampler; `teacher_steps` is a multiple."""
    teacher_steps: int = 16
    lessons: int = 2048
    optimizer: OptimizerRecipe = field(  # `batch` counts lessons, of all their steps
        default_factory=lambda: OptimizerRecipe(
            steps=384,
            batch=16,
            learning_rate=1e-3,
            muon_learning_rate=2e-3,
            warmup_steps=10,
            fall_share=1.0,
            ema=0.98,
        )
    )


@dataclass(frozen=True)
class Lesson:
    """One walk of the teacher: its states at the student's K + 1 timesteps, the last one clean."""

    states_KGChw: Tensor
    given_Gyx: Tensor
    tokens: list[int]


def student_recipe(teacher: ModelRecipe, recipe: DistillRecipe) -> ModelRecipe:
    """The student's model: the teacher's, but for its name and its sampler.

    Raises:
        InputError: the teacher's steps are no multiple of the student's, or it is itself a student.
    """
    if teacher.dit.sampler.guidance == 1 and teacher.name.endswith(FLAVOUR):
        raise InputError(f"{teacher.name!r} is distilled already; name the model it was made from")
    if recipe.steps < 1 or recipe.teacher_steps % recipe.steps:
        raise InputError(
            f"a student of {recipe.steps} steps cannot follow a teacher of {recipe.teacher_steps}: "
            "teacher_steps has to be a multiple of steps"
        )
    sampler = SamplerRecipe(steps=recipe.steps, guidance=1.0, shift=teacher.dit.sampler.shift)
    dit = replace(teacher.dit, sampler=sampler, optimizer=recipe.optimizer)
    return replace(teacher, name=f"{teacher.name}-{FLAVOUR}", dit=dit)


def write_lessons(
    teacher: Bundle,
    clips: Sequence[LatentClip],
    recipe: DistillRecipe,
    folder: Path,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Lesson]:
    """The teacher's walks; files of 64 that are there already are read, not walked again."""
    folder.mkdir(parents=True, exist_ok=True)
    lessons: list[Lesson] = []
    for number, first in enumerate(range(0, recipe.lessons, LESSONS_PER_FILE)):
        path = folder / f"lessons-{number:05d}.safetensors"
        if not path.exists():
            count = min(LESSONS_PER_FILE, recipe.lessons - first)
            _write(path, walk(teacher, clips, recipe, rng(seed, number), count))
        lessons += _read(path)
        on_progress(len(lessons), recipe.lessons)
    return lessons


def walk(
    teacher: Bundle,
    clips: Sequence[LatentClip],
    recipe: DistillRecipe,
    generator: Generator,
    count: int,
) -> list[Lesson]:
    """`count` lessons on captions and given frames as the teacher was trained on, side by side."""
    tasks, tokens = [], []
    for _ in range(count):
        task, words = _task(teacher, clips, generator)
        tasks.append(task)
        tokens.append(words)
    every = recipe.teacher_steps // recipe.steps
    kept: list[list[Tensor]] = [[] for _ in tasks]

    def keep(step: int, states: Sequence[Tensor]) -> None:
        if step % every == 0:
            for states_of_one, state in zip(kept, states, strict=True):
                states_of_one.append(state)

    sampler = replace(teacher.recipe.dit.sampler, steps=recipe.teacher_steps, whole_share=1.0)
    sample(teacher.dit, tasks, sampler, on_states=keep)
    return [
        Lesson(torch.stack(states).cpu(), task.given_Gyx, words)
        for states, task, words in zip(kept, tasks, tokens, strict=True)
    ]


def _task(
    teacher: Bundle, clips: Sequence[LatentClip], generator: Generator
) -> tuple[Task, list[int]]:
    clip = clips[int(torch.randint(len(clips), (), generator=generator))]
    recipe, windows = teacher.recipe.dit, clip.windows_WGChw
    latents = windows[int(torch.randint(len(windows), (), generator=generator))].to(teacher.device)
    if float(torch.rand((), generator=generator)) < recipe.image_share:
        latents = latents[:1]
    tokens = teacher.tokenizer.encode(clip.caption)
    text, nothing = map(teacher.features, (tokens, [NULL]))
    given = sample_given(grid_of(latents, recipe.config), recipe.noise, generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    return Task(latents, given, text, nothing, teacher.recipe.data.fps, seed), tokens


class LessonMaker:
    """Draws a student's batches: random lessons, `batch` of the recipe at a time."""

    def __init__(self, lessons: Sequence[Lesson], recipe: ModelRecipe) -> None:
        self.lessons, self.batch = lessons, recipe.dit.optimizer.batch

    def __call__(self, generator: Generator) -> list[Lesson]:
        picked = torch.randint(len(self.lessons), (self.batch,), generator=generator).tolist()
        return [self.lessons[index] for index in picked]


def walk_error(
    network: DiT, text: CaptionEncoder, lessons: Sequence[Lesson], recipe: ModelRecipe
) -> Summed:
    """Squared velocity error along the student's own walk from each lesson's noise, over all values
    that are asked for in its K steps.

    What is right is the velocity from the state that the student came to, to the teacher's next
    one. So it learns from the states that it will see (DAgger, Ross et al., 2011), and to make good
    what its earlier steps did. No gradient goes back through the steps.
    """
    sampler, device = recipe.dit.sampler, network.kind.device
    with torch.no_grad():
        texts = [text(token_tensor(lesson.tokens).to(device)) for lesson in lessons]
    tasks = [
        Task(lesson.states_KGChw[0].to(device), lesson.given_Gyx, words, words, recipe.data.fps, 0)
        for lesson, words in zip(lessons, texts, strict=True)
    ]
    recipes, states = [sampler] * len(tasks), [task.latents_GChw for task in tasks]
    errors: list[Tensor] = []
    for step, (now, following) in enumerate(itertools.pairwise(schedule(sampler).tolist())):
        velocities = guided_velocities(network, tasks, states, [now] * len(tasks), recipes)
        for index, (task, lesson) in enumerate(zip(tasks, lessons, strict=True)):
            state, velocity = states[index], velocities[index]
            right = (lesson.states_KGChw[step + 1].to(device) - state) / (following - now)
            asked = over_latents(~task.given_Gyx, state).expand_as(state)
            errors.append((velocity - right)[asked])
            states[index] = task.keep_given(state + (following - now) * velocity.detach())
    error = torch.cat(errors)
    return Summed(error.square().sum(), error.numel())


def student_trainer(
    teacher: Bundle,
    lessons: Sequence[Lesson],
    recipe: DistillRecipe,
    folder: Path,
    *,
    seed: int,
    checkpoint_s: float,
) -> Trainer[list[Lesson]]:
    """Trains a copy of the teacher's network, "dit"; its text encoder stays as it is."""
    network = copy.deepcopy(teacher.dit).train().requires_grad_(True)
    made = student_recipe(teacher.recipe, recipe)
    return Trainer(
        {"dit": network},
        LessonMaker(lessons, made),
        lambda lessons, _generator: walk_error(network, teacher.text, lessons, made),
        recipe.optimizer,
        folder,
        seed=seed,
        tag=fingerprint(recipe),
        checkpoint_s=checkpoint_s,
    )


def _write(path: Path, lessons: Sequence[Lesson]) -> None:
    tensors: dict[str, Tensor] = {}
    for index, lesson in enumerate(lessons):
        tensors |= {
            f"{index:04d}.states": lesson.states_KGChw,
            f"{index:04d}.given": lesson.given_Gyx.contiguous(),
            f"{index:04d}.tokens": torch.tensor(lesson.tokens),
        }
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, temporary)
    temporary.replace(path)


def _read(path: Path) -> list[Lesson]:
    tensors = load_file(path)
    count = len(tensors) // 3
    return [
        Lesson(
            tensors[f"{index:04d}.states"],
            tensors[f"{index:04d}.given"],
            tensors[f"{index:04d}.tokens"].tolist(),
        )
        for index in range(count)
    ]
