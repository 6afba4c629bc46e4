"""Where keyframes lie among the model's frames.

The model is told of whole groups of four frames, so a keyframe counts only when it fills one: a
picture is held for a group, a short clip's last frame is, and what would end after the video makes
the request longer than what is shown of it. `modeling.canvas` says where the groups begin.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import InputError
from modeling.grid import GROUP


@dataclass(frozen=True)
class Mark:
    """A keyframe of `count` of the model's frames, from frame `start`; None: it is the end."""

    start: int | None
    count: int

    @property
    def still(self) -> bool:
        return self.count == 1


@dataclass(frozen=True)
class Spot:
    """Where a keyframe came to lie; its last frame fills what it does not."""

    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


def place(marks: Sequence[Mark], num_frames: int, *, loop: bool) -> tuple[list[Spot], int]:
    """(a spot for each of the marks, the frames to ask the model for, `num_frames` or more).

    Raises:
        InputError: they do not fit, or leave nothing to make.
    """
    wanted = [_start(mark, num_frames) for mark in marks]
    seam = _seam(marks, wanted, num_frames, loop=loop)
    spots = []
    for mark, start in zip(marks, wanted, strict=True):
        if start == 0 and not loop:
            spots.append(Spot(0, mark.count))  # a beginning needs no whole group
            continue
        limit = num_frames if loop else num_frames + 2 * GROUP
        spots.append(_spot(mark, start, seam, num_frames, limit))
    _check_apart(spots, num_frames)
    return spots, max([num_frames, *(spot.end for spot in spots)])


def loop_frames(num_frames: int) -> int:
    """The length of a loop, which is made of whole groups."""
    return -(-num_frames // GROUP) * GROUP


def _start(mark: Mark, num_frames: int) -> int:
    start = num_frames - mark.count if mark.start is None else mark.start
    if start < 0 or start + mark.count > num_frames:
        raise InputError(
            f"a keyframe of {mark.count} frames from frame {start} on is not within the video's "
            f"{num_frames}; move it, cut it, or ask for more seconds"
        )
    return start


def _seam(marks: Sequence[Mark], wanted: list[int], num_frames: int, *, loop: bool) -> int:
    """The remainder by GROUP of the frames at which groups begin."""
    if loop:
        return 0
    if 0 in wanted:
        return marks[wanted.index(0)].count % GROUP
    if wanted:
        late = wanted.index(max(wanted))
        if wanted[late] + marks[late].count == num_frames:
            return wanted[late] % GROUP
    return 1


def _spot(mark: Mark, start: int, seam: int, num_frames: int, limit: int) -> Spot:
    after = seam + GROUP * -(-(start - seam) // GROUP)  # the first group from `start` on
    if mark.still:
        near = after if 2 * (after - start) <= GROUP else after - GROUP
        while near + (GROUP if limit == num_frames else 1) > num_frames:
            near -= GROUP
        return Spot(max(near, seam), GROUP)
    end = max(start + mark.count, after + GROUP)
    if end > limit:
        raise InputError(
            f"a keyframe of {mark.count} frames fills no group of {GROUP} within a loop of "
            f"{num_frames}; give a longer clip, or place it earlier"
        )
    return Spot(start, end - start)


def _check_apart(spots: list[Spot], num_frames: int) -> None:
    ordered = sorted(spots, key=lambda spot: spot.start)
    for one, other in itertools.pairwise(ordered):
        if one.end > other.start:
            raise InputError(
                f"keyframes are too near each other: one fills frames {one.start} to {one.end} of "
                f"{num_frames}, the next begins at {other.start}"
            )
    if sum(min(spot.end, num_frames) - spot.start for spot in spots) >= num_frames:
        raise InputError("keyframes leave nothing of the video to make; ask for more seconds")


def mark(keyframe: dict[str, Any], num_frames: int, fps: float) -> Mark:
    """The mark of a job's keyframe: {"at", and of a clip "fps" and "num_frames"}, at the model's
    `fps`."""
    count = 1
    if "num_frames" in keyframe:
        count = max(1, round(keyframe["num_frames"] / keyframe["fps"] * fps))
    if keyframe["at"] == "end":
        return Mark(None, count)
    start = round(keyframe["at"] * fps)
    if start + count == num_frames + 1:  # both were rounded up
        start, count = (start - 1, 1) if count == 1 else (start, count - 1)
    return Mark(start, count)


@dataclass(frozen=True)
class EditedSpan:
    """What is made anew of a clip: its frames `first` to before `last`, and the model's."""

    first: int
    last: int
    low: int
    high: int


def edited_span(
    clip: dict[str, Any], start: float | None, end: float | None, num_frames: int, fps: float
) -> EditedSpan:
    """The part of a clip ({"fps", "num_frames"}) from `start` to `end`, in seconds; None is all.

    num_frames, fps: of the clip as the model sees it.

    Raises:
        InputError: there is no such part, or nothing of the clip is left.
    """
    count, rate = clip["num_frames"], clip["fps"]
    first = 0 if start is None else math.floor(start * rate + 1e-6)
    last = count if end is None else min(math.ceil(end * rate - 1e-6), count)
    if not first < last:
        raise InputError(
            f"there is nothing from {(start or 0):g} s to {count / rate if end is None else end:g} "
            f"s of a video of {count / rate:g} s"
        )
    low, high = math.floor(first / rate * fps + 1e-6), math.ceil(last / rate * fps - 1e-6)
    # What is left at a side, however short, is given.
    low = max(low, int(first > 0))
    high = num_frames if last == count else min(high, num_frames - 1)
    if not low < high:
        raise InputError(
            f"the video has {num_frames} of the model's frames, too few to keep some around "
            f"{first / rate:g} s to {last / rate:g} s"
        )
    return EditedSpan(first, last, low, high)
