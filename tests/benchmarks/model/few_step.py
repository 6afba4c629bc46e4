"""A four-step student of the demo's model, made here, beside its teacher."""

import statistics
import time
from dataclasses import replace

from modeling.bundle import Bundle
from modeling.distill import DistillRecipe, student_recipe, student_trainer
from modeling.dit import DiT
from tests.benchmarks.figure import Figure
from tests.benchmarks.model import demo_model
from tests.benchmarks.table import FOLDER

SEED = 0


def few_step() -> dict[str, Figure]:
    """Prompts followed by the teacher minus those by its student, the same ones and seeds."""
    teacher, recipe = demo_model.bundle(), DistillRecipe()
    student, seconds = _student(teacher, recipe)
    asked = demo_model.prompts()
    few = replace(demo_model.PLAIN, steps=recipe.steps)
    contenders = {
        "teacher": teacher,
        f"teacher with {few.steps} {few.solver} steps": demo_model.sampled_by(teacher, few),
        f"with {few.steps} Euler steps": demo_model.sampled_by(
            teacher, replace(few, solver="euler")
        ),
        "student": student,
    }
    marks = {
        name: demo_model.right(demo_model.videos(model, asked), asked)
        for name, model in contenders.items()
    }
    share = {name: statistics.fmean(values) for name, values in marks.items()}
    unseen = {name: statistics.fmean(values[len(asked) // 2 :]) for name, values in marks.items()}
    told = ", ".join(
        f"{name} {value:.3f} (what no film shows {unseen[name]:.3f})"
        for name, value in share.items()
    )
    sampler = demo_model.PLAIN
    note = (
        f"{told}; the teacher takes {sampler.steps} {sampler.solver} steps of two calls, the "
        f"student {recipe.steps} of one; made with {recipe.optimizer.steps} training steps of "
        f"{recipe.optimizer.batch} walks in {seconds:.0f} s"
    )
    return {
        "few_step_accuracy_loss": Figure(
            value=share["teacher"] - share["student"],
            target=0.05,
            better="lower",
            n=len(asked),
            note=note,
        )
    }


def _student(teacher: Bundle, recipe: DistillRecipe) -> tuple[Bundle, float]:
    """The student, and how long it took (what an earlier, interrupted run did is not counted)."""
    folder, begun = FOLDER / "few_step", time.perf_counter()
    clips = demo_model.latents(teacher)
    trainer = student_trainer(teacher, clips, recipe, folder, seed=SEED, checkpoint_s=30)
    trainer.fit(lambda _counters, _metrics: None)
    network = trainer.ema["dit"].eval()
    assert isinstance(network, DiT)
    made = replace(teacher, recipe=student_recipe(teacher.recipe, recipe), dit=network)
    return made, time.perf_counter() - begun
