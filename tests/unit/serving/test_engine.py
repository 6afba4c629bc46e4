"""The engine's judgement of other workers, and of stopping."""

import os
import platform
import subprocess
import sys
import threading
import time

import pytest
from serving_fakes import FakeGenerator

from infra.catalog_models import GenerationJob
from infra.errors import InputError
from serving.engine import Engine, owner_is_dead
from serving.jobs import JobStore, new_job_id


def queue(store: JobStore) -> GenerationJob:
    params = {"seed": 1, "steps": 0, "guidance": 0.0, "negative_prompt": ""}
    job = GenerationJob(
        id=new_job_id("video"), kind="video", prompt="a", params=params, size="48x32", seconds=1.0
    )
    store.folder(job.id).mkdir(parents=True)
    return store.submit(job)[0]


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_only_a_process_of_this_machine_that_ended_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert owner_is_dead(f"{platform.node()}/{child.pid}/x")
    assert not owner_is_dead(f"{platform.node()}/{os.getpid()}/x")
    assert not owner_is_dead(f"elsewhere/{child.pid}/x")
    assert not owner_is_dead("no owner of our kind")


def test_a_new_engine_takes_over_from_a_dead_one_before_the_lease_ends(store):
    job = queue(store)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert store.claim(f"{platform.node()}/{child.pid}/x") is not None
    engine = Engine(store, FakeGenerator, "3")
    engine.start()
    until(lambda: store.get(job.id).status == "completed")
    engine.stop()
    assert store.get(job.id).attempt == 2


def test_a_stopping_engine_gives_its_job_back(store):
    generator = FakeGenerator()
    generator.gate = threading.Event()
    first = Engine(store, lambda: generator, "3")
    job = queue(store)
    first.start()
    until(lambda: generator.requests)
    first.stop()
    now = store.get(job.id)
    assert (now.status, now.attempt, now.lease_owner) == ("queued", 0, None)
    second = Engine(store, FakeGenerator, "4")
    second.start()
    until(lambda: store.get(job.id).status == "completed")
    second.stop()
    ended = store.get(job.id)
    assert (ended.attempt, ended.model_version) == (1, "4")
    assert sorted(p.name for p in store.folder(job.id).iterdir()) == [
        "spritesheet-1.jpeg",
        "thumbnail-1.webp",
        "video-1.mp4",
    ]


def test_a_lost_lease_leaves_nothing_behind(store):
    """Another worker took the job over while this one was past its last step."""
    generator = FakeGenerator()
    generator.gate = threading.Event()
    engine = Engine(store, lambda: generator, "3")
    job = queue(store)
    engine.start()
    until(lambda: generator.requests)
    store.requeue_lost(lambda _owner: True)
    other = store.claim("other")
    generator.gate.set()
    until(lambda: engine.health()["busy"] is None)
    engine.stop()
    assert other is not None and store.renew(other)
    assert list(store.folder(job.id).iterdir()) == []


def test_a_model_that_does_not_load_is_an_error_at_the_start(store):
    def load():
        raise InputError("vae.safetensors is not what the manifest says")

    engine = Engine(store, load, "3")
    with pytest.raises(InputError, match="not what the manifest says"):
        engine.start()
    until(lambda: not engine.health()["healthy"])
