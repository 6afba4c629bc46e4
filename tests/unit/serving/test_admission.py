"""Estimates, the queue's limit and quotas: all in seconds of the device."""

import pytest

from infra.catalog_models import GenerationJob
from serving.access import Caller
from serving.admission import Admission
from serving.jobs import JobStore, new_job_id
from serving.leases import engines_at_work
from serving.wire import ApiError
from tests.unit.serving.conftest import running


def job(seconds=1.0, kind="video", owner="", **params) -> GenerationJob:
    return GenerationJob(
        id=new_job_id(kind), kind=kind, owner=owner, params=params, seconds=seconds, size="48x32"
    )


def ran(store: JobStore, device_s: float, **fields) -> None:
    store.submit(job(**fields))
    claim = store.claim("w")
    store.complete(claim, [], {"sample_s": device_s, "encode_s": 0.0})


@pytest.fixture
def admission():
    return Admission(queue_device_s=10, steps=20)


def estimate(store, admission, of):
    return store.look(lambda session: admission.estimate_s(session, of))


def test_cost_is_learned_from_jobs_that_ended(store, admission):
    assert estimate(store, admission, job()) is None
    for device_s in (2.0, 4.0, 60.0):  # the median, not the mean
        ran(store, device_s, seconds=2.0)
    assert estimate(store, admission, job(seconds=4.0)) == pytest.approx(8.0)
    assert estimate(store, admission, job(seconds=4.0, steps=5)) == pytest.approx(2.0)
    assert estimate(store, admission, job(kind="image", n=2)) is None
    ran(store, 3.0, kind="image", n=3)
    assert estimate(store, admission, job(kind="image", n=2)) == pytest.approx(2.0)


def test_large_pictures_are_estimated_by_their_pixels_and_by_their_like(store, admission):
    def picture(side: int, **params) -> GenerationJob:
        made = job(kind="image", **params)
        made.size = f"{side}x{side}"
        return made

    ran(store, 1.0, kind="image")
    assert estimate(store, admission, picture(400)) is None
    store.submit(picture(1000))
    store.complete(store.claim("w"), [], {"sample_s": 50.0, "encode_s": 0.0})
    assert estimate(store, admission, picture(2000, n=2)) == pytest.approx(400.0)
    assert estimate(store, admission, picture(384)) == pytest.approx(1.0)
    assert estimate(store, admission, picture(400, input="input.png")) == pytest.approx(1.0)


def test_a_full_queue_says_when_to_come_back(store, admission):
    ran(store, 3.0)
    admit = admission.check(Caller())
    for _ in range(3):
        store.submit(job(), admit=admit)
    with pytest.raises(ApiError) as refused:
        store.submit(job(), admit=admit)
    assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "2")
    assert refused.value.body["error"]["code"] == "queue_full"
    store.claim("w")
    assert store.look(admission.queued_s) == pytest.approx(9.0)


def test_what_waits_is_shared_by_the_engines_that_work(store, admission):
    ran(store, 3.0)
    admit = admission.check(Caller())
    queued = [store.submit(job(), admit=admit)[0] for _ in range(3)]
    alone_s = store.eta_s(queued[2])
    assert store.look(engines_at_work) == 0
    for owner in ("node/1/aa", "node/1/bb", "node/2/cc"):  # a process may have two, in a swap
        store.claim(owner)
    assert store.look(engines_at_work) == 2
    waiting = store.submit(job())[0]
    assert store.eta_s(waiting) == pytest.approx(alone_s * (1 + 3 / 2) / 3, rel=1e-3)
    with pytest.raises(ApiError) as refused:
        store.submit(job(seconds=3.0), admit=admit)
    assert refused.value.headers["retry-after"] == "4"  # (9 + 9 - 10) / 2


def test_an_empty_queue_takes_a_job_of_any_size(store, admission):
    ran(store, 3.0)
    assert store.submit(job(seconds=60.0), admit=admission.check(Caller()))[1]


def test_a_quota_counts_what_was_used_and_what_waits(store):
    admission = Admission(queue_device_s=1e6)
    ran(store, 3.0, owner="t")
    ran(store, 3.0, owner="other")
    admit = admission.check(Caller(tenant="t", quota_device_s=7.0))
    store.submit(job(owner="t"), admit=admit)
    with pytest.raises(ApiError) as refused:
        store.submit(job(owner="t"), admit=admit)
    assert refused.value.body["error"]["code"] == "insufficient_quota"
    assert refused.value.headers["x-should-retry"] == "false"
    assert store.submit(job(), admit=admission.check(Caller()))[1]


def test_overload_is_refused_with_429_and_loses_nothing(catalog, tmp_path):
    with running(catalog, tmp_path, queue_device_s=0.001) as world:
        body = {"prompt": "a", "seconds": 1, "steps": 50}
        world.finish(world.client.post("/v1/videos", json=body).json()["id"])
        world.generator.step_s = 0.01
        replies = [world.client.post("/v1/videos", json=body) for _ in range(20)]
        taken = [reply.json()["id"] for reply in replies if reply.status_code == 200]
        assert {reply.status_code for reply in replies} == {200, 429} and taken
        for reply in replies:
            assert reply.status_code == 200 or int(reply.headers["retry-after"]) >= 1
        assert all(world.finish(each)["status"] == "completed" for each in taken)
        assert len([name for name in world.files() if "/" not in name]) == 1 + len(taken)


def test_an_estimate_queues_nothing(world):
    body = {"prompt": "a", "seconds": 2}
    assert world.client.post("/v1/videos/estimate", json=body).json()["device_seconds"] is None
    done = world.client.post("/v1/videos", json=body).json()
    timings = world.finish(done["id"])["x_timings"]
    found = world.client.post("/v1/videos/estimate", json=body | {"seconds": 4}).json()
    cost_s = timings["sample_s"] + timings["encode_s"]
    assert found["device_seconds"] == pytest.approx(2 * cost_s, abs=2e-3)
    assert found["queued_device_seconds"] == 0 and found["seconds"] == "4"
    assert len(world.client.get("/v1/videos").json()["data"]) == 1
    wrong = world.client.post("/v1/images/estimate", json={"prompt": "a", "n": 0})
    assert wrong.json()["error"]["param"] == "n"
