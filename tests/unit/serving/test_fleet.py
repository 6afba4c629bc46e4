"""A new version beside the old one: loaded, tried, given the jobs that come; or refused."""

import threading

import pytest
from serving_fakes import FakeGenerator

from infra.errors import InputError
from serving.fleet import Fleet, Tap
from serving.happenings import ENDS
from tests.unit.serving.test_engine import queue, until


@pytest.fixture
def fleet(catalog, tmp_path):
    taken_back = []
    fleet = Fleet(
        lambda: Tap(catalog, tmp_path / "media", 3600, lease_s=60),
        on_taken_back=lambda version, reason: taken_back.append((version, reason)),
    )
    fleet.taken_back = taken_back
    yield fleet
    fleet.stop()


def broken():
    """Loads and passes its canary; in service it fails."""
    generator = FakeGenerator()
    generator.error = RuntimeError("NaN in the latents")
    return generator


def ended(store, job):
    until(lambda: store.get(job.id).status == "completed")
    return store.get(job.id)


def test_jobs_under_way_end_on_the_old_version_and_new_ones_on_the_new(store, fleet):
    old = FakeGenerator()
    old.gate = threading.Event()
    fleet.swap(lambda: old, "1")
    running = queue(store)
    fleet.notify()
    until(lambda: old.requests)
    fleet.swap(FakeGenerator, "2")
    assert (fleet.health()["version"], fleet.health()["ending"]) == ("2", ["1"])
    after = ended(store, queue(store))
    assert store.get(running.id).status == "in_progress"
    old.gate.set()
    before = ended(store, running)
    assert (before.model_version, before.attempt, after.model_version) == ("1", 1, "2")
    until(lambda: fleet.health()["ending"] == [])


def test_a_version_that_does_not_load_changes_nothing_and_health_says_why(store, fleet):
    def load():
        raise InputError("its canary is grey")

    fleet.swap(FakeGenerator, "1")
    with pytest.raises(InputError, match="canary is grey"):
        fleet.swap(load, "2")
    state = fleet.health()
    assert (state["healthy"], state["version"]) == (True, "1")
    assert state["refused"] == {"version": "2", "reason": "its canary is grey"}
    assert ended(store, queue(store)).model_version == "1"
    fleet.swap(FakeGenerator, "3")
    assert (fleet.health()["version"], fleet.health()["refused"]) == ("3", None)


def test_a_job_that_is_dropped_stops_on_whichever_version_it_runs(store, fleet):
    old = FakeGenerator()
    old.gate = threading.Event()
    fleet.swap(lambda: old, "1")
    job = queue(store)
    until(lambda: old.requests)
    fleet.swap(FakeGenerator, "2")
    store.cancel(job.id)
    fleet.dropped(job.id)
    until(lambda: fleet.health()["ending"] == [])
    assert old.steps_taken <= 2


def test_a_version_whose_first_jobs_fail_is_taken_back_and_no_job_is_lost(store, fleet):
    fleet.swap(FakeGenerator, "1")
    fleet.swap(broken, "2")
    jobs = [queue(store, seed) for seed in range(3)]
    fleet.notify()
    for job in jobs:
        assert ended(store, job).model_version == "1"
        ends = [event.type for event in store.events(job.id) if event.type in ENDS]
        assert ends == ["completed"]
    state = fleet.health()
    assert (state["version"], state["healthy"], state["standby"]) == ("1", True, None)
    assert state["refused"]["version"] == "2" and "RuntimeError" in state["refused"]["reason"]
    assert "version 1 is served again" in state["refused"]["reason"]
    assert "reel rollback" in state["refused"]["reason"]
    until(lambda: fleet.taken_back)
    assert fleet.taken_back == [("2", state["refused"]["reason"])]
    until(lambda: len(fleet._members) == 1)


def test_one_job_alone_is_enough_to_find_out_and_it_is_not_lost(store, fleet):
    fleet.swap(FakeGenerator, "1")
    fleet.swap(broken, "2")
    job = ended(store, queue(store))
    assert (job.model_version, job.attempt, fleet.version) == ("1", 3, "1")


def test_what_a_user_did_wrong_does_not_count(store, fleet):
    fleet.swap(FakeGenerator, "1")
    wrong = FakeGenerator()
    wrong.error = InputError("too many frames")
    fleet.swap(lambda: wrong, "2")
    for job in [queue(store, seed) for seed in range(3)]:
        until(lambda job=job: store.get(job.id).status == "failed")
        assert store.get(job.id).error_code == "invalid_request"
    assert (fleet.version, fleet.health()["refused"]) == ("2", None)


def test_the_version_before_stands_by_until_the_new_one_is_proven(store, fleet):
    fleet.swap(FakeGenerator, "1")
    fleet.swap(FakeGenerator, "2")
    assert fleet.health()["standby"] == "1"
    for seed in range(3):
        ended(store, queue(store, seed))
    until(lambda: len(fleet._members) == 1)
    assert (fleet.version, fleet.health()["standby"]) == ("2", None)


def test_going_back_to_the_version_that_stands_by_loads_nothing(store, fleet):
    def load():
        raise AssertionError("it is loaded")

    fleet.swap(FakeGenerator, "1")
    new = FakeGenerator()
    new.gate = threading.Event()
    fleet.swap(lambda: new, "2")
    running = queue(store)
    until(lambda: new.requests)
    fleet.swap(load, "1")  # as `reel rollback` does
    assert ended(store, queue(store)).model_version == "1"
    new.gate.set()
    assert ended(store, running).model_version == "2"
    until(lambda: len(fleet._members) == 1)
    assert fleet.version == "1" and fleet.taken_back == []


def test_an_engine_that_rests_takes_no_jobs_until_it_is_woken(store, fleet):
    fleet.swap(FakeGenerator, "1")
    fleet.rest(on=True)
    fleet.swap(FakeGenerator, "2")
    job = queue(store)
    assert store.claim("another") is not None and store.get(job.id).lease_owner == "another"
    later = queue(store)
    fleet.rest(on=False)
    assert ended(store, later).model_version == "2"
    until(lambda: not fleet.has(later.id))
