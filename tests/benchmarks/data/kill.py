"""Whether a killed and resumed ingest ends in the same lake as one that nobody disturbed."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil

from infra.job_files import read_json, write_json
from infra.lake import Lake
from tests.benchmarks.data.figure import Figure
from tests.benchmarks.data.films import small_films

ROOT = Path(__file__).parents[3]
KILLS, FILMS = 20, 24
PATIENCE_S = 300.0


def kill_identical(folder: Path, kills: int = KILLS) -> Figure:
    """How many of `kills` runs, killed at a random moment and resumed, end as an undisturbed one.

    Every second time the job is killed, else the process that reads a film for it.
    """
    footage = small_films(folder / "footage", FILMS)
    begun = time.monotonic()
    wanted = _finish(folder / "undisturbed", footage)
    whole_s = time.monotonic() - begun
    same, hit = 0, {"job": 0, "reader": 0}
    for number in range(kills):
        home, rng = folder / f"kill-{number}", random.Random(number)
        what = ("job", "reader")[number % 2]
        # Most of an undisturbed run is its start; a reader is struck as soon as there is one.
        after_s = rng.uniform(0.05, 1.0 if what == "job" else 0.5) * whole_s
        hit[what] += _killed(home, footage, what, after_s)
        same += _finish(home, footage) == wanted
    return {
        "value": same,
        "target": kills,
        "better": "higher",
        "n": kills,
        "note": f"killed in time: the job {hit['job']}, the reader {hit['reader']} times",
    }


def _finish(home: Path, footage: Path) -> str:
    """Run the job to its end and return the lake's hash."""
    process = _start(home, footage, "last")
    try:
        assert process.wait(PATIENCE_S) == 0, (home / "last" / "log.txt").read_text()
    finally:
        process.kill()
        process.wait()
    result = read_json(home / "last/result.json")
    assert result is not None
    return Lake(str(home / "lake")).content_hash()


def _killed(home: Path, footage: Path, what: str, after_s: float) -> bool:
    """Start the job, kill it or its reader, wait for the end; whether there was one to kill."""
    process = _start(home, footage, "killed")
    try:
        time.sleep(after_s)
        find = _job if what == "job" else _reader
        victim = None
        while victim is None and process.poll() is None:
            victim = find(process.pid)
        if victim is not None:
            victim.kill()
        process.wait(PATIENCE_S)
    except psutil.NoSuchProcess:
        return False  # it was faster
    finally:
        process.kill()
        process.wait()
    return victim is not None


def _job(pid: int) -> psutil.Process | None:
    return psutil.Process(pid)


def _reader(pid: int) -> psutil.Process | None:
    """The child that reads a film, when there is one: forked by a server, the job's child."""
    servers = psutil.Process(pid).children()
    return next((child for server in servers for child in server.children()), None)


def _start(home: Path, footage: Path, name: str) -> "subprocess.Popen[bytes]":
    folder = home / name
    write_json(folder / "spec.json", {"uri": str(footage), "recipe": {}, "parallel": "inline"})
    environment = {**os.environ, "REEL_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ingest.job", "--spec", str(folder / "spec.json")]
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)
