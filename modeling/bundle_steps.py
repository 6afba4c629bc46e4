"""The steps that begin with a bundle; like those of `steps.py`, each finds itself done when it is.

    distill   a teacher's bundle, latents  -> a student's bundle
    evaluate  a bundle, held-out clips     -> a table, pictures

The spec of a student has {"teacher": {"bundle": folder, "version": "3"}, "distill": {…}} beside the
recipe, which is its teacher's.
"""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from infra.job_files import read_json
from infra.recipes import fingerprint, from_dict, to_dict
from modeling.bundle import Bundle, load_bundle, save_bundle
from modeling.distill import DistillRecipe, student_recipe, student_trainer
from modeling.dit import DiT
from modeling.evaluate import Evidence, beside_teacher, evaluate_bundle
from modeling.evaluation_recipe import EvaluationRecipe
from modeling.latents import read_latents
from modeling.measure import Measure
from modeling.steps import Bench, TrainingLog

DONE = "done.json"


class StudentBench:
    """What distilling works with: the bench as the student's, and its teacher."""

    def __init__(self, bench: Bench) -> None:
        self.teacher_version = str(bench.spec["teacher"].get("version", ""))
        self.teacher = load_bundle(Path(bench.spec["teacher"]["bundle"]))
        self.recipe = from_dict(DistillRecipe, bench.spec.get("distill", {}))
        self.bench = replace(bench, recipe=student_recipe(self.teacher.recipe, self.recipe))
        self.weights = self.teacher.manifest["sha256"]["dit.safetensors"]
        self.folder = student_folder(bench, self.weights, self.recipe)


def student_folder(bench: Bench, teacher_weights: str, recipe: DistillRecipe) -> Path:
    """Where a student of that teacher on this release is trained."""
    # Named as `caches_of` knows folders of a release, so that a takedown finds it.
    name = _digest(teacher_weights, fingerprint(recipe))
    return bench.training / f"dit-{bench.release.name}-{name}"


def distill(bench: Bench, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """Train a few-step student of a bundle; its averaged weights become a bundle of their own.

    Raises:
        InputError: the teacher was not trained on this release's latents, or is a student itself.
    """
    student = StudentBench(bench)
    if (done := read_json(student.folder / DONE)) is not None:
        return done
    teacher, recipe = student.teacher, student.recipe
    captions = {c.clip_id: c.caption for c in bench.clips() if c.split == "train"}
    clips = read_latents(bench.lake, teacher.manifest["vae_hash"], captions)
    seed = student.bench.recipe.seed
    trainer = student_trainer(
        teacher,
        clips,
        recipe,
        student.folder,
        seed=seed,
        checkpoint_s=bench.settings.checkpoint_s,
    )
    with ExitStack() as stack:
        log = TrainingLog(student.bench, stack, "reel/dit", recipe.optimizer, trainer.rank)
        trainer.fit(log, should_stop)
        if trainer.rank or trainer.counters.step < recipe.optimizer.steps:
            return {}
        averaged = trainer.averaged("dit")
        assert isinstance(averaged, DiT)
        _save_student(student, averaged, log.run_id, len(clips))
        bundle = {"bundle": str(student.folder / "bundle")}
        return log.finish(student.folder, trainer.counters) | bundle


def _save_student(student: StudentBench, dit: DiT, run_id: str, training_clips: int) -> None:
    teacher = student.teacher
    lineage = {
        "release": student.bench.release.name,
        "vae_hash": teacher.manifest["vae_hash"],
        "mlflow_run_id": run_id,
        "training_clips": training_clips,
        "distill": to_dict(student.recipe),
        "teacher": {
            "version": student.teacher_version,
            "dit_sha256": student.weights,
            "recipe_hash": teacher.manifest["recipe_hash"],
            "mlflow_run_id": teacher.manifest.get("mlflow_run_id", ""),
        },
    }
    save_bundle(
        student.folder / "bundle",
        student.bench.recipe,
        teacher.vae,
        dit,
        teacher.text,
        teacher.tokenizer,
        lineage,
    )


def evaluate(bench: Bench) -> dict[str, Any]:
    """Measure the bundle on held-out clips and draw what it makes; a student beside its teacher.

    Raises:
        InputError: the oracle or an extractor of the evaluation recipe is not usable.
    """
    recipe = from_dict(EvaluationRecipe, bench.spec.get("evaluation", {}))
    student = StudentBench(bench) if "teacher" in bench.spec else None
    place = student.folder if student else bench.dit_folder
    folder = place / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(place / "bundle")
    evidence = _evidence(bench, bundle)
    trained = read_json(place / DONE) or {}
    stages: list[str] = []

    def progress(message: str) -> None:
        stages.append(message)
        bench.context.progress(len(stages), 6, message)
        bench.context.raise_if_stopping()

    rows, pictures = evaluate_bundle(bundle, evidence, recipe, folder, progress)
    if student is not None:
        progress("the teacher's videos")
        rows += beside_teacher(rows, student.teacher, evidence, recipe, student.recipe.steps)
    waited, steps = trained["metrics"]["loader_wait_share"], bundle.recipe.dit.optimizer.steps
    note = "share of training time spent waiting for data"
    rows.append(Measure("loader_wait_share", waited, steps, note))
    with ExitStack() as stack:
        measured = replace(bench, recipe=bundle.recipe)
        run = measured.run_in_mlflow(stack, "reel/eval")
        run.metrics({row.name: row.value for row in rows if row.key}, step=0)
        fields = ("name", "value", "n", "note")
        run.table("evaluation", {name: [getattr(row, name) for row in rows] for name in fields})
        for path in pictures.values():
            run.artifact(path, "samples")
        run_id = run.run_id
    tags = {
        "recipe": bundle.recipe.name,
        "recipe_hash": bundle.manifest["recipe_hash"],
        "vae_hash": bundle.manifest["vae_hash"],
        "oracle": recipe.oracle,
    }
    if student is not None:
        tags["teacher"] = student.teacher_version or student.weights[:12]
    return {
        "folder": str(folder),
        "mlflow_run_id": run_id,
        "train_run_id": trained.get("mlflow_run_id", run_id),
        "metrics": {row.name: row.value for row in rows if row.key},
        "measures": [asdict(row) for row in rows],
        "table": [[row.name, row.value, f"{row.note} (n = {row.n})"] for row in rows],
        "pictures": {"samples": str(pictures["samples"])},
        "bundle": str(place / "bundle"),
        "tags": tags,
    }


def _evidence(bench: Bench, bundle: Bundle) -> Evidence:
    clips = bench.clips()
    parts = {split: [c for c in clips if c.split == split] for split in ("train", "val")}
    latents = {
        split: read_latents(
            bench.lake, bundle.manifest["vae_hash"], {clip.clip_id: clip.caption for clip in part}
        )
        for split, part in parts.items()
    }
    # What the network is trained on: a new split or new captions make another one.
    key = _digest(*(f"{clip.clip_id} {clip.caption}" for clip in parts["train"]))
    return Evidence(
        training=parts["train"],
        held=parts["val"],
        training_latents=latents["train"],
        held_latents=latents["val"],
        features=bench.training / f"words-{bench.release.name}-{key}" / "words.safetensors",
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
