"""How many engines there are: by the backlog, and never by stopping one that works."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from serving.scaling import BUSY, QUEUED, BacklogPolicy, Rest, engines_for


@dataclass
class Sample:
    timestamp: float
    value: float


@dataclass
class Context:
    target_num_replicas: int
    raw_metrics: dict[str, dict[str, list[Sample]]] | None = field(default_factory=dict)


def reports(target: int, **replicas: tuple[float, float, float]) -> Context:
    """What each replica reported last, after what it reported before: (time, queued, busy)."""
    old = Sample(0.0, 1e6)
    queued = {name: [old, Sample(at, queued)] for name, (at, queued, _) in replicas.items()}
    busy = {name: [old, Sample(at, busy)] for name, (at, _, busy) in replicas.items()}
    return Context(target, {QUEUED: queued, BUSY: busy})


@pytest.mark.parametrize(
    ("queued_s", "engines"), [(0, 1), (59, 1), (60, 1), (61, 2), (180, 3), (1e9, 4)]
)
def test_an_engine_for_each_backlog_that_waits(queued_s: float, engines: int) -> None:
    assert engines_for(queued_s, 60, 4) == engines


def decided(context: Any) -> int:
    return BacklogPolicy(backlog_s=60, max_engines=4)(context)[0]


def test_the_policy_goes_by_the_newest_report() -> None:
    assert decided(reports(1, a=(5.0, 150.0, 1.0))) == 3
    assert decided(reports(2, a=(5.0, 150.0, 0.0), b=(6.0, 10.0, 0.0))) == 1


def test_engines_that_work_are_not_taken_away() -> None:
    assert decided(reports(3, a=(5.0, 10.0, 1.0), b=(5.0, 10.0, 1.0), c=(5.0, 10.0, 0.0))) == 2


def test_without_reports_nothing_changes() -> None:
    assert decided(Context(3)) == decided(Context(3, None)) == 3


def test_an_engine_rests_that_has_been_one_too_many_for_a_while() -> None:
    now = [100.0]
    rest = Rest(after_s=30, now=lambda: now[0])
    assert not rest.look(rank=1, wanted=1)
    now[0] += 29
    assert not rest.look(rank=1, wanted=1)
    assert not rest.look(rank=1, wanted=2)  # wanted again: it counts anew
    now[0] += 29
    assert not rest.look(rank=1, wanted=1)
    now[0] += 30
    assert rest.look(rank=1, wanted=1)
    assert not rest.look(rank=0, wanted=1)
