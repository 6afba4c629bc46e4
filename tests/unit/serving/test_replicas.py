"""The gateway's link to several engines: all are asked, and what they say is put together."""

import asyncio
import time
from typing import Any

from serving.replicas import Replicas, together


class Answers:
    """What all replicas said."""

    def __init__(self, told: list[Any], late_s: float = 0.0) -> None:
        self.told, self.late_s = told, late_s

    async def results_async(self, **_options: Any) -> list[Any]:
        await asyncio.sleep(self.late_s)
        return self.told

    def results(self, **_options: Any) -> list[Any]:
        return self.told


class Handle:
    """Stands for Ray Serve's: `engines` answer, or raise when there are none."""

    def __init__(self, *engines: dict[str, Any], works_on: dict[str, float] | None = None) -> None:
        self.engines, self.works_on = engines, works_on or {}
        self.calls: list[tuple[Any, ...]] = []

    def broadcast(self, method: str, *args: Any, **options: Any) -> Answers:
        self.calls.append((method, *args))
        self.options = options
        if not self.engines:
            raise RuntimeError("unavailable")
        if method == "health":
            return Answers(list(self.engines))
        if method == "ended" and args[0] in self.works_on:
            return Answers([False, True], self.works_on[args[0]])
        return Answers([False, False])


def engine(version: str, **facts: Any) -> dict[str, Any]:
    return {
        "healthy": True,
        "version": version,
        "busy": None,
        "under_way": 0,
        "jobs_ended": 1,
        "ending": [],
        "standby": None,
        "refused": None,
        **facts,
    }


def test_health_is_that_of_all_engines() -> None:
    back = {"version": "5", "reason": "its canary is grey"}
    state = together(
        [
            engine("4", under_way=2, busy="a", standby="3"),
            engine("4", ending=["3"], jobs_ended=5),
            engine("3", healthy=False, refused=back),
            RuntimeError("this one does not answer"),
        ]
    )
    assert state == {
        "healthy": True,
        "version": "4",
        "busy": "a",
        "under_way": 2,
        "jobs_ended": 7,
        "ending": ["3"],
        "standby": "3",
        "refused": back,
        "engines": 3,
        "versions": {"4": 2, "3": 1},
    }


def test_without_engines_it_is_unhealthy_and_says_what_was_taken_back() -> None:
    back = {"version": "5", "reason": "2 of its first jobs failed"}
    link = Replicas(Handle(), lambda: back)
    state = asyncio.run(link.health())
    assert (state["healthy"], state["reason"], state["refused"]) == (False, "RuntimeError", back)
    state = asyncio.run(Replicas(Handle(engine("4")), lambda: back).health())
    assert (state["healthy"], state["engines"], state["refused"]) == (True, 1, back)


def took_s(link: Replicas, job_id: str, within_s: float) -> float:
    began = time.monotonic()
    asyncio.run(link.ended(job_id, within_s))
    return time.monotonic() - began


def test_the_end_of_a_job_is_heard_from_the_engine_that_has_it() -> None:
    link = Replicas(Handle(engine("4"), engine("4"), works_on={"a": 0.05}))
    assert 0.05 <= took_s(link, "a", 20.0) < 10
    # On none of them, or with none that answers, time passes all the same.
    assert took_s(link, "b", 0.1) >= 0.09
    assert took_s(Replicas(Handle()), "a", 0.1) >= 0.09


def test_every_engine_is_told_that_a_job_is_followed() -> None:
    """Or the one that has it would make no previews."""
    handle = Handle(engine("4"), engine("4"), works_on={"a": 0.0})
    asyncio.run(Replicas(handle).ended("a", 1.0, follows=True))
    assert (handle.calls, handle.options) == ([("ended", "a", 1.0)], {"follows": True})


def test_every_engine_is_told_of_a_job_that_is_dropped() -> None:
    handle = Handle(engine("4"), engine("4"))
    link = Replicas(handle)
    link.dropped("a")
    Replicas(Handle()).dropped("a")  # nobody to tell
    link._threads.shutdown(wait=True)
    assert handle.calls == [("dropped", "a")]
