"""The first jobs of a version decide whether it stays."""

import pytest

from serving.trial import Trial


class Told:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.trial = Trial(lambda: self.heard.append("proven"), self.heard.append)


@pytest.fixture
def told() -> Told:
    return Told()


def test_jobs_that_end_well_prove_it_and_later_failures_are_their_own(told: Told) -> None:
    assert told.trial.bad("a", RuntimeError())
    for _ in range(4):
        told.trial.well()
    assert told.heard == ["proven"]
    assert not told.trial.bad("b", RuntimeError()) and not told.trial.bad("c", RuntimeError())
    assert told.heard == ["proven"]


def test_it_fails_when_more_jobs_fail_than_end_well(told: Told) -> None:
    for _ in range(2):
        told.trial.well()
    assert told.trial.bad("a", RuntimeError()) and told.trial.bad("b", RuntimeError())
    assert told.heard == []
    assert told.trial.bad("c", ValueError("what a user wrote"))
    (reason,) = told.heard
    assert "3 of its first 5 jobs failed" in reason and "ValueError" in reason and "c)" in reason
    assert "user" not in reason
    # What was under way is not to blame either, and what ends well comes too late.
    assert told.trial.bad("d", RuntimeError())
    for _ in range(3):
        told.trial.well()
    assert len(told.heard) == 1


def test_a_full_disk_says_nothing_of_a_version(told: Told) -> None:
    assert not any(told.trial.bad("a", OSError("no space left on device")) for _ in range(9))
    assert told.heard == []


def test_with_too_little_memory_for_two_the_one_before_is_let_go(told: Told) -> None:
    assert told.trial.bad("a", RuntimeError("CUDA out of memory"))
    assert told.heard == ["proven"]
    assert not told.trial.bad("a", MemoryError())
