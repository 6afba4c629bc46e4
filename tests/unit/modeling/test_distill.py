import dataclasses
from pathlib import Path

import pytest
import torch

from infra.errors import InputError
from modeling.bundle import Bundle, load_bundle, save_bundle
from modeling.distill import DistillRecipe, TaskMaker, student_recipe, student_trainer, walk_error
from modeling.latents import LatentClip
from modeling.noise import over_latents
from modeling.recipes import OptimizerRecipe
from modeling.sampler import Sampling, advance
from modeling.trainer import rng
from tests.unit.modeling.small import CHANNELS, small_bundle

OPTIMIZER = OptimizerRecipe(
    steps=24, batch=8, learning_rate=3e-3, warmup_steps=2, fall_share=1.0, ema=0.8
)
RECIPE = DistillRecipe(steps=2, teacher_steps=4, optimizer=OPTIMIZER)


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


def test_a_students_error_is_how_far_its_steps_are_from_its_teachers_from_the_same_states(
    teacher: Bundle, clips: list[LatentClip]
) -> None:
    """Each step's distance in all that was asked for, over the step's length. What the teacher does
    from a state that the student came to is what it makes of that state as a task's own start."""
    student = student_recipe(teacher.recipe, RECIPE).dit.sampler
    tasks = TaskMaker(teacher, clips, 12)(rng(0, 0))
    assert any(task.given_Gyx.any() for task in tasks)
    with torch.no_grad():
        found = walk_error(teacher.dit, teacher, tasks, RECIPE)
    guidance = teacher.recipe.dit.sampler.guidance
    guided = dataclasses.replace(student, steps=RECIPE.teacher_steps, guidance=guidance)
    expected, values = 0.0, 0
    for task in tasks:
        walking, goes = Sampling(task, student), Sampling(task, guided)
        while not walking.done:
            goes.step, goes.state_GChw = 2 * walking.step, walking.state_GChw
            advance(teacher.dit, [goes])
            advance(teacher.dit, [goes])
            length = walking.times[walking.step] - walking.times[walking.step + 1]
            advance(teacher.dit, [walking])
            asked = over_latents(~task.given_Gyx, walking.state_GChw)
            apart = (walking.state_GChw - goes.state_GChw) / length
            assert not apart[~asked.expand_as(apart)].any()
            expected += float(apart.square().sum())
            values += int(asked.expand_as(apart).sum())
    assert found.values == values
    assert float(found.total) == pytest.approx(expected, rel=1e-3)


def test_a_student_learns_and_is_a_bundle_like_any_other(
    teacher: Bundle, clips: list[LatentClip], tmp_path: Path
) -> None:
    before = {name: weight.clone() for name, weight in teacher.dit.state_dict().items()}
    trainer = student_trainer(teacher, clips, RECIPE, tmp_path, seed=0, checkpoint_s=60)
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
