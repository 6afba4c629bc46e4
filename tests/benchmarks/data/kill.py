"""Whether a killed and resumed ingest ends in the same lake as one that nobody disturbed."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from flows import stack
from flows.processes import free_port
from flows.services import services
from flows.startup import Pidfile, Startup
from infra.job_files import read_json, write_json
from infra.lake import Lake
from infra.settings import Settings
from tests.benchmarks.data.films import small_films
from tests.benchmarks.figure import Figure

ROOT = Path(__file__).parents[3]
KILLS, FILMS = 20, 24
PATIENCE_S = 300.0
VICTIMS = (
    ("inline", "job"),
    ("inline", "reader"),  # the process that forks one for each film
    ("inline", "child"),  # the one that reads a film
    ("ray", "job"),
    ("ray", "worker"),  # Ray's process around a reader
)

Find = Callable[[psutil.Process], psutil.Process | None]


def kill_identical(folder: Path, kills: int = KILLS) -> Figure:
    """How many of `kills` runs, a process of which is killed at a random moment and which are
    resumed, end as an undisturbed one. The victims take turns."""
    footage = small_films(folder / "footage", FILMS)
    begun = time.monotonic()
    wanted = _finish(folder / "undisturbed", footage, "inline")
    whole_s = time.monotonic() - begun
    same, hit = 0, dict.fromkeys((what for _, what in VICTIMS), 0)
    with _ray(folder / "stack") as head:
        for number in range(kills):
            home, rng = folder / f"kill-{number}", random.Random(number)
            parallel, what = VICTIMS[number % len(VICTIMS)]
            # Most of an undisturbed run is its start; others are struck when there is one.
            after_s = rng.uniform(0.05, 1.0 if what == "job" else 0.5) * whole_s
            hit[what] += _killed(home, footage, parallel, _find(what, head), after_s)
            same += _finish(home, footage, parallel) == wanted
    return {
        "value": same,
        "target": kills,
        "better": "higher",
        "n": kills,
        "note": "killed in time: " + ", ".join(f"{what} {count}" for what, count in hit.items()),
    }


@contextmanager
def _ray(home: Path) -> Iterator[psutil.Process]:
    """The head of a cluster of this machine, which `connect` finds; its process."""
    names = ("ray_port", "ray_dashboard_port")
    settings = Settings(home=home, **{name: free_port("127.0.0.1") for name in names})
    service = next(entry for entry in services(settings) if entry.name == "ray")
    home.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.process_env().items():
            patch.setenv(name, value)
        started = Startup(settings, Pidfile.load(settings), print).run([service])
        try:
            yield started["ray"]
        finally:
            stack.down(settings)
            started["ray"].poll()


def _finish(home: Path, footage: Path, parallel: str) -> str:
    """Run the job to its end and return the lake's hash."""
    process = _start(home, footage, parallel, "last")
    try:
        assert process.wait(PATIENCE_S) == 0, (home / "last" / "log.txt").read_text()
    finally:
        process.kill()
        process.wait()
    result = read_json(home / "last/result.json")
    assert result is not None
    return Lake(str(home / "lake")).content_hash()


def _killed(home: Path, footage: Path, parallel: str, find: Find, after_s: float) -> bool:
    """Start the job, kill a process of it, wait for the end; whether there was one to kill."""
    process = _start(home, footage, parallel, "killed")
    victim = None
    try:
        time.sleep(after_s)
        while victim is None and process.poll() is None:
            with suppress(psutil.NoSuchProcess):  # it was faster
                if victim := find(psutil.Process(process.pid)):
                    victim.kill()
            time.sleep(0.002)
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    return victim is not None


def _find(what: str, head: psutil.Process) -> Find:
    """What finds the process to kill, given the job's, as soon as there is one."""

    def first(processes: Iterable[psutil.Process]) -> psutil.Process | None:
        return next(iter(processes), None)

    def worker(_job: psutil.Process) -> psutil.Process | None:
        return first(p for p in head.children(recursive=True) if "ray::NodeReader" in p.name())

    return {
        "job": lambda job: job,
        "reader": lambda job: first(job.children()),
        "child": lambda job: first(c for server in job.children() for c in server.children()),
        "worker": worker,
    }[what]


def _start(home: Path, footage: Path, parallel: str, name: str) -> "subprocess.Popen[bytes]":
    folder = home / name
    write_json(folder / "spec.json", {"uri": str(footage), "recipe": {}, "parallel": parallel})
    environment = {
        **os.environ,
        "REEL_HOME": str(home),
        "REEL_LAKE_URI": str(home / "lake"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "ingest.job", "--spec", str(folder / "spec.json")]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)
