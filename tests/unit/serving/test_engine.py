"""The engine's judgement of other workers, and of stopping."""

import os
import platform
import subprocess
import sys
import threading
import time

import pytest
from serving_fakes import FakeGenerator, FakeStages

from infra.catalog_models import GenerationJob
from infra.errors import InputError
from modeling.generation import Generation
from modeling.progress import Progress
from modeling.sampler import SamplerRecipe
from serving.engine import Engine, owner_is_dead
from serving.jobs import JobStore, new_job_id


def queue(
    store: JobStore,
    seed: int = 1,
    owner: str = "",
    estimate_s: float | None = None,
    **params: object,
) -> GenerationJob:
    params = {"seed": seed, "steps": 0, "guidance": 0.0, "negative_prompt": "", **params}
    job = GenerationJob(
        id=new_job_id("video"),
        kind="video",
        prompt="a",
        params=params,
        size="48x32",
        seconds=1.0,
        owner=owner,
        estimate_s=estimate_s,
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


def test_a_lost_lease_leaves_nothing_behind_but_what_another_goes_on_from(store):
    """Another worker took the job over while this one was at its second step."""
    generator = FakeGenerator()
    generator.gate = threading.Event()
    engine = Engine(store, lambda: generator, "3")
    job = queue(store)
    engine.start()
    until(lambda: generator.requests)
    engine._claim = lambda _served: None  # it does not see that there is something again
    store.requeue_lost(lambda _owner: True)
    other = store.claim("other")
    generator.gate.set()
    until(lambda: engine.health()["busy"] is None)
    engine.stop()
    assert other is not None and store.renew(other)
    assert [path.name for path in store.folder(job.id).iterdir()] in ([], ["state-1-video"])


def test_a_model_that_does_not_load_is_an_error_at_the_start(store):
    def load():
        raise InputError("vae.safetensors is not what the manifest says")

    engine = Engine(store, load, "3")
    with pytest.raises(InputError, match="not what the manifest says"):
        engine.start()
    until(lambda: not engine.health()["healthy"])


def test_a_job_that_comes_joins_the_next_step_of_one_that_runs(store):
    generator = FakeGenerator(step_s=0.01)
    engine = Engine(store, lambda: generator, "3")
    long = queue(store, seed=1, steps=60)
    engine.start()
    until(lambda: generator.steps_taken >= 3)
    short = queue(store, seed=2, steps=2)
    engine.notify()
    until(lambda: store.get(short.id).status == "completed")
    assert store.get(long.id).status == "in_progress"
    until(lambda: store.get(long.id).status == "completed")
    engine.stop()
    assert [sorted(call) for call in generator.calls].count([1, 2]) == 2
    assert len(generator.calls) == 60
    assert store.get(short.id).timings["sample_s"] < store.get(long.id).timings["sample_s"]


def test_an_engine_goes_on_where_another_was_killed(store):
    """The first is cut off from its folder and its thread as by a kill: only its files are left."""
    generator = FakeGenerator()
    generator.gate = threading.Event()
    first = Engine(store, lambda: generator, "3", save_every=1)
    job = queue(store, steps=9)
    first.start()
    until(lambda: list(store.folder(job.id).glob("state-1-video/step-0-1.*")))
    first._claim = lambda _served: None  # the dead take nothing
    store.requeue_lost(lambda _owner: True)
    fresh = FakeGenerator()
    second = Engine(store, lambda: fresh, "3", save_every=1)
    second.start()
    until(lambda: store.get(job.id).status == "completed")
    second.stop()
    first.stop()
    assert fresh.steps_taken == 8
    assert {path.name for path in store.folder(job.id).iterdir()} == {
        "spritesheet-2.jpeg",
        "thumbnail-2.webp",
        "video-2.mp4",
    }


def test_what_was_stopped_is_saved_and_goes_on(store):
    generator = FakeGenerator(step_s=0.01)
    first = Engine(store, lambda: generator, "3", save_every=1000)
    job = queue(store, steps=100)
    first.start()
    until(lambda: generator.steps_taken >= 10)
    first.stop()
    assert store.get(job.id).status == "queued"
    fresh = FakeGenerator()
    second = Engine(store, lambda: fresh, "3")
    second.start()
    until(lambda: store.get(job.id).status == "completed")
    second.stop()
    assert generator.steps_taken + fresh.steps_taken == 100


def test_a_job_that_makes_several_steps_at_once_is_saved_as_often(store, monkeypatch):
    """With a step cache it comes to steps 1, 3, 5, 8 and 9, and never to a multiple of four."""

    class Cached(FakeGenerator):
        def begin(self, request):
            recipe = SamplerRecipe(steps=9, whole_share=0.5)
            return Generation(FakeStages(request), lambda _: recipe, steps=9, patch=1)

    saved = []
    monkeypatch.setattr(Progress, "save", lambda _progress, each: saved.append(each.done))
    engine = Engine(store, Cached, "3", save_every=4)
    job = queue(store)
    engine.start()
    until(lambda: store.get(job.id).status == "completed")
    engine.stop()
    assert saved == [5, 9]


def test_a_job_that_breaks_the_model_breaks_no_other(store):
    class Breaks(FakeGenerator):
        def advance(self, generations):
            if any(each.sampling().task.seed == 13 for each in generations):
                raise RuntimeError("no such token")
            super().advance(generations)

    generator = Breaks(step_s=0.005)
    engine = Engine(store, lambda: generator, "3")
    jobs = [queue(store, seed=seed, steps=30) for seed in (1, 13, 2)]
    engine.start()
    until(lambda: all(store.get(job.id).status in ("completed", "failed") for job in jobs))
    engine.stop()
    assert [store.get(job.id).status for job in jobs] == ["completed", "failed", "completed"]
    assert [store.get(job.id).error_code for job in jobs] == [None, "generation_failed", None]


def test_work_that_a_worker_brought_on_is_never_given_up(store):
    """Three workers lost at one step are too many; at a further step each time they are not."""
    job = queue(store)
    for step in (1, 2, 3, 4, 4, 4):
        claim = store.claim("a")
        assert claim is not None and store.renew(claim, step=step, steps=9)
        store.requeue_lost(lambda _owner: True)
    now = store.get(job.id)
    assert (now.status, now.error_code, now.step) == ("failed", "worker_lost", 4)


def test_tenants_take_turns_however_many_jobs_one_has(store):
    jobs = [queue(store, owner=owner) for owner in "aaaabbc"]
    served: dict[str, int] = {}
    order = []
    while (claim := store.claim("w", served=served)) is not None:
        served[claim.job.owner] = len(order) + 1
        order.append(claim.job.owner)
    assert order == list("abcabaa") and len(jobs) == 7
    queue(store, owner="a")
    assert store.claim("w", besides={"a"}) is None


def test_a_picture_larger_than_what_is_enlarged_has_two_stages(store):
    class Notes(FakeGenerator):
        def begin_large(self, request, height, width):
            sizes.append((height, width))
            return super().begin_large(request, height, width)

    sizes: list[tuple[int, int]] = []
    engine = Engine(store, Notes, "3")
    jobs = []
    for size in ("384x512", "400x512"):
        params = {"seed": 1, "steps": 0, "guidance": 0.0, "negative_prompt": "", "n": 1}
        params |= {"output_format": "png", "output_compression": 90}
        made = GenerationJob(id=new_job_id("image"), kind="image", params=params, size=size)
        store.folder(made.id).mkdir(parents=True)
        jobs.append(store.submit(made)[0])
    engine.start()
    until(lambda: all(store.get(job.id).status == "completed" for job in jobs))
    engine.stop()
    assert sizes == [(512, 400)]


def test_an_engine_that_has_its_share_leaves_the_rest_to_others(store):
    generator = FakeGenerator()
    generator.gate = threading.Event()
    engine = Engine(store, lambda: generator, "3", share_s=40.0)
    engine.start()
    jobs = [queue(store, seed, estimate_s=30.0) for seed in range(3)]
    until(lambda: len(generator.requests) == 2)
    neighbour = queue(store, 7, owner="neighbour", estimate_s=30.0)
    until(lambda: len(generator.requests) == 3)
    states = [store.get(job.id).status for job in (*jobs, neighbour)]
    assert states == ["in_progress", "in_progress", "queued", "in_progress"]
    generator.gate.set()
    until(lambda: store.get(jobs[2].id).status == "completed")
    engine.stop()
