"""Ingest as a process of its own: on Ray, killed in the middle, and resumed."""

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra.job_files import read_json, write_json
from infra.lake import Lake
from infra.settings import Settings
from tests.unit.ingest.footage import join, shot, three_shots, write

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 180


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight films, one exact copy, one worse copy, a broken file and a broken caption file."""
    folder = tmp_path_factory.mktemp("footage")
    for seed in range(1, 8):
        three_shots(folder / f"film {seed}.{'mp4' if seed % 2 else 'mkv'}", seed=seed)
    frames = join([shot(91, 40), shot(92, 40)], [("cut", 0)])
    write(folder / "good.mp4", frames, options={"crf": "40"})
    write(folder / "web/poor.mp4", frames[:, ::2, ::2], options={"crf": "10"})
    shutil.copy(folder / "film 1.mp4", folder / "web/copy.mp4")
    (folder / "broken.mp4").write_bytes((folder / "film 3.mp4").read_bytes()[:2000])
    (folder / "film 1.txt").write_text("a disc")
    (folder / "film 2.vtt").write_text("no captions here")
    return folder


def start(home: Path, name: str, footage: Path, parallel: str) -> subprocess.Popen[bytes]:
    folder = home / "jobs" / name
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


def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status; a process that does not end is killed, and the test fails."""
    try:
        return process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def finish(home: Path, name: str, footage: Path, parallel: str) -> dict[str, Any]:
    process = start(home, name, footage, parallel)
    assert ended(process) == 0, (home / "jobs" / name / "log.txt").read_text()
    result = read_json(home / "jobs" / name / "result.json")
    assert result is not None
    return result


def lake_hash(home: Path) -> str:
    return Lake(str(home / "lake")).content_hash()


@pytest.fixture(scope="module")
def undisturbed(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Content hash of a lake that one inline run made."""
    home = tmp_path_factory.mktemp("inline")
    result = finish(home, "first", footage, "inline")
    assert result["funnel"] == {
        "files": 11, "duplicates": 2, "quarantined": 1, "withdrawn": 0, "accepted": 8,
        "shots": 23, "clips": 23, "rejected": {},
    }  # fmt: skip
    return lake_hash(home)


def test_ray_makes_the_same_lake_and_then_finds_nothing_to_do(
    ray_head: Settings, footage: Path, undisturbed: str, tmp_path: Path
) -> None:
    first = finish(tmp_path, "first", footage, "ray")
    assert lake_hash(tmp_path) == undisturbed
    again = finish(tmp_path, "again", footage, "ray")
    assert again["funnel"] == first["funnel"]
    assert (again["new_sources"], again["new_clips"]) == (0, 0)
    assert again["wall_s"] < 5


@pytest.mark.parametrize("parallel", ["inline", "ray"])
def test_a_killed_run_resumes_to_the_same_lake(
    ray_head: Settings, footage: Path, undisturbed: str, tmp_path: Path, parallel: str
) -> None:
    process = start(tmp_path, "killed", footage, parallel)
    deadline = time.monotonic() + TIMEOUT_S
    report = tmp_path / "jobs/killed/progress.json"
    while (read_json(report) or {"total": 0})["total"] < 2:
        assert process.poll() is None, (tmp_path / "jobs/killed/log.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(random.Random(parallel).uniform(0, 1))
    process.kill()
    process.wait()
    finish(tmp_path, "resumed", footage, parallel)
    assert lake_hash(tmp_path) == undisturbed


def test_no_ray_is_one_clear_sentence(footage: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REEL_RAY_PORT", "1")
        process = start(tmp_path, "alone", footage, "ray")
    assert ended(process) == 3
    error = read_json(tmp_path / "jobs/alone/error.json")
    assert error is not None
    assert error["message"] == "no Ray cluster answers at 127.0.0.1:1; start it: reel up"
    assert error["retryable"]


def test_a_missing_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, "missing", tmp_path / "gone", "inline")
    assert ended(process) == 2
    error = read_json(tmp_path / "jobs/missing/error.json")
    assert error is not None
    assert error["message"].startswith("there is no folder or file")
    assert not (tmp_path / "lake").exists()
