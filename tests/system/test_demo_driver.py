import subprocess
import sys
from pathlib import Path

import pytest

from flows import stack
from flows.demo import driver, serve_figures
from flows.demo.examples import pick
from flows.demo.memory import MemoryWatch, label, pss_bytes
from flows.demo.places import Places
from flows.demo.stages import Stages
from infra.errors import InfrastructureError, InputError, NotFoundError
from infra.settings import Settings


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("REEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REEL_LAKE_URI", "s3://the-users/lake")
    return tmp_path / "home"


def test_rendered_films_never_reach_the_users_lake(home):
    places = Places.of(None)
    assert places.settings.home == home / "demo"
    assert places.settings.lake_uri == str(home / "demo" / "lake")
    assert str(home / "demo") in places.settings.catalog_url
    assert places.outputs == home / "demo" / "outputs"


def test_the_users_footage_goes_into_the_users_lake(home, tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").touch()
    places = Places.of(tmp_path / "films")
    assert places.settings.lake_uri == "s3://the-users/lake" and places.world is None
    assert places.folder == home / "demo"


def test_footage_is_checked_before_anything_starts(home, tmp_path):
    with pytest.raises(NotFoundError, match="no folder"):
        Places.of(tmp_path / "nowhere")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="is empty"):
        Places.of(tmp_path / "none")
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match="is a file"):
        Places.of(tmp_path / "a.mp4")


class FakeStack:
    def __init__(self, monkeypatch, *, running: bool, fails: bool = False):
        self.calls: list[str] = []
        self.fails = fails
        row = stack.Row("prefect", "running" if running else "stopped", 7 if running else None, "")
        monkeypatch.setattr(stack, "status", lambda _settings: [row])
        monkeypatch.setattr(stack, "up", self.up)
        monkeypatch.setattr(stack, "down", self.down)

    def up(self, _settings, _say):
        self.calls.append("up")
        if self.fails:
            raise InfrastructureError("no answer from ray")

    def down(self, _settings):
        self.calls.append("down")
        return ["ray"]


@pytest.fixture
def places(tmp_path) -> Places:
    settings = Settings(home=tmp_path)
    return Places(settings=settings, folder=tmp_path, footage=tmp_path / "f", world=None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError])
def test_services_are_stopped_after_a_failure_and_after_ctrl_c(places, monkeypatch, error):
    fake = FakeStack(monkeypatch, running=False)
    with pytest.raises(error), driver._standing(places, Stages(lambda _: None)):
        raise error
    assert fake.calls == ["up", "down"]


def test_services_that_ran_before_are_left_running(places, monkeypatch):
    fake = FakeStack(monkeypatch, running=True)
    with driver._standing(places, Stages(lambda _: None)):
        pass
    assert fake.calls == ["up"]


def test_rendering_stops_when_the_services_do_not_start(tmp_path, monkeypatch):
    settings = Settings(home=tmp_path)
    world = tmp_path / "world"
    places = Places(settings=settings, folder=tmp_path, footage=world / "footage", world=world)
    FakeStack(monkeypatch, running=False, fails=True)
    monkeypatch.setattr(driver, "WORKERS", 1)
    with (
        pytest.raises(InfrastructureError, match="no answer from ray"),
        driver._standing(places, Stages(lambda _: None)),
    ):
        pass
    assert len(list((world / "footage").rglob("*.*"))) < 20


def test_a_stage_keeps_its_seconds_when_it_fails():
    lines: list[str] = []
    stages = Stages(lines.append)
    with pytest.raises(InputError), stages.stage("train-model", "Training"):
        stages.say("x" * 500)
        raise InputError("no")
    assert "train-model" in stages.wall_s and max(map(len, lines)) < 130


def test_memory_counts_a_child_and_forgets_it_when_it_ends(tmp_path):
    watch = MemoryWatch(tmp_path / "stack.json")
    alone = watch.sample()
    code = 'x = bytearray(64 << 20)\nx[::4096] = b"1" * (16 << 10)\nprint(flush=True)\ninput()'
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        with_child = watch.sample()
        child.communicate(b"\n")
    assert with_child - alone > 50 << 20
    assert watch.peak_bytes == with_child and watch.samples == 2
    assert pss_bytes(child.pid) == 0


def test_processes_are_named_as_people_know_them():
    class Process:
        def __init__(self, *words):
            self.words = list(words)

        def cmdline(self):
            return self.words

    assert label(Process("/x/python", "-m", "modeling.job", "--spec", "s")) == "modeling.job"
    assert label(Process("ray::ServeReplica:reel:Engine")) == "ray::ServeReplica:reel:Engine"
    assert label(Process("/x/python3", "/x/bin/ray", "start")) == "ray"
    assert label(Process("/x/raylet", "--foo")) == "raylet"


def row(number, caption, split="train", width=256, height=192):
    return {
        "clip_id": f"c{number}", "caption": caption, "split": split, "width": width,
        "height": height,
    }  # fmt: skip


def test_examples_are_held_out_of_different_shapes_and_words_in_any_order():
    rows = [
        row(1, "a red circle"),
        row(2, "a red bar", "val"),
        row(3, "a red bar", "val", 192, 256),
        row(4, "a blue circle", "val", 192, 256),
        row(5, "a blue circle", "val"),
    ]
    picked = [entry["clip_id"] for entry in pick(rows, 2)]
    assert picked == ["c2", "c4"]
    assert [entry["clip_id"] for entry in pick(rows[::-1], 2)] == picked
    assert len(pick(rows, 9)) == 3  # no caption twice


def test_serving_is_compared_without_encoding_and_after_a_warm_up(monkeypatch):
    http = iter([(99.0, 0.0), (3.0, 1.0), (2.0, 0.5), (4.0, 1.0)])
    bare = iter([50.0, 2.0, 1.0, 1.5])
    monkeypatch.setattr(serve_figures, "_through_http", lambda *_: next(http))
    monkeypatch.setattr(serve_figures, "_bare", lambda *_: next(bare))
    figure = serve_figures.serve_over_sampler(None, None, "a", (512, 384), pairs=3)
    assert (figure.value, figure.n) == (1.5, 3)
    assert "encoding 1.00 s" in figure.note
