import hashlib
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import webvtt

from flows.demo.films import encode, write_film
from flows.demo.oracle import read_attributes
from flows.demo.plan import plan_films
from flows.demo.scene import Attributes, Frames
from flows.demo.world import write_world
from infra.errors import InputError

FILMS = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, films=FILMS, seed=1, workers=2)
    return folder


@pytest.fixture(scope="module")
def truth(world: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((world / "truth.json").read_text())
    return value


def decode(path: Path) -> Frames:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_films_hold_what_the_truth_says(world: Path, truth: dict[str, Any]) -> None:
    assert len(truth["films"]) == FILMS
    for film in truth["films"]:
        x_THWC = decode(world / "footage" / film["path"])
        assert x_THWC.shape == (film["num_frames"], film["height"], film["width"], 3)
        for shot in film["shots"][::2]:
            found = read_attributes(x_THWC[shot["start"] : shot["end"]])
            assert found == Attributes(**shot["attributes"])
        for boundary in film["boundaries"]:
            first, last = boundary["start"], boundary["end"]
            if boundary["kind"] == "cut":  # the picture jumps exactly there
                around = x_THWC[first - 2 : first + 2].astype(np.int16)
                before, jump, after = np.abs(np.diff(around, axis=0)).mean((1, 2, 3))
                assert jump > 3 * max(before, after)
            if boundary["kind"] == "fade":
                # Of all pixels together: the codec leaves single ones a little brighter.
                assert x_THWC[(first + last - 1) // 2].mean() < 1


def test_containers_codecs_and_rates_are_real(world: Path, truth: dict[str, Any]) -> None:
    for film in truth["films"]:
        with av.open(str(world / "footage" / film["path"])) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == film["codec"]
            assert stream.average_rate == film["fps"]


def test_cues_cover_the_shots(world: Path, truth: dict[str, Any]) -> None:
    for film in truth["films"]:
        sidecar = (world / "footage" / film["path"]).with_suffix(".vtt")
        assert sidecar.exists() == film["captioned"]
        if not film["captioned"]:
            continue
        cues = webvtt.read(str(sidecar)).captions
        assert [cue.text for cue in cues] == [
            Attributes(**shot["attributes"]).caption() for shot in film["shots"]
        ]
        for cue, shot in zip(cues, film["shots"], strict=True):
            assert cue.start_in_seconds == pytest.approx(shot["start"] / film["fps"], abs=1)
            assert _seconds(cue.start) == pytest.approx(shot["start"] / film["fps"], abs=0.001)
            assert _seconds(cue.end) == pytest.approx(shot["end"] / film["fps"], abs=0.001)


def _seconds(timestamp: str) -> float:
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_broken_files_are_broken(world: Path, truth: dict[str, Any]) -> None:
    assert sorted(entry["kind"] for entry in truth["broken"]) == [
        "empty",
        "not_video",
        "truncated",
    ]
    for entry in truth["broken"]:
        path = world / "footage" / entry["path"]
        assert (path.stat().st_size == 0) == (entry["kind"] == "empty")
        with pytest.raises(av.error.FFmpegError):
            decode(path)


def test_duplicates_show_another_film(world: Path, truth: dict[str, Any]) -> None:
    captioned = {film["path"] for film in truth["films"] if film["captioned"]}
    for entry in truth["duplicates"]:
        assert entry["of"] not in captioned
        original, copy = (world / "footage" / entry[key] for key in ("of", "path"))
        same = original.read_bytes() == copy.read_bytes()
        assert same == (entry["kind"] == "exact")
        if not same:
            first, second = decode(original), decode(copy)
            assert len(first) == len(second)
            assert second.shape[1] == round(first.shape[1] * 0.75)


def test_the_same_seed_makes_the_same_films_in_any_process(world: Path, tmp_path: Path) -> None:
    films = sorted(plan_films(FILMS, seed=1), key=lambda film: film.num_frames)[:2]
    for film in films:
        write_film(film, tmp_path)
        here, there = (folder / film.path for folder in (tmp_path, world / "footage"))
        assert here.read_bytes() == there.read_bytes()
        cues = (tmp_path / film.path).with_suffix(".vtt")
        if film.captioned:
            assert (
                cues.read_bytes()
                == (world / "footage" / film.path).with_suffix(".vtt").read_bytes()
            )


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_second_call_does_nothing_and_a_lost_film_comes_back(
    world: Path, truth: dict[str, Any]
) -> None:
    reports: list[tuple[int, int]] = []
    before = {p: p.stat().st_mtime_ns for p in world.rglob("*") if p.is_file()}
    write_world(
        world, films=FILMS, seed=1, workers=1, on_progress=lambda done, n: reports.append((done, n))
    )
    assert {p: p.stat().st_mtime_ns for p in world.rglob("*") if p.is_file()} == before
    assert reports == [(FILMS + 5, FILMS + 5)]
    digests = _digests(world / "footage")
    shortest = min(truth["films"], key=lambda film: int(film["num_frames"]))
    lost = world / "footage" / shortest["path"]
    lost.unlink()
    (world / "footage" / ".half.mp4.123").write_bytes(b"half")
    write_world(world, films=FILMS, seed=1, workers=1)
    assert _digests(world / "footage") == digests


def test_footage_of_somebody_else_is_never_touched(tmp_path: Path) -> None:
    theirs = tmp_path / "footage" / "wedding.mp4"
    theirs.parent.mkdir()
    theirs.write_bytes(b"precious")
    with pytest.raises(InputError, match="holds files of somebody else"):
        write_world(tmp_path, films=FILMS, seed=1, workers=1)
    assert theirs.read_bytes() == b"precious"


def test_too_few_films_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="5 films is too small; ask for 6"):
        write_world(tmp_path, films=5, seed=1, workers=1)
    assert not any(tmp_path.iterdir())


def test_a_failed_encode_leaves_no_film(tmp_path: Path) -> None:
    def frames() -> Any:
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        encode(frames(), tmp_path / "film.mp4", codec="h264", fps=24)
    assert not (tmp_path / "film.mp4").exists()
