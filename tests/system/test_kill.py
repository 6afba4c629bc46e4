"""Readers killed at random moments of a run; `tests/integration` kills the job itself."""

import os
import random
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from infra.job_files import JobContext
from infra.lake import Lake
from ingest.job import main
from tests.system.test_sandbox import first_child
from tests.unit.ingest.footage import join, shot, three_shots, write


def test_a_run_whose_readers_are_killed_ends_in_the_same_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REEL_HOME", str(tmp_path / "home"))
    footage, lake = tmp_path / "footage", Lake(str(tmp_path / "home/lake"))
    for seed in range(4):
        three_shots(footage / f"{seed}.mp4", seed=seed)
    frames = join([shot(31, 40), shot(32, 40)], [("cut", 0)])
    write(footage / "poor.mp4", frames[:, ::2, ::2], options={"crf": "10"})
    write(footage / "good.mp4", frames, options={"crf": "40"})
    (footage / "empty.mp4").touch()
    context = JobContext({"uri": str(footage), "recipe": {}}, tmp_path / "job")
    main(context)
    undisturbed = lake.content_hash()
    shutil.rmtree(tmp_path / "home")
    killed = threading.Event()
    killer = threading.Thread(target=_kill_readers, args=(2, set(_readers()), killed))
    killer.start()
    main(context)
    killer.join()
    assert killed.is_set()
    assert lake.content_hash() == undisturbed


def _readers() -> list[int]:
    """The processes that read films for this one (which has other children, too)."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "ingest.reader" in child.cmdline():
                found.append(child.pid)
    return found


def _kill_readers(times: int, spared: set[int], done: threading.Event) -> None:
    rng, victims = random.Random(1), set[int]()
    deadline = time.monotonic() + 30
    while len(victims) < times and time.monotonic() < deadline:
        server = next((pid for pid in _readers() if pid not in spared), 0)
        child = first_child(server) if server else 0
        if child and child not in victims:
            time.sleep(rng.uniform(0, 0.03))
            victim = rng.choice([server, child])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:  # it was faster
                continue
            victims.add(child)
        time.sleep(0.002)
    if len(victims) == times:
        done.set()
