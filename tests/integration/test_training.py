"""Training under a real Ray Train: its process is killed, and the model is the same for it."""

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import torch

from infra.catalog import Catalog
from infra.errors import JobCancelledError
from infra.job_files import read_json, write_json
from infra.lake import Lake
from infra.ray_jobs import Job, RayJobs
from infra.recipes import to_dict
from infra.releases import create_release
from infra.settings import Settings
from infra.video import encode_mp4
from tests.unit.modeling.small import moving_clip, small_recipe

STEPS, WAIT_S = 250, 150.0


@pytest.fixture(scope="module")
def release(settings: Settings, catalog: Catalog) -> str:
    lake = Lake(settings.lake_uri)
    lake.ensure()
    clips = [moving_clip(f"{index:08x}", frames=14) for index in range(24)]
    rows = [
        {
            "clip_id": clip.clip_id,
            "status": "accepted",
            "split": "val" if index % 6 == 0 else "train",
            "caption": clip.caption,
            "start_s": 0.0,
            "end_s": 14 / 8,
            "offset_s": 0.0,
            "width": 48,
            "height": 48,
        }
        for index, clip in enumerate(clips)
    ]
    lake.upsert("clips", rows)
    lake.write_clip_bytes({clip.clip_id: encode_mp4(clip.frames_THWC, 8.0) for clip in clips})
    found, _ = create_release(lake, catalog, fingerprints={}, name="killed-in-training")
    return found.name


@pytest.fixture
def spec(release: str) -> dict[str, Any]:
    recipe = small_recipe()
    optimizer = dataclasses.replace(recipe.vae.optimizer, steps=STEPS)
    recipe = dataclasses.replace(recipe, vae=dataclasses.replace(recipe.vae, optimizer=optimizer))
    run = str(uuid4())
    return {"step": "vae", "recipe": to_dict(recipe), "release": release, "flow_run_id": run}


def _job(spec: dict[str, Any], checkpoint_s: float) -> Job:
    """The step under Ray Train, with one worker."""
    return Job(
        step="vae",
        module="modeling.job",
        spec={**spec, "workers": 1},
        flow_run_id=spec["flow_run_id"],
        env={"REEL_CHECKPOINT_S": str(checkpoint_s)},
    )


def test_a_killed_worker_is_replaced_and_ends_with_the_same_weights(
    ray_head: Settings,
    catalog: Catalog,
    start_service: Callable[[str], None],
    spec: dict[str, Any],
    tmp_path: Path,
) -> None:
    start_service("mlflow")
    job = _job(spec, checkpoint_s=0.2)
    found: list[dict[str, Any]] = []

    def train() -> None:
        found.append(RayJobs(ray_head, catalog).ensure(job))

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    _kill_worker(ray_head)
    thread.join(WAIT_S)
    assert found, "training did not go on after its worker was killed"

    folder = Path(found[0]["folder"])
    interrupted = (folder / "vae.safetensors").read_bytes()
    folder.rename(folder.with_name("interrupted"))
    undisturbed = _train_without_ray(spec, tmp_path)
    assert undisturbed["folder"] == str(folder)
    assert (folder / "vae.safetensors").read_bytes() == interrupted


def test_training_that_is_cancelled_saves_the_step_it_came_to(
    ray_head: Settings,
    catalog: Catalog,
    start_service: Callable[[str], None],
    spec: dict[str, Any],
) -> None:
    start_service("mlflow")
    spec["recipe"]["seed"] = 1  # so in a folder of its own
    spec["recipe"]["vae"]["optimizer"]["steps"] = 100_000
    job = _job(spec, checkpoint_s=3600)
    done, under_way = 0, threading.Event()

    def follow(progress: dict[str, Any]) -> None:
        nonlocal done
        if progress.get("message") == "training" and progress["done"] > 20:
            done = progress["done"]
            under_way.set()

    def train() -> None:
        with suppress(JobCancelledError):
            RayJobs(ray_head, catalog).ensure(job, on_progress=follow)

    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    assert under_way.wait(WAIT_S), "training never began"
    RayJobs(ray_head, catalog).cancel(job.flow_run_id)
    thread.join(WAIT_S)
    (checkpoint,) = (ray_head.home / "training").glob("vae-*-1/checkpoint.pt")
    assert torch.load(checkpoint, weights_only=True)["counters"]["step"] >= done


def _train_without_ray(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same step in one process that nothing disturbs."""
    write_json(folder / "spec.json", spec)
    command = [sys.executable, "-m", "modeling.job", "--spec", str(folder / "spec.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)
    result = read_json(folder / "result.json")
    assert result is not None
    return result


def _kill_worker(settings: Settings) -> None:
    """SIGKILL for the Ray Train worker of this home, as soon as it has written a checkpoint."""
    training, deadline = settings.home / "training", time.monotonic() + WAIT_S
    while not list(training.glob("*/checkpoint.pt")):
        assert time.monotonic() < deadline, "no checkpoint ever came"
        time.sleep(0.02)
    for process in psutil.process_iter(["cmdline", "environ"]):
        title = " ".join(process.info["cmdline"] or [])
        home = (process.info["environ"] or {}).get("REEL_HOME")
        if "RayTrainWorker" in title and home == str(settings.home):
            process.kill()
            process.wait(10)
            return
    raise AssertionError("there is no worker to kill: it ended before its time")
