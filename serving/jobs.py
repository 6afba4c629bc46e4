"""The durable job store: a job is in SQL before anything works on it, and ends exactly once.

    queued ──claim──▶ in_progress ──complete──▶ completed
       ▲  │                │ └─────────fail────▶ failed
       │  └──cancel────────┴───────────────────▶ failed: cancelled
       └─release / lease ran out (at most MAX_ATTEMPTS claims, then failed: worker_lost)

`Leases` is the worker's side. Cancelling and deleting need no word with the worker: its next
renewal finds the job no longer its own. Files of a job live in MEDIA/{job id}/ and go with it.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import delete, literal, select, tuple_, update
from sqlalchemy.orm import Session

from infra.catalog import Catalog
from infra.catalog_models import (
    Artifact,
    Character,
    GenerationJob,
    JobEvent,
    Workflow,
    utc_now,
)
from infra.errors import InputError, NotFoundError
from serving.happenings import VIDEO_KINDS, ended, record
from serving.leases import LEASE_S, MAX_ATTEMPTS, Claim, Leases, count
from serving.outlook import UNFINISHED, Outlook, outlook_of_its_own, outlooks
from serving.tracing import Tracing, traceparent

__all__ = ["MAX_ATTEMPTS", "UNFINISHED", "VIDEO_KINDS", "Claim", "JobStore", "new_job_id"]

RETRY_WINDOW_S = 900.0
ORPHAN_AGE_S = 3600.0
INCOMING = ".incoming"

T = TypeVar("T")


def new_job_id(kind: str) -> str:
    """A name for a new job; the leading digits are the time, so names sort by age."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{uuid.uuid4().hex[:16]}"


