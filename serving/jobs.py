"""The durable job store: a job is in SQL before anything works on it, and ends exactly once.

    queued ──claim──▶ in_progress ──complete──▶ completed
       ▲                   │ └─────────fail────▶ failed
       └─release / lease ran out (at most MAX_ATTEMPTS claims, then failed: worker_lost)

A claim is a lease that its worker keeps renewing, fenced by (owner, attempt): a worker that lost
its lease changes nothing any more. Deleting the row is how a job is cancelled: the worker's next
renewal finds nothing. Files of a job live in MEDIA/{job id}/ and go with it.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Update,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from infra.catalog import Catalog
from infra.catalog_models import Artifact, GenerationJob, utc_now
from infra.errors import InputError, NotFoundError

MAX_ATTEMPTS = 3
LEASE_S = 10.0
RETRY_WINDOW_S = 900.0
ORPHAN_AGE_S = 3600.0
INCOMING = ".incoming"
VIDEO_KINDS = ("video", "extension")


def new_job_id(kind: str) -> str:
    """A name for a new job; the leading digits are the time, so names sort by age."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:16]}"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to one attempt at a job."""

    job: GenerationJob
    owner: str
    attempt: int


class JobStore:
    """Generation jobs and their files.

    Args:
        media_dir: folder of the job folders.
        ttl_s: a job and its files go away this long after it ended.
        lease_s: a worker silent for longer has lost its job.
    """

    def __init__(
        self, catalog: Catalog, media_dir: Path, ttl_s: float, lease_s: float = LEASE_S
    ) -> None:
        self._catalog = catalog
        self.media_dir = media_dir
        self._ttl = timedelta(seconds=ttl_s)
        self.lease_s = lease_s
        self._lease = timedelta(seconds=lease_s)

    def folder(self, job_id: str) -> Path:
        return self.media_dir / job_id

    # The caller's side

    def submit(self, job: GenerationJob, *, is_retry: bool = False) -> tuple[GenerationJob, bool]:
        """Queue `job`; returns (the job, True), or (the same request's earlier job, False).

        The same request is one with the same idempotency key or, for a client's automatic retry
        that carries no key, the same content a short while ago.

        Raises:
            InputError: the idempotency key was used for a different request.
        """
        try:
            with self._catalog.session() as session:
                earlier = self._earlier(session, job, is_retry)
                if earlier is None:
                    session.add(job)
        except IntegrityError:  # PostgreSQL: the same key was committed since we looked
            with self._catalog.session(read_only=True) as session:
                earlier = self._earlier(session, job, is_retry)
        if earlier is None:
            return job, True
        if earlier.request_hash != job.request_hash:
            raise InputError(
                "This Idempotency-Key was already used for a different request; use a new key."
            )
        return earlier, False

    def _earlier(
        self, session: Session, job: GenerationJob, is_retry: bool
    ) -> GenerationJob | None:
        if job.idempotency_key is not None:
            same = GenerationJob.idempotency_key == job.idempotency_key
        elif is_retry:
            since = utc_now() - timedelta(seconds=RETRY_WINDOW_S)
            same = (GenerationJob.request_hash == job.request_hash) & (
                GenerationJob.created_at > since
            )
        else:
            return None
        query = select(GenerationJob).where(same).order_by(GenerationJob.created_at.desc())
        return session.scalars(query.limit(1)).first()

    def get(self, job_id: str) -> GenerationJob:
        """Raises NotFoundError when there is no such job."""
        with self._catalog.session(read_only=True) as session:
            job = session.get(GenerationJob, job_id)
        if job is None:
            raise NotFoundError(f"There is no job {job_id!r}; it may have been deleted or expired.")
        return job

    def artifacts(self, job_id: str) -> list[Artifact]:
        with self._catalog.session(read_only=True) as session:
            query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.id)
            return list(session.scalars(query))

    def page(
        self, kinds: Sequence[str], *, after: str | None, limit: int, newest_first: bool
    ) -> tuple[list[GenerationJob], bool]:
        """(up to `limit` jobs that follow job `after`, whether there are more).

        Raises:
            NotFoundError: no job `after`.
        """
        key = tuple_(GenerationJob.created_at, GenerationJob.id)
        query = select(GenerationJob).where(GenerationJob.kind.in_(kinds))
        if after is not None:
            last = self.get(after)
            mark = tuple_(literal(last.created_at), literal(last.id))
            query = query.where(key < mark if newest_first else key > mark)
        order = [GenerationJob.created_at, GenerationJob.id]
        query = query.order_by(*(c.desc() for c in order) if newest_first else order)
        with self._catalog.session(read_only=True) as session:
            jobs = list(session.scalars(query.limit(limit + 1)))
        return jobs[:limit], len(jobs) > limit

    def delete(self, job_id: str) -> None:
        """Remove a job in any state, and its files; a worker on it stops at its next step.

        Raises:
            NotFoundError: no such job.
        """
        with self._catalog.session() as session:
            gone = _count(session, delete(GenerationJob).where(GenerationJob.id == job_id))
        if not gone:
            raise NotFoundError(f"There is no job {job_id!r}; it may have been deleted or expired.")
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def queue_position(self, job: GenerationJob) -> int:
        """How many jobs are before a queued one, the running ones included."""
        running = GenerationJob.status == "in_progress"
        before = (GenerationJob.status == "queued") & (GenerationJob.created_at < job.created_at)
        query = select(func.count()).select_from(GenerationJob).where(running | before)
        with self._catalog.session(read_only=True) as session:
            return session.scalar(query) or 0

    def eta_s(self, job: GenerationJob) -> float | None:
        """Seconds until an unfinished job ends, from its own progress or from jobs like it."""
        if job.started_at is not None and job.progress >= 10:
            spent = (utc_now() - job.started_at).total_seconds()
            return spent * (100 - job.progress) / job.progress
        query = (
            select(GenerationJob)
            .where(GenerationJob.kind == job.kind, GenerationJob.status == "completed")
            .order_by(GenerationJob.completed_at.desc())
        )
        with self._catalog.session(read_only=True) as session:
            past = list(session.scalars(query.limit(10)))
        durations = sorted(
            (done.completed_at - done.started_at).total_seconds()
            for done in past
            if done.completed_at is not None and done.started_at is not None
        )
        if not durations:
            return None
        waiting = 1 + (self.queue_position(job) if job.status == "queued" else 0)
        return waiting * durations[len(durations) // 2]

    # The worker's side

    def claim(self, owner: str, model_version: str = "") -> Claim | None:
        """Take the oldest queued job, or None when there is none.

        The job records the `model_version` that works on it: a deployment may have come between.
        """
        queued = (
            select(GenerationJob)
            .where(GenerationJob.status == "queued")
            .order_by(GenerationJob.created_at, GenerationJob.id)
            .limit(1)
        )
        with self._catalog.session(read_only=True) as session:  # an idle worker takes no lock
            if session.scalars(queued).first() is None:
                return None
        with self._catalog.session() as session:
            job = session.scalars(queued.with_for_update(skip_locked=True)).first()
            if job is None:
                return None
            job.status, job.stage, job.progress = "in_progress", "starting", 0
            job.attempt += 1
            job.lease_owner, job.lease_until = owner, utc_now() + self._lease
            job.started_at = utc_now()
            job.model_version = model_version or job.model_version
        return Claim(job=job, owner=owner, attempt=job.attempt)

    def renew(self, claim: Claim, *, progress: int | None = None, stage: str | None = None) -> bool:
        """Keep the lease and say how far the job is; False when the job is no longer ours."""
        values: dict[str, Any] = {"lease_until": utc_now() + self._lease}
        if progress is not None:
            values["progress"] = progress
        if stage is not None:
            values["stage"] = stage
        with self._catalog.session() as session:
            return _count(session, self._fenced(claim).values(**values)) == 1

    def complete(
        self, claim: Claim, artifacts: Sequence[Artifact], timings: dict[str, float]
    ) -> bool:
        """Record the files and the end in one transaction; False when no longer ours."""
        values = {"status": "completed", "progress": 100, "stage": "", "timings": timings}
        with self._catalog.session() as session:
            if not _count(session, self._fenced(claim).values(**values, **self._end())):
                return False
            session.add_all(artifacts)
        return True

    def fail(self, claim: Claim, code: str, message: str) -> bool:
        """End the job as failed; False when no longer ours."""
        values = {"status": "failed", "stage": "", "error_code": code, "error_message": message}
        with self._catalog.session() as session:
            return _count(session, self._fenced(claim).values(**values, **self._end())) == 1

    def release(self, claim: Claim) -> bool:
        """Give the job back to the queue: the worker is stopping, the attempt does not count."""
        values = {**_REQUEUED, "attempt": GenerationJob.attempt - 1}
        with self._catalog.session() as session:
            return _count(session, self._fenced(claim).values(**values)) == 1

    def requeue_lost(self, is_dead: Callable[[str], bool] = lambda _owner: False) -> int:
        """Requeue, or fail for good, the jobs whose lease ran out or whose owner `is_dead`."""
        running = GenerationJob.status == "in_progress"
        with self._catalog.session(read_only=True) as session:
            jobs = list(session.scalars(select(GenerationJob).where(running)))
        now, count = utc_now(), 0
        for job in jobs:
            owner = job.lease_owner or ""
            if job.lease_until is not None and job.lease_until > now and not is_dead(owner):
                continue
            claim = Claim(job=job, owner=owner, attempt=job.attempt)
            values = self._lost() if job.attempt >= MAX_ATTEMPTS else _REQUEUED
            # The lease may have been renewed since we looked: then it is not lost.
            same_lease = GenerationJob.lease_until == job.lease_until
            with self._catalog.session() as session:
                count += _count(session, self._fenced(claim).where(same_lease).values(**values))
        return count

    def expire(self) -> int:
        """Delete the jobs whose time has come; returns how many."""
        expired = (GenerationJob.expires_at.is_not(None)) & (GenerationJob.expires_at < utc_now())
        with self._catalog.session(read_only=True) as session:
            ids = list(session.scalars(select(GenerationJob.id).where(expired)))
        for job_id in ids:
            self.delete(job_id)
        return len(ids)

    def remove_orphans(self) -> int:
        """Delete old folders without a job: what a killed process left between disk and SQL."""
        if not self.media_dir.is_dir():
            return 0
        count = 0
        incoming = self.media_dir / INCOMING
        paths = [path for path in self.media_dir.iterdir() if path != incoming]
        paths += list(incoming.iterdir()) if incoming.is_dir() else []
        with self._catalog.session(read_only=True) as session:
            known = set(session.scalars(select(GenerationJob.id)))
        for path in paths:
            if path.name in known or path.stat().st_mtime > time.time() - ORPHAN_AGE_S:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            count += 1
        return count

    def _fenced(self, claim: Claim) -> Update:
        mine: ColumnElement[bool] = (
            (GenerationJob.id == claim.job.id)
            & (GenerationJob.status == "in_progress")
            & (GenerationJob.attempt == claim.attempt)
            & (GenerationJob.lease_owner == claim.owner)
        )
        return update(GenerationJob).where(mine)

    def _end(self) -> dict[str, Any]:
        now = utc_now()
        return {
            "completed_at": now,
            "expires_at": now + self._ttl,
            "lease_owner": None,
            "lease_until": None,
        }

    def _lost(self) -> dict[str, Any]:
        return {
            "status": "failed",
            "stage": "",
            "error_code": "worker_lost",
            "error_message": f"The worker died {MAX_ATTEMPTS} times on this job; it was given up.",
            **self._end(),
        }


_REQUEUED: dict[str, Any] = {
    "status": "queued",
    "stage": "",
    "progress": 0,
    "started_at": None,
    "lease_owner": None,
    "lease_until": None,
}


def _count(session: Session, statement: Any) -> int:
    """Rows that an UPDATE or DELETE touched."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount
