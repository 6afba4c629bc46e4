"""Training under a real Ray Train: its process is killed, and the model is the same for it."""

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from infra.catalog import Catalog
from infra.lake import Lake
from infra.ray_jobs import Job, RayJobs
from infra.recipes import to_dict
from infra.releases import create_release
from infra.settings import Settings
from infra.video import encode_mp4
from tests.unit.modeling.small import moving_clip, small_recipe

STEPS, WAIT_S = 600, 120.0


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


def test_a_killed_worker_is_replaced_and_ends_with_the_same_weights(
    ray_head: Settings,
    catalog: Catalog,
    start_service: Callable[[str], None],
    release: str,
) -> None:
    start_service("mlflow")
    jobs, recipe = RayJobs(ray_head, catalog), small_recipe()
    optimizer = dataclasses.replace(recipe.vae.optimizer, steps=STEPS)
    recipe = dataclasses.replace(recipe, vae=dataclasses.replace(recipe.vae, optimizer=optimizer))

    def train() -> dict[str, Any]:
        run = str(uuid4())
        spec = {"step": "vae", "recipe": to_dict(recipe), "release": release, "workers": 1}
        spec |= {"flow_run_id": run}
        return jobs.ensure(Job(step="vae", module="modeling.job", spec=spec, flow_run_id=run))

    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: found.append(train()), daemon=True)
    thread.start()
    training = ray_head.home / "training"
    killed = kill_worker(ray_head, after=lambda: list(training.glob("*/checkpoint.pt")))
    thread.join(WAIT_S)
    assert found, "training did not go on after its worker was killed"
    assert not psutil.pid_exists(killed)

    folder = Path(found[0]["folder"])
    interrupted = (folder / "vae.safetensors").read_bytes()
    folder.rename(folder.with_name("interrupted"))
    assert (Path(train()["folder"]) / "vae.safetensors").read_bytes() == interrupted


def kill_worker(settings: Settings, after: Callable[[], Any]) -> int:
    """Kill the Ray Train worker of this home once `after` has come true; returns its pid."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if after():
            for process in psutil.process_iter(["cmdline", "environ"]):
                title = " ".join(process.info["cmdline"] or [])
                home = (process.info["environ"] or {}).get("REEL_HOME")
                if "RayTrainWorker" in title and home == str(settings.home):
                    process.kill()
                    process.wait(10)
                    return process.pid
        time.sleep(0.05)
    raise AssertionError("no checkpoint and worker ever came")
