"""From a release to an evaluated model and an evaluated few-step student of it, job by job."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.train import student_spec
from infra.catalog import Catalog
from infra.errors import InputError
from infra.job_files import JobContext, read_json
from infra.lake import Lake
from infra.recipes import to_dict
from infra.releases import create_release
from infra.settings import Settings
from infra.tracking import Tracking
from infra.video import encode_mp4
from modeling.distill import DistillRecipe
from modeling.job import main
from modeling.recipes import OptimizerRecipe
from tests.unit.modeling.small import moving_clip, small_recipe

OPTIMIZER = OptimizerRecipe(steps=2, batch=4, learning_rate=1e-3, warmup_steps=1)
EVALUATION = {"oracle": "tests.system.test_model_steps:judge", "videos": 8, "rollouts": 0}


def judge(
    videos: Sequence[np.ndarray[Any, Any]], captions: Sequence[str]
) -> Mapping[str, Sequence[float]]:
    return {"accuracy": [float(video.mean() > 0) for video in videos]}


@pytest.fixture(scope="module")
def release(settings: Settings, catalog: Catalog) -> str:
    lake = Lake(settings.lake_uri)
    lake.ensure()
    clips = [moving_clip(f"{index:08x}", frames=14) for index in range(32)]
    span = {"start_s": 0.0, "end_s": 14 / 8, "offset_s": 0.0, "width": 48, "height": 48}
    rows = [
        {
            "clip_id": clip.clip_id,
            "status": "accepted",
            "split": "val" if index % 4 == 0 else "train",
            "caption": clip.caption,
            **span,
        }
        for index, clip in enumerate(clips)
    ]
    lake.upsert("clips", rows)
    lake.write_clip_bytes({clip.clip_id: encode_mp4(clip.frames_THWC, 8.0) for clip in clips})
    return create_release(lake, catalog, fingerprints={}, name="evaluated")[0].name


def run(step: str, spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return main(JobContext({"step": step, **spec}, folder))


def test_a_model_and_its_student_are_measured_in_one_table(
    settings: Settings,
    start_service: Callable[[str], None],
    release: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("modeling.word_features.STEPS", 2)
    monkeypatch.setattr("modeling.evaluate.GIVEN_CLIPS", 2)
    start_service("mlflow")
    spec = {
        "recipe": to_dict(small_recipe(steps=2)),
        "release": release,
        "evaluation": EVALUATION,
        "flow_run_id": "",
    }
    for step in ("vae", "latents", "dit"):
        run(step, spec, tmp_path / step)
    evaluated = run("evaluate", spec, tmp_path / "evaluate")
    names = [row[0] for row in evaluated["table"]]
    assert {"oracle_accuracy", "fd_words", "memorisation_ratio"} <= set(evaluated["metrics"])
    assert "heldout_loss_t0.5" in names and "heldout_loss_t0.5" not in evaluated["metrics"]
    assert evaluated["tags"]["oracle"] == EVALUATION["oracle"]

    tracking = Tracking(settings.mlflow_url)
    version = tracking.register_bundle(
        Path(evaluated["bundle"]), evaluated["mlflow_run_id"], evaluated["tags"]
    )
    logged = tracking.version(version).metrics
    assert logged["oracle_accuracy"] == evaluated["metrics"]["oracle_accuracy"]
    student = student_spec(settings, version)
    assert student["release"] == release and student["teacher"]["version"] == version

    recipe = DistillRecipe(steps=1, teacher_steps=2, optimizer=OPTIMIZER)
    spec |= student | {"distill": to_dict(recipe)}
    made = run("distill", spec, tmp_path / "distill")
    assert run("distill", spec, tmp_path / "again") == read_json(Path(made["folder"]) / "done.json")
    manifest = read_json(Path(made["bundle"]) / "manifest.json") or {}
    teacher = read_json(Path(evaluated["bundle"]) / "manifest.json") or {}
    assert manifest["teacher"]["version"] == version
    assert manifest["teacher"]["dit_sha256"] == teacher["sha256"]["dit.safetensors"]
    assert manifest["sha256"]["dit.safetensors"] != teacher["sha256"]["dit.safetensors"]
    assert manifest["sha256"]["vae.safetensors"] == teacher["sha256"]["vae.safetensors"]

    beside = run("evaluate", spec, tmp_path / "beside")
    assert beside["tags"]["teacher"] == version and beside["bundle"] == made["bundle"]
    assert {
        "oracle_accuracy",
        "teacher_oracle_accuracy",
        "teacher_few_steps_oracle_accuracy",
        "teacher_fd_words",
        "few_step_accuracy_loss",
    } <= set(beside["metrics"])
    assert "heldout_loss" not in beside["metrics"]

    again = tracking.register_bundle(Path(made["bundle"]), beside["mlflow_run_id"], beside["tags"])
    with pytest.raises(InputError, match=f"version {again} is a few-step student of .* {version}"):
        student_spec(settings, again)

    lost = spec | {"evaluation": {"oracle": "no_such_module:judge"}}
    with pytest.raises(InputError, match="no oracle at 'no_such_module:judge'"):
        run("evaluate", lost, tmp_path / "lost")
