"""Engines killed at work: each job ends once, with the file that it would have had anyway."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.catalog import Catalog
from infra.catalog_models import GenerationJob
from infra.settings import Settings
from serving.happenings import ENDS
from serving.jobs import JobStore, new_job_id
from tests.decoded import decoded_hash

STEPS = 40
SAVE_EVERY = 2  # of engine_process.py


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    settings = Settings(home=tmp_path / "home")
    settings.home.mkdir()
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    yield JobStore(catalog, settings.media_dir, 3600)
    catalog.close()


@contextmanager
def engine(store: JobStore, step_s: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "tests/engine_process.py", str(store.media_dir.parent), str(step_s)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def queue(store: JobStore, seed: int, seconds: float, steps: int) -> GenerationJob:
    params = {"seed": seed, "steps": steps, "guidance": 3.0, "negative_prompt": ""}
    job = GenerationJob(
        id=new_job_id("video"),
        kind="video",
        prompt="a red ball",
        params=params,
        size="64x48",
        seconds=seconds,
    )
    store.folder(job.id).mkdir(parents=True)
    return store.submit(job)[0]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def jobs(store: JobStore) -> list[GenerationJob]:
    """Two that are alike in their seeds to two others, which nothing will disturb."""
    return [queue(store, 3, 4.0, STEPS), queue(store, 4, 1.0, 3 * STEPS)]


def video(store: JobStore, job: GenerationJob) -> str:
    return decoded_hash(next(store.folder(job.id).glob("video-*.mp4")))


def test_a_killed_engines_work_goes_on_and_gives_the_same_video(store: JobStore) -> None:
    rng, disturbed, kills = random.Random(5), jobs(store), 0
    while any(store.get(job.id).status in ("queued", "in_progress") for job in disturbed):
        assert kills < 20
        with engine(store, 0.01) as process:
            begun = [store.get(job.id).step for job in disturbed]
            aim = sum(begun) + rng.randrange(80, 110)
            until(
                lambda aim=aim: (
                    sum(store.get(job.id).step for job in disturbed) >= aim
                    or all(store.get(job.id).status in ENDS for job in disturbed)
                )
            )
            process.send_signal(signal.SIGKILL)
            kills += 1
    assert kills >= 2
    with engine(store):
        calm = jobs(store)
        until(lambda: all(store.get(job.id).status in ENDS for job in calm))
    for job, other in zip(disturbed, calm, strict=True):
        ends = [event.type for event in store.events(job.id) if event.type in ENDS]
        assert ends == ["completed"]
        assert video(store, job) == video(store, other)
        names = {path.name.partition("-")[0] for path in store.folder(job.id).iterdir()}
        assert names == {"video", "thumbnail", "spritesheet"}
        # The rows of the step events never go back: what was done is not done again from scratch.
        steps = [
            event.data["step"]
            for event in store.events(job.id, limit=10_000)
            if event.type == "progress" and "step" in event.data
        ]
        again = [before - after for before, after in itertools.pairwise(steps)]
        assert max(again, default=0) <= SAVE_EVERY