class JobStore(Leases):
    """Generation jobs and their files.

    `owner`, where a method takes it, is the tenant that asks; the jobs of others do not exist for
    it. None is the server itself.

    Args:
        media_dir: folder of the job folders.
        ttl_s, lease_s, tracing: see `Leases`.
    """

    def __init__(
        self,
        catalog: Catalog,
        media_dir: Path,
        ttl_s: float,
        lease_s: float = LEASE_S,
        tracing: Tracing | None = None,
    ) -> None:
        super().__init__(catalog, ttl_s, lease_s, tracing)
        self.media_dir = media_dir

    def folder(self, job_id: str) -> Path:
        return self.media_dir / job_id

    def submit(
        self,
        job: GenerationJob,
        *,
        is_retry: bool = False,
        admit: Callable[[Session, GenerationJob], None] = lambda _session, _job: None,
    ) -> tuple[GenerationJob, bool]:
        """Queue `job`; returns (the job, True), or (the same request's earlier job, False).

        The same request is one with the same idempotency key or, for a client's automatic retry
        that carries no key, the same content a short while ago. `admit` may raise to refuse a new
        job; it sees what is queued in the transaction that would queue this one.

        Raises:
            InputError: the idempotency key was used for a different request.
        """
        with self._catalog.session() as session:
            # One at a time: a request and its retry may come together, and so may two jobs of
            # which the quota has room for one.
            self._catalog.lock(session, "submit")
            earlier = self._earlier(session, job, is_retry)
            if earlier is None:
                admit(session, job)
                job.params = {**(job.params or {}), "traceparent": traceparent()}
                session.add(job)
                session.flush()
                record(session, job.id, "queued")
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
            same = (
                (GenerationJob.request_hash == job.request_hash)
                & (GenerationJob.owner == (job.owner or ""))
                & (GenerationJob.created_at > since)
            )
        else:
            return None
        query = select(GenerationJob).where(same).order_by(GenerationJob.created_at.desc())
        return session.scalars(query.limit(1)).first()

    def look(self, question: Callable[[Session], T]) -> T:
        """The answer to a question that reads several rows at one moment."""
        with self._catalog.session(read_only=True) as session:
            return question(session)

    def get(self, job_id: str, owner: str | None = None) -> GenerationJob:
        """Raises NotFoundError when there is no such job, or it is somebody else's."""
        if "\0" in job_id:  # PostgreSQL has no text with it
            raise _no_job(job_id)
        with self._catalog.session(read_only=True) as session:
            job = session.get(GenerationJob, job_id)
        if job is None or owner not in (None, job.owner):
            raise _no_job(job_id)
        return job

    def events(self, job_id: str, after: int = 0, limit: int = 200) -> list[JobEvent]:
        """The events of a job that follow event `after`, oldest first."""
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
        with self._catalog.session(read_only=True) as session:
            return list(session.scalars(query.order_by(JobEvent.id).limit(limit)))

    def artifacts(self, job_id: str) -> list[Artifact]:
        with self._catalog.session(read_only=True) as session:
            query = select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.id)
            return list(session.scalars(query))

    def some(self, job_ids: Sequence[str]) -> dict[str, GenerationJob]:
        """Those of the jobs that exist, by id."""
        query = select(GenerationJob).where(GenerationJob.id.in_(job_ids))
        with self._catalog.session(read_only=True) as session:
            return {job.id: job for job in session.scalars(query)}

    def page(
        self,
        kinds: Sequence[str],
        *,
        after: str | None,
        limit: int,
        newest_first: bool,
        owner: str | None = None,
    ) -> tuple[list[GenerationJob], bool]:
        """(up to `limit` jobs that follow job `after`, whether there are more).

        Raises:
            NotFoundError: no job `after`.
        """
        key = tuple_(GenerationJob.created_at, GenerationJob.id)
        query = select(GenerationJob).where(GenerationJob.kind.in_(kinds))
        if owner is not None:
            query = query.where(GenerationJob.owner == owner)
        if after is not None:
            last = self.get(after, owner)
            mark = tuple_(literal(last.created_at), literal(last.id))
            query = query.where(key < mark if newest_first else key > mark)
        order = [GenerationJob.created_at, GenerationJob.id]
        query = query.order_by(*(c.desc() for c in order) if newest_first else order)
        with self._catalog.session(read_only=True) as session:
            jobs = list(session.scalars(query.limit(limit + 1)))
        return jobs[:limit], len(jobs) > limit

    def cancel(self, job_id: str) -> GenerationJob:
        """End a job as failed, cancelled, unless it has ended; a worker stops at its next step.

        Raises:
            NotFoundError: no such job.
        """
        values = {
            "status": "failed",
            "stage": "",
            "error_code": "cancelled",
            "error_message": "The job was cancelled.",
            **self._end(),
        }
        mine = (GenerationJob.id == job_id) & GenerationJob.status.in_(UNFINISHED)
        with self._catalog.session() as session:
            job = session.get(GenerationJob, job_id)
            stopped = job is not None and count(
                session, update(GenerationJob).where(mine).values(values)
            )
            if job is not None and stopped:
                ended(session, job, "failed", None)
        ended_job = self.get(job_id)
        if stopped:
            self._tracing.ended(ended_job, "cancelled", {})
        return ended_job

    def delete(self, job_id: str) -> None:
        """Remove a job in any state, and its files; a worker on it stops at its next step.

        Raises:
            NotFoundError: no such job.
        """
        with self._catalog.session() as session:
            gone = count(session, delete(GenerationJob).where(GenerationJob.id == job_id))
        if not gone:
            raise _no_job(job_id)
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def outlooks(self, jobs: Sequence[GenerationJob]) -> dict[str, Outlook]:
        """Where each of the jobs stands, by id."""
        known = {job.id: outlook_of_its_own(job) for job in jobs}
        if all(known.values()):
            return {job_id: each for job_id, each in known.items() if each}
        return self.look(lambda session: outlooks(session, jobs))

    def eta_s(self, job: GenerationJob) -> float | None:
        """Seconds until an unfinished job ends, from its own steps or from jobs like it."""
        return self.outlooks([job])[job.id].eta_s

    def expire(self) -> int:
        """Delete the jobs whose time has come; returns how many."""
        expired = (GenerationJob.expires_at.is_not(None)) & (GenerationJob.expires_at < utc_now())
        with self._catalog.session(read_only=True) as session:
            ids = list(session.scalars(select(GenerationJob.id).where(expired)))
        for job_id in ids:
            with suppress(NotFoundError):  # another server's sweep, or its owner, was first
                self.delete(job_id)
        return len(ids)

    def remove_orphans(self) -> int:
        """Delete old folders without a job: what a killed process left between disk and SQL."""
        if not self.media_dir.is_dir():
            return 0
        removed = 0
        incoming = self.media_dir / INCOMING
        paths = [path for path in self.media_dir.iterdir() if path != incoming]
        paths += list(incoming.iterdir()) if incoming.is_dir() else []
        with self._catalog.session(read_only=True) as session:
            known = set(session.scalars(select(GenerationJob.id)))
            known |= set(session.scalars(select(Character.id)))
            known |= set(session.scalars(select(Workflow.id)))
        for path in paths:
            if path.name in known or path.stat().st_mtime > time.time() - ORPHAN_AGE_S:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed += 1
        return removed


def _no_job(job_id: str) -> NotFoundError:
    return NotFoundError(f"There is no job {job_id[:80]!r}; it may have been deleted or expired.")
