import json
from pathlib import Path

import pytest

from infra.errors import InputError, NotFoundError
from ingest.calibrate import Example, calibrate, read_examples, read_labels, score
from ingest.recipe import ShotRecipe
from ingest.shots import Boundary
from tests.unit.ingest.footage import three_shots

RECIPE = ShotRecipe()


def cut(at: int, times: float) -> Boundary:
    """A candidate that reaches so many times the least ratio."""
    return Boundary(at, at, "cut", {"cut_ratio": times * RECIPE.cut_ratio})


def noisy(number: int) -> Example:
    """A film whose false candidates lie just above the default threshold, the true far above."""
    candidates = [cut(50 + number, 3.0), cut(120, 1.05), cut(160, 1.1), cut(200, 4.0)]
    return Example(frames=[50 + number, 200], candidates=candidates)


def test_calibration_finds_the_threshold_that_separates() -> None:
    result = calibrate([noisy(number) for number in range(4)], RECIPE)
    assert result.before.f1 == pytest.approx(2 / 3)
    assert result.after.f1 == 1.0
    assert result.gains
    assert list(result.changed) == ["cut_ratio"]
    assert result.recipe.cut_ratio > 1.1 * RECIPE.cut_ratio


def test_a_gain_on_the_labelled_films_alone_is_no_gain() -> None:
    """Each film's false candidates fool another field, so what one teaches the others forget."""
    fields = ("cut_ratio", "cut_min_score", "cut_min_peak", "ramp_contrast")
    examples = [
        Example(
            frames=[50],
            candidates=[
                Boundary(50, 50, "cut", {f: 1.02 * getattr(RECIPE, f) for f in fields if f != own}),
                Boundary(90, 90, "cut", {own: 1.01 * getattr(RECIPE, own)}),
            ],
        )
        for own in fields
    ]
    result = calibrate(examples, RECIPE)
    assert score(examples, result.recipe).f1 >= result.before.f1
    assert not result.gains


def test_recipe_that_is_right_already_stays() -> None:
    examples = [Example(frames=[50], candidates=[cut(50, 2.0)]) for _ in range(3)]
    result = calibrate(examples, RECIPE)
    assert (result.changed, result.gains, result.recipe) == ({}, False, RECIPE)


def test_one_film_is_too_few() -> None:
    with pytest.raises(InputError, match="label two or more"):
        calibrate([noisy(0)], RECIPE)


def test_labels_are_json_or_csv_beside_the_films(tmp_path: Path) -> None:
    film = three_shots(tmp_path / "films" / "a.mp4")
    (tmp_path / "l.json").write_text(json.dumps({"films/a.mp4": [60, 30]}))
    (tmp_path / "l.csv").write_text("file,frame\nfilms/a.mp4,30\nfilms/a.mp4,60\n")
    for name in ("l.json", "l.csv"):
        labels = read_labels(tmp_path / name)
        assert labels == {film: [30, 60]}
        (example,) = read_examples(labels, RECIPE)
        assert score([example], RECIPE).f1 == 1.0


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.json", "{", "not JSON"),
        ("l.json", "[1]", "has to hold"),
        ("l.json", "{}", "labels no film"),
        ("l.json", '{"a.mp4": [0]}', "the frame 0"),
        ("l.json", '{"a.mp4": ["x"]}', "the frame 'x'"),
        ("l.csv", "a.mp4,12\na.mp4;13\n", "line 2: 'a.mp4;13'"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_labels(tmp_path / name)


def test_missing_films_and_frames_beyond_the_end_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file"):
        read_labels(tmp_path / "none.json")
    (tmp_path / "l.json").write_text('{"b.mp4": [3]}')
    with pytest.raises(NotFoundError, match=r"labels 'b.mp4'"):
        read_labels(tmp_path / "l.json")
    three_shots(tmp_path / "b.mp4")
    (tmp_path / "l.json").write_text('{"b.mp4": [900]}')
    with pytest.raises(InputError, match="has 90 frames, and its labels name frame 900"):
        read_examples(read_labels(tmp_path / "l.json"), RECIPE)
