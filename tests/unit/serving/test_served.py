"""serve.json: what is served, what was before, and who follows it."""

from pathlib import Path

import pytest

from infra.job_files import read_json
from serving.served import SERVED, Watch, read_served, refused, remember, take_back
from serving.service import ModelInfo


def model(version: str) -> ModelInfo:
    return ModelInfo(version=version, size=(64, 48), fps=8.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for version in ("1", "2"):
        remember(tmp_path, "app", model(version), Path("/models") / version)
    return tmp_path


def served(home: Path) -> str:
    found = read_served(home, "app")
    assert found is not None
    return found["version"]


def test_a_version_that_is_taken_back_gives_way_to_the_one_before_it(home: Path) -> None:
    assert take_back(home, "app", "2", "all of its jobs failed")
    found = read_served(home, "app")
    assert found is not None and ModelInfo.of(found["model"]) == model("1")
    assert (found["version"], found["bundle"]) == ("1", "/models/1")
    assert refused(home) == {"version": "2", "reason": "all of its jobs failed"}
    # Another engine that finds the same is too late, and nothing is taken back twice.
    assert not take_back(home, "app", "2", "again") and not take_back(home, "app", "1", "x")
    assert served(home) == "1"
    remember(home, "app", model("3"), Path("/models/3"))
    assert refused(home) is None


def test_deploying_the_same_version_again_keeps_what_to_go_back_to(home: Path) -> None:
    remember(home, "app", model("2"), Path("/models/2"))
    assert take_back(home, "app", "2", "x") and served(home) == "1"


def test_another_start_of_the_application_begins_anew(home: Path) -> None:
    assert read_served(home, "other") is None and not take_back(home, "other", "2", "x")
    remember(home, "other", model("3"), Path("/models/3"))
    assert not take_back(home, "other", "3", "x")


def test_a_watch_follows_each_change_once(home: Path) -> None:
    heard: list[str] = []

    def follow(found: dict) -> None:
        heard.append(found["version"])
        if found["version"] == "3":
            raise RuntimeError("it does not load here")

    watch = Watch(home, "app", "2", follow)
    watch.look()
    assert heard == []
    remember(home, "app", model("3"), Path("/models/3"))
    with pytest.raises(RuntimeError):
        watch.look()
    watch.look()  # which would only fail again
    take_back(home, "app", "3", "x")
    watch.look()
    assert heard == ["3", "2"]
    (home / SERVED).unlink()
    watch.look()
    assert heard == ["3", "2"] and read_json(home / SERVED) is None
