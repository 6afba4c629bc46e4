"""Where keyframes lie among the model's frames, and what of a clip is made anew."""

import pytest

from infra.errors import InputError
from modeling.vae import GROUP
from serving.placement import EditedSpan, Mark, Spot, edited_span, loop_frames, mark, place


def spots(*marks: tuple[int | None, int], frames: int = 32, loop: bool = False):
    return place([Mark(*entry) for entry in marks], frames, loop=loop)


def test_a_beginning_needs_no_whole_group():
    assert spots((0, 1)) == ([Spot(0, 1)], 32)
    assert spots((0, 6)) == ([Spot(0, 6)], 32)


def test_a_picture_is_held_for_the_group_that_is_nearest():
    # After one given frame the groups are 1-4, 5-8, 9-12, 13-16.
    for at, first in ((10, 9), (11, 13), (13, 13), (14, 13)):
        assert spots((0, 1), (at, 1))[0][1] == Spot(first, GROUP)


def test_a_picture_at_the_end_makes_the_request_longer_than_what_is_shown():
    found, total = spots((0, 1), (None, 1))
    assert (found[1], total) == (Spot(29, GROUP), 33)
    found, total = spots((None, 1))
    assert (found[0], total) == (Spot(31, GROUP), 35)


def test_clips_that_are_bridged_stay_where_they_are():
    found, total = spots((0, 5), (None, 9))
    assert (found, total) == ([Spot(0, 5), Spot(23, 9)], 32)
    found, total = spots((0, 5), (None, 3))  # too short for a group: its last frame is held
    assert found[1].start == 29 and (found[1].end - 5) % GROUP == 0 and total == found[1].end
    assert found[1].end - GROUP >= 29


@pytest.mark.parametrize("at", range(32))
@pytest.mark.parametrize("loop", [False, True])
def test_every_picture_fills_a_group(at, loop):
    found, total = spots((at, 1), loop=loop)
    if at == 0 and not loop:
        return
    begins = 0 if loop else (at if at == 31 else 1)
    assert found[0].count == GROUP and (found[0].start - begins) % GROUP == 0
    assert found[0].start <= 31 and abs(found[0].start - at) <= GROUP
    assert total == (32 if loop else max(32, found[0].end))


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([(8, 1), (9, 1)], "too near"),
        ([(0, 10), (6, 9)], "too near"),
        ([(30, 8)], "not within"),
        ([(None, 40)], "not within"),
        ([(0, 16), (None, 16)], "leave nothing"),
    ],
)
def test_what_does_not_fit_is_refused(marks, says):
    with pytest.raises(InputError, match=says):
        spots(*marks)


def test_a_clip_that_fills_no_group_of_a_loop_is_refused():
    with pytest.raises(InputError, match="longer clip"):
        spots((29, 3), loop=True)


def test_a_mark_counts_the_models_frames():
    assert mark({"at": 1.0}, 32, 8.0) == Mark(8, 1)
    assert mark({"at": 4.0}, 32, 8.0) == Mark(31, 1)  # the end of the last frame
    assert mark({"at": "end", "fps": 24.0, "num_frames": 24}, 32, 8.0) == Mark(None, 8)
    assert mark({"at": 3.06, "fps": 10.0, "num_frames": 9}, 31, 8.0) == Mark(24, 7)


def test_a_loop_is_made_of_whole_groups():
    assert [loop_frames(count) for count in (1, 4, 5, 30)] == [4, 4, 8, 32]


CLIP = {"fps": 24.0, "num_frames": 48}  # two seconds


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [
        (None, None, EditedSpan(0, 48, 0, 16)),
        (0.5, 1.5, EditedSpan(12, 36, 4, 12)),
        (0.01, None, EditedSpan(0, 48, 0, 16)),
        (0.05, None, EditedSpan(1, 48, 1, 16)),  # one frame is left, and given
        (None, 1.95, EditedSpan(0, 47, 0, 15)),
        (1, 9, EditedSpan(24, 48, 8, 16)),
    ],
)
def test_the_part_of_a_clip_that_is_made_anew(start, end, span):
    assert edited_span(CLIP, start, end, 16, 8.0) == span


@pytest.mark.parametrize(("start", "end"), [(2, None), (1, 1), (1.5, 0.5)])
def test_a_part_that_is_none_is_refused(start, end):
    with pytest.raises(InputError, match="there is nothing from"):
        edited_span(CLIP, start, end, 16, 8.0)


def test_a_clip_too_short_to_keep_a_part_is_refused():
    with pytest.raises(InputError, match="too few to keep"):
        edited_span({"fps": 24.0, "num_frames": 4}, 0.05, 0.1, 1, 8.0)
