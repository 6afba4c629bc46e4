"""Which windows make a video: the groups (latent frames) that each one holds, in order.

Nothing here computes: a plan is made from what is known at the start.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.errors import InputError
from modeling.vae import GROUP


@dataclass(frozen=True)
class Window:
    """Groups `first` to before `end` of a canvas, sampled in one go."""

    first: int
    end: int


def plan(known: Sequence[bool], size: int, recent: int, coming: int) -> list[Window]:
    """The windows that make what is not known, hole by hole in the order of time.

    A hole after something known is made forward, and the window that reaches its end sees what
    follows. A hole before the first known group is made backward.

    size: groups of a window. recent, coming: known ones that it is shown before and after.
    """
    windows: list[Window] = []
    at = 0
    for is_known, run in itertools.groupby(known):
        first, at = at, at + len(list(run))
        if is_known:
            continue
        before = _run_back(known, first)
        after = min(coming, _run_on(known, at))
        if first == 0 and after:
            windows += _backward(at, after, _run_on(known, at), size)
        else:
            windows += _forward(first, at, before, after, size, recent)
    return windows


def _run_back(known: Sequence[bool], end: int) -> int:
    return len(list(itertools.takewhile(bool, reversed(known[:end]))))


def _run_on(known: Sequence[bool], first: int) -> int:
    return len(list(itertools.takewhile(bool, known[first:])))


def _forward(
    first: int, end: int, before: int, after: int, size: int, recent: int
) -> Iterator[Window]:
    at, earliest = first, first - before
    room = size - 1 - after  # what a window that sees both sides can make
    while at < end:
        if after and end - at <= room:
            yield Window(max(earliest, end + after - size), end + after)
            return
        stop = max(at - recent, earliest) + size
        if after:
            stop = min(stop, end - room)
        yield Window(max(stop - size, earliest), stop)
        at = stop


def _backward(end: int, after: int, run: int, size: int) -> Iterator[Window]:
    while end > 0:
        first = max(0, end + after - size)
        # The earliest window has room for more of what follows.
        yield Window(first, max(end + after, min(size, end + run)) if first == 0 else end + after)
        end, run = first, run + end - first


def plan_loop(known: Sequence[bool], size: int, recent: int, coming: int) -> list[Window]:
    """The windows of a loop: its last one sees the first groups again, after the last.

    Group 0 is no part of the loop, it only opens the first window when nothing is given.

    Raises:
        InputError: the loop is shorter than a window and the groups that lead back.
    """
    opening = [] if any(known) else [Window(0, size)]
    made = [*known[1:]] if any(known) else [True] * (size - 1) + [False] * (len(known) - size)
    if False not in made or len(made) < 2:
        raise InputError(
            f"a loop of {GROUP * (len(known) - 1)} frames is too short for this model; "
            f"ask for {GROUP * size} or more, and for more than is given"
        )
    rest = plan([*made, *[True] * min(coming, _run_on(made, 0))], size, recent, coming)
    return opening + [Window(window.first + 1, window.end + 1) for window in rest]
