"""The store's state machine: leases, fencing, retries, paging, expiry."""

import os
import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from infra.catalog_models import Artifact, GenerationJob, Usage, utc_now
from infra.errors import InputError, NotFoundError
from serving.jobs import MAX_ATTEMPTS, VIDEO_KINDS, JobStore, new_job_id


def job(**values) -> GenerationJob:
    values = {"kind": "video", "prompt": "a", "params": {"seed": 1}, "seconds": 1.0} | values
    return GenerationJob(**({"id": new_job_id(values["kind"])} | values))


def add(store: JobStore, **values) -> GenerationJob:
    return store.submit(job(**values))[0]


def test_ids_sort_by_age():
    first = new_job_id("video")
    time.sleep(0.002)
    assert first < new_job_id("video")


def test_a_job_is_claimed_once_oldest_first(store):
    first, second = add(store), add(store)
    assert store.claim("a").job.id == first.id
    assert store.claim("b").job.id == second.id
    assert store.claim("c") is None


def test_completing_records_files_and_end_together(store):
    claim = _claimed(store)
    done = Artifact(
        job_id=claim.job.id, name="video", media_type="video/mp4", path="x", size_bytes=1, sha256=""
    )
    assert store.complete(claim, [done], {"sample_s": 1.0})
    ended = store.get(claim.job.id)
    assert (ended.status, ended.progress, ended.timings) == ("completed", 100, {"sample_s": 1.0})
    assert ended.completed_at is not None and ended.lease_owner is None
    assert [a.name for a in store.artifacts(claim.job.id)] == ["video"]


def test_a_stale_attempt_changes_nothing(store):
    stale = _claimed(store, owner="a")
    store.requeue_lost(lambda owner: owner == "a")
    fresh = store.claim("a")  # the same owner again: the attempt alone tells them apart
    assert (stale.attempt, fresh.attempt) == (1, 2)
    assert not store.renew(stale, progress=99)
    assert not store.complete(stale, [], {})
    assert not store.fail(stale, "x", "x")
    assert not store.release(stale)
    now = store.get(fresh.job.id)
    assert (now.status, now.progress, now.lease_owner) == ("in_progress", 0, "a")
    assert store.renew(fresh, progress=7) and store.get(fresh.job.id).progress == 7


def test_an_expired_lease_goes_back_to_the_queue(store):
    claim = _claimed(silent(store))
    assert store.requeue_lost() == 1
    now = store.get(claim.job.id)
    assert (now.status, now.started_at, now.lease_owner) == ("queued", None, None)


def test_a_renewed_lease_is_not_lost(store):
    claim = _claimed(silent(store))
    assert store.renew(claim)
    assert store.requeue_lost() == 0


def silent(store: JobStore) -> JobStore:
    """The store of a worker whose leases have always just run out."""
    return JobStore(store._catalog, store.media_dir, 60, lease_s=-1)


def test_a_job_that_kills_its_workers_is_given_up(store):
    add(store)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = store.claim("a")
        assert claim.attempt == attempt
        store.requeue_lost(lambda _owner: True)
    ended = store.get(claim.job.id)
    assert (ended.status, ended.error_code) == ("failed", "worker_lost")
    assert store.claim("a") is None


def test_a_released_job_does_not_lose_an_attempt(store):
    add(store)
    for _ in range(MAX_ATTEMPTS + 2):
        assert store.release(store.claim("a"))
    assert store.claim("a").attempt == 1


def test_deleting_a_running_job_stops_its_worker_and_frees_its_files(store):
    claim = _claimed(store)
    folder = store.folder(claim.job.id)
    folder.mkdir(parents=True)
    (folder / "input.png").write_bytes(b"x")
    store.delete(claim.job.id)
    assert not folder.exists()
    assert not store.renew(claim)
    with pytest.raises(NotFoundError, match="deleted or expired"):
        store.get(claim.job.id)
    with pytest.raises(NotFoundError):
        store.delete(claim.job.id)


def test_deleting_a_parent_keeps_its_extension(store):
    parent = add(store)
    child = add(store, kind="extension", parent_id=parent.id)
    store.delete(parent.id)
    assert store.get(child.id).parent_id is None


def test_pages_cover_everything_once_in_both_orders(store):
    ids = [add(store).id for _ in range(5)]
    add(store, kind="image")
    for newest_first, expected in ((False, ids), (True, ids[::-1])):
        seen, after, more = [], None, True
        while more:
            jobs, more = store.page(VIDEO_KINDS, after=after, limit=2, newest_first=newest_first)
            seen += [j.id for j in jobs]
            after = seen[-1]
        assert seen == expected


def test_a_page_after_an_unknown_job_is_an_error(store):
    with pytest.raises(NotFoundError):
        store.page(VIDEO_KINDS, after="video_nope", limit=2, newest_first=True)


def test_the_same_key_is_the_same_job(store):
    first, created = store.submit(job(idempotency_key="k", request_hash="h"))
    again, created_again = store.submit(job(idempotency_key="k", request_hash="h"))
    assert (created, created_again, again.id) == (True, False, first.id)
    with pytest.raises(InputError, match="different request"):
        store.submit(job(idempotency_key="k", request_hash="other"))


def test_a_retry_finds_its_job_by_content_and_a_new_request_does_not(store):
    first, _ = store.submit(job(request_hash="h"))
    assert store.submit(job(request_hash="h"), is_retry=True)[0].id == first.id
    assert store.submit(job(request_hash="h"))[1]
    assert store.submit(job(request_hash="other"), is_retry=True)[1]


