from typing import Any

import pytest

from flows.demo.scene import Attributes
from flows.demo.truth import (
    Detection,
    Rate,
    attribute_accuracy,
    boundary_f1,
    caption_scores,
    duplicates_among,
    shot_at,
)

EXAMPLE = Attributes(shape="circle", color="red", size="small", direction="left", background="dark")
OTHER = Attributes(shape="bar", color="red", size="small", direction="up", background="light")


def cut(frame: int) -> dict[str, Any]:
    return {"kind": "cut", "start": frame, "end": frame}


def gradual(start: int, end: int, kind: str = "gradual") -> dict[str, Any]:
    return {"kind": kind, "start": start, "end": end}


TRUTH = [cut(50), gradual(100, 112, "dissolve"), gradual(150, 163, "fade")]


def test_a_perfect_detector_scores_one() -> None:
    scores = boundary_f1([cut(50), gradual(101, 111), gradual(149, 160)], TRUTH)
    assert scores["cut"] == Detection(hits=1)
    assert scores["gradual"] == Detection(hits=2)
    assert scores["gradual"].f1 == 1


def test_nothing_found_is_all_missed() -> None:
    scores = boundary_f1([], TRUTH)
    assert scores["cut"] == Detection(missed=1)
    assert scores["gradual"] == Detection(missed=2)
    assert scores["cut"].f1 == scores["cut"].precision == scores["cut"].recall == 0


@pytest.mark.parametrize(("frame", "hit"), [(47, 0), (48, 1), (52, 1), (53, 0)])
def test_the_tolerance_is_two_frames(frame: int, hit: int) -> None:
    assert boundary_f1([cut(frame)], TRUTH)["cut"].hits == hit


def test_a_dissolve_reported_as_one_cut_is_found_and_as_two_is_one_false_cut() -> None:
    once = boundary_f1([cut(106)], TRUTH)
    assert once["gradual"] == Detection(hits=1, missed=1)
    assert once["cut"] == Detection(missed=1)
    twice = boundary_f1([cut(101), cut(106)], TRUTH)
    assert twice["gradual"].hits == 1
    assert twice["cut"].false == 1


def test_of_two_predictions_the_one_of_the_same_kind_matches() -> None:
    scores = boundary_f1([cut(106), gradual(99, 104)], TRUTH)
    assert scores["cut"].false == 1
    assert scores["gradual"].false == 0


def test_false_predictions_count_against_their_own_kind() -> None:
    scores = boundary_f1([cut(20), gradual(70, 80), cut(50)], TRUTH)
    assert scores["cut"] == Detection(hits=1, false=1)
    assert scores["cut"].precision == 0.5
    assert scores["gradual"] == Detection(missed=2, false=1)


def test_films_add_up() -> None:
    total = Detection(hits=3, missed=1) + Detection(hits=1, false=2)
    assert total == Detection(hits=4, missed=1, false=2)
    assert total.f1 == pytest.approx(8 / 11)


def test_wilson_interval_against_published_values() -> None:
    low, high = Rate(right=81, n=263).interval  # Newcombe 1998, table I, method 3
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    low, high = Rate(right=0, n=20).interval
    assert (low, high) == (0, pytest.approx(0.1611, abs=1e-4))
    assert Rate(right=0, n=0).interval == (0, 1)


def test_attribute_accuracy_counts_nothing_found_as_wrong() -> None:
    rates = attribute_accuracy([(EXAMPLE, EXAMPLE), (OTHER, EXAMPLE), (None, EXAMPLE)])
    assert rates["color"] == Rate(right=2, n=3)
    assert rates["shape"] == Rate(right=1, n=3)
    assert rates["each"] == Rate(right=7, n=15)
    assert rates["all"] == Rate(right=1, n=3)


def test_caption_scores_need_the_true_value_and_no_other() -> None:
    text = "a small red or blue circle moving left"
    rates = caption_scores([(EXAMPLE.caption(), EXAMPLE), (text, EXAMPLE)])
    assert rates["color"].right == 1
    assert rates["shape"].right == 2
    assert rates["background"].right == 1
    assert rates["all"] == Rate(right=1, n=2)


def test_shot_at_wants_half_of_the_clip() -> None:
    film = {
        "shots": [
            {"start": 0, "end": 40, "attributes": vars(EXAMPLE)},
            {"start": 50, "end": 90, "attributes": vars(OTHER)},
        ]
    }
    assert shot_at(film, 5, 38) == EXAMPLE
    assert shot_at(film, 38, 80) == OTHER
    assert shot_at(film, 39, 51) is None


def test_duplicates_among_counts_pairs_that_both_got_through() -> None:
    truth = {"duplicates": [{"path": "copy.mp4", "of": "a.mp4"}, {"path": "b.webm", "of": "b.mp4"}]}
    assert duplicates_among(truth, {"a.mp4", "b.webm", "c.mp4"}) == 0
    assert duplicates_among(truth, {"a.mp4", "copy.mp4"}) == 1
