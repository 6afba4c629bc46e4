"""A new version beside the old one: loaded, tried, given the jobs that come; or refused."""

import threading

import pytest
from serving_fakes import FakeGenerator

from infra.errors import InputError
from serving.fleet import Fleet, Tap
from tests.unit.serving.test_engine import queue, until


@pytest.fixture
def fleet(catalog, tmp_path):
    fleet = Fleet(lambda: Tap(catalog, tmp_path / "media", 3600, lease_s=60))
    yield fleet
    fleet.stop()


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
