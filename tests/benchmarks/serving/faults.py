"""Engines killed at random moments under load: every accepted job ends once, little is repeated.

Only engines are killed here; the gateway keeps nothing but SQL, and its kills, the database's and
Ray Serve's are in the tests.
"""

import itertools
import os
import random
import subprocess
import sys
import time

from infra.catalog_models import GenerationJob
from serving.attempts import SAVE_EVERY
from serving.happenings import ENDS
from serving.jobs import JobStore
from tests.benchmarks.figure import Figure
from tests.benchmarks.model.demo_model import newest
from tests.benchmarks.serving.world import ROOT, new_store, queue, wait

KILLS = 30
UNDER_WAY = 4
SECONDS = (1.0, 4.0, 10.0)


def kill_exactly_once() -> dict[str, Figure]:
    """Kills after which all was as it should be: none, when a job ended otherwise than once."""
    rng, jobs, right = random.Random(13), list[GenerationJob](), 0
    with new_store() as store:
        for _ in range(KILLS):
            _top_up(store, jobs, rng)
            engine = _engine(store)
            time.sleep(rng.uniform(0.0, 3.0))
            engine.kill()
            engine.wait()
        engine = _engine(store)
        ended = wait(store, jobs)
        engine.kill()
        engine.wait()
        once = all(_ends(store, job) == ["completed"] for job in ended)
        repeats = [steps for job in ended for steps in _repeated(store, job)]
        right = KILLS if once and max(repeats, default=0) <= SAVE_EVERY else 0
    note = (
        f"engines; {len(jobs)} jobs, each ended once: {once}; {len(repeats)} went on, repeating "
        f"at most {max(repeats, default=0)} steps that they had told of (saved every {SAVE_EVERY})"
    )
    figure = Figure(value=right, target=KILLS, better="higher", n=KILLS, note=note)
    return {"kill_exactly_once": figure}


def _top_up(store: JobStore, jobs: list[GenerationJob], rng: random.Random) -> None:
    """Queue so many that some are always under way."""
    going = sum(store.get(job.id).status not in ENDS for job in jobs)
    for _ in range(UNDER_WAY - going):
        jobs.append(queue(store, len(jobs), rng.choice(SECONDS), steps=60))


def _engine(store: JobStore) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.benchmarks.serving.server"]
    process = subprocess.Popen(
        [*command, str(store.media_dir.parent), "0", str(newest())],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def _ends(store: JobStore, job: GenerationJob) -> list[str]:
    return [event.type for event in store.events(job.id, limit=100_000) if event.type in ENDS]


def _repeated(store: JobStore, job: GenerationJob) -> list[int]:
    """For each time that the job went on: how many steps it fell back."""
    steps = [
        int(event.data["step"])
        for event in store.events(job.id, limit=100_000)
        if event.type == "progress" and "step" in event.data
    ]
    return [max(a - b, 0) for a, b in itertools.pairwise(steps) if b < a]