def test_an_old_job_is_not_taken_for_a_retry(store):
    store.submit(job(request_hash="h", created_at=utc_now() - timedelta(hours=1)))
    assert store.submit(job(request_hash="h"), is_retry=True)[1]


def test_a_cancelled_job_ends_once_and_its_worker_stops(store):
    claim = _claimed(store)
    ended = store.cancel(claim.job.id)
    assert (ended.status, ended.error_code, ended.lease_owner) == ("failed", "cancelled", None)
    assert not store.renew(claim) and not store.complete(claim, [], {}) and not store.release(claim)
    assert store.cancel(claim.job.id).completed_at == ended.completed_at
    assert store.cancel(add(store).id).error_code == "cancelled"
    assert store.claim("b") is None


def test_a_job_of_somebody_else_does_not_exist(store):
    mine, theirs = add(store, owner="me"), add(store, owner="them")
    assert store.get(mine.id, "me").id == mine.id
    with pytest.raises(NotFoundError):
        store.get(theirs.id, "me")
    page = {"after": None, "limit": 9, "newest_first": True}
    assert [j.id for j in store.page(VIDEO_KINDS, owner="me", **page)[0]] == [mine.id]
    with pytest.raises(NotFoundError):
        store.page(VIDEO_KINDS, owner="me", **(page | {"after": theirs.id}))
    add(store, owner="me", request_hash="h")
    assert store.submit(job(owner="them", request_hash="h"), is_retry=True)[1]


def test_the_log_of_a_job_tells_its_life_in_order(store):
    lost = _claimed(store)
    store.renew(lost, progress=10, stage="sampling")
    store.renew(lost, progress=10, stage="sampling")  # no news
    store.requeue_lost(lambda _owner: True)
    claim = store.claim("b")
    store.complete(claim, [], {"sample_s": 2.0, "encode_s": 1.0})
    events = store.events(claim.job.id)
    assert [event.type for event in events] == [
        "queued", "in_progress", "progress", "queued", "in_progress", "completed"
    ]  # fmt: skip
    assert [event.id for event in events] == sorted(event.id for event in events)
    assert store.events(claim.job.id, after=events[-2].id)[0].id == events[-1].id
    assert store.events(claim.job.id, after=events[-1].id) == []


def test_device_time_is_charged_once_and_outlives_the_job(store):
    claim = _claimed(store)
    assert store.complete(claim, [], {"sample_s": 2.0, "encode_s": 1.0})
    assert not store.complete(claim, [], {"sample_s": 2.0})
    store.delete(claim.job.id)
    cancelled = _claimed(store)
    store.cancel(cancelled.job.id)
    used = store.look(lambda session: list(session.scalars(select(Usage))))
    assert {row.job_id: row.device_s for row in used}[claim.job.id] == 3.0
    assert {row.job_id for row in used} == {claim.job.id, cancelled.job.id}


def test_what_is_refused_is_not_queued(store):
    def refuse(_session, _job):
        raise InputError("no room")

    with pytest.raises(InputError, match="no room"):
        store.submit(job(), admit=refuse)
    assert store.claim("a") is None


def test_expired_jobs_go_away_with_their_files(store):
    old = add(store, expires_at=utc_now() - timedelta(seconds=1), status="completed")
    kept = add(store, expires_at=utc_now() + timedelta(hours=1), status="completed")
    for each in (old, kept):
        store.folder(each.id).mkdir(parents=True)
    assert store.expire() == 1
    assert [path.name for path in store.media_dir.iterdir()] == [kept.id]


def test_folders_without_a_job_are_removed_once_old(store):
    kept = add(store)
    long_ago = time.time() - 7200
    for name in (kept.id, "video_orphan", ".incoming", ".incoming/half"):
        path = store.media_dir / name
        path.mkdir(parents=True)
    (store.media_dir / "video_new").mkdir()
    for name in (kept.id, "video_orphan", ".incoming/half"):
        os.utime(store.media_dir / name, (long_ago, long_ago))
    assert store.remove_orphans() == 2
    assert sorted(path.name for path in store.media_dir.iterdir()) == sorted(
        [".incoming", kept.id, "video_new"]
    )


def test_eta_comes_from_progress_or_from_past_jobs(store):
    assert store.eta_s(add(store)) is None
    claim = _claimed(store)
    assert store.complete(claim, [], {})
    assert store.eta_s(add(store)) >= 0
    running = job(status="in_progress", progress=50, started_at=utc_now() - timedelta(seconds=8))
    assert store.eta_s(running) == pytest.approx(8, abs=0.5)


def test_eta_of_what_went_on_elsewhere_is_learned_from_past_steps(store):
    """Its own clock tells only of the steps since it was claimed again."""
    for seconds in (1.0, 2.0, 9.0):
        done = add(store)
        claim = store.claim("a")
        assert store.renew(claim, step=10, steps=10) and store.complete(claim, [], {})
        set_times(store, done.id, seconds)
    start = utc_now() - timedelta(seconds=4)
    resumed = job(status="in_progress", started_at=start, step=15, steps=20, attempt=2)
    assert store.eta_s(resumed) == pytest.approx(5 * 2.0 / 10)
    first = job(status="in_progress", started_at=start, step=8, steps=20, attempt=1)
    assert store.eta_s(first) == pytest.approx(4 / 8 * 12, rel=0.1)


def set_times(store, job_id: str, seconds: float) -> None:
    """As if the job had taken that long."""
    with store._catalog.session() as session:
        row = session.get(GenerationJob, job_id)
        row.started_at = row.completed_at - timedelta(seconds=seconds)


def _claimed(store: JobStore, owner: str = "a"):
    add(store)
    claim = store.claim(owner)
    assert claim is not None
    return claim
