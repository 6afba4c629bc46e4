import dataclasses
from pathlib import Path

import pytest
import torch

from infra.errors import InputError
from modeling.bundle import Bundle, load_bundle, save_bundle
from modeling.distill import (
    DistillRecipe,
    student_recipe,
    student_trainer,
    walk,
    walk_error,
    write_lessons,
)
from modeling.latents import LatentClip
from modeling.noise import over_latents
from modeling.recipes import OptimizerRecipe
from modeling.sampler import Sampling, Task, advance, schedule
from modeling.text import token_tensor
from modeling.trainer import rng
from tests.unit.modeling.small import CHANNELS, small_bundle

OPTIMIZER = OptimizerRecipe(
    steps=24, batch=8, learning_rate=3e-3, warmup_steps=2, fall_share=1.0, ema=0.8
)
RECIPE = DistillRecipe(steps=2, teacher_steps=4, lessons=70, optimizer=OPTIMIZER)


@pytest.fixture(scope="module")
def teacher() -> Bundle:
    return small_bundle()


@pytest.fixture(scope="module")
def clips() -> list[LatentClip]:
    generator = torch.Generator().manual_seed(0)
    return [
        LatentClip(f"{n}", "a red ball", torch.randn(1, 3, CHANNELS, 4, 4, generator=generator))
        for n in range(4)
    ]


def test_a_student_is_its_teacher_but_for_the_sampler(teacher: Bundle) -> None:
    recipe = student_recipe(teacher.recipe, RECIPE)
    sampler = recipe.dit.sampler
    assert (sampler.steps, sampler.guidance, sampler.solver) == (2, 1.0, "euler")
    assert recipe.dit.config == teacher.recipe.dit.config and recipe.vae == teacher.recipe.vae
    assert recipe.name == "small-few-step"


def test_what_cannot_be_distilled_is_refused(teacher: Bundle) -> None:
    student = student_recipe(teacher.recipe, RECIPE)
    with pytest.raises(InputError, match="'small-few-step' is distilled already"):
        student_recipe(student, RECIPE)
    uneven = dataclasses.replace(RECIPE, teacher_steps=5)
    with pytest.raises(InputError, match="2 steps cannot follow a teacher of 5"):
        student_recipe(teacher.recipe, uneven)


def test_a_lesson_is_the_teachers_walk_at_the_students_timesteps(
    teacher: Bundle, clips: list[LatentClip]
) -> None:
    lessons = walk(teacher, clips, RECIPE, rng(0, 0), 24)
    assert any(lesson.given_Gyx.any() for lesson in lessons)
    for lesson in lessons:
        first = lesson.states_KGChw[0]
        assert len(lesson.states_KGChw) == RECIPE.steps + 1
        given = over_latents(lesson.given_Gyx, first).expand_as(first)
        assert all(torch.equal(state[given], first[given]) for state in lesson.states_KGChw)
        assert not torch.equal(lesson.states_KGChw[1], first)


def test_a_students_error_is_how_far_its_own_walk_is_from_its_teachers(
    teacher: Bundle, clips: list[LatentClip]
) -> None:
    """Each step's distance in all that was asked for, over the step's length."""
    recipe = student_recipe(teacher.recipe, RECIPE)
    lessons = walk(teacher, clips, RECIPE, rng(0, 0), 12)
    with torch.no_grad():
        found = walk_error(teacher.dit, teacher.text, lessons, recipe)
    expected, values = 0.0, 0
    sampler = recipe.dit.sampler
    times = schedule(sampler).tolist()
    for lesson in lessons:
        with torch.no_grad():
            words = teacher.text(token_tensor(lesson.tokens))
        start = lesson.states_KGChw[0]
        walking = Sampling(Task(start, lesson.given_Gyx, words, words, 8.0, 0), sampler)
        walking.state_GChw = start
        for now, following, right in zip(times, times[1:], lesson.states_KGChw[1:], strict=False):
            advance(teacher.dit, [walking])
            apart = (walking.state_GChw - right) / (following - now)
            expected += float(apart.square().sum())
            values += int(over_latents(~lesson.given_Gyx, right).expand_as(right).sum())
    assert found.values == values
    assert float(found.total) == pytest.approx(expected, rel=1e-3)


def test_lessons_that_are_there_are_not_walked_again(
    teacher: Bundle, clips: list[LatentClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed after the first file ends with the lessons of one that was not."""
    whole = write_lessons(teacher, clips, RECIPE, tmp_path / "whole", seed=3)
    interrupted = tmp_path / "interrupted"
    interrupted.mkdir()
    first = "lessons-00000.safetensors"
    (interrupted / first).write_bytes((tmp_path / "whole" / first).read_bytes())
    counts: list[int] = []

    def counted(*arguments: object) -> object:
        counts.append(arguments[-1])  # type: ignore[arg-type]
        return walk(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("modeling.distill.walk", counted)
    resumed = write_lessons(teacher, clips, RECIPE, interrupted, seed=3)
    assert counts == [70 - 64] and len(resumed) == len(whole) == 70
    for one, other in zip(whole, resumed, strict=True):
        assert torch.equal(one.states_KGChw, other.states_KGChw) and one.tokens == other.tokens


def test_a_student_learns_its_lessons_and_is_a_bundle_like_any_other(
    teacher: Bundle, clips: list[LatentClip], tmp_path: Path
) -> None:
    lessons = write_lessons(teacher, clips, RECIPE, tmp_path, seed=0)
    before = {name: weight.clone() for name, weight in teacher.dit.state_dict().items()}
    trainer = student_trainer(teacher, lessons, RECIPE, tmp_path, seed=0, checkpoint_s=60)
    losses: list[float] = []
    trainer.fit(lambda _counters, metrics: losses.append(metrics["loss"]))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    for name, weight in teacher.dit.state_dict().items():
        assert torch.equal(weight, before[name])  # the student was a copy

    recipe = student_recipe(teacher.recipe, RECIPE)
    lineage = {"teacher": {"version": "3"}, "release": "r"}
    modules = (teacher.vae, trainer.ema["dit"], teacher.text)
    save_bundle(tmp_path / "bundle", recipe, *modules, teacher.tokenizer, lineage)  # type: ignore[arg-type]
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.recipe == recipe and loaded.manifest["teacher"] == {"version": "3"}
