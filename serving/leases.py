"""The worker's side of the job store: claim, renew, end. See `serving.jobs` for the states.

A claim is a lease that its worker keeps renewing, fenced by (owner, attempt): a worker that lost
its lease changes nothing any more.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Update, func, select, update
from sqlalchemy.orm import Session

from infra.catalog import Catalog
from infra.catalog_models import Artifact, GenerationJob, utc_now
from serving.happenings import PREVIEW, ended, forget_previews, record
from serving.tracing import Tracing

MAX_ATTEMPTS = 3
LEASE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's right to one attempt at a job."""

    job: GenerationJob
    owner: str
    attempt: int


class Leases:
    """What workers do to jobs.

    Args:
        ttl_s: a job and its files go away this long after it ended.
        lease_s: a worker silent for longer has lost its job.
        tracing: where the spans of ended attempts go.
    """

    def __init__(
        self,
        catalog: Catalog,
        ttl_s: float,
        lease_s: float = LEASE_S,
        tracing: Tracing | None = None,
    ) -> None:
        self._catalog = catalog
        self._tracing = tracing or Tracing()
        self._ttl = timedelta(seconds=ttl_s)
        self.lease_s = lease_s
        self._lease = timedelta(seconds=lease_s)

    def claim(
        self,
        owner: str,
        model_version: str = "",
        *,
        served: Mapping[str, int] = MappingProxyType({}),
        besides: Collection[str] = (),
    ) -> Claim | None:
        """Take the oldest queued job of the tenant whose turn it is, or None when there is none.

        The job records the `model_version` that works on it: a deployment may have come between.

        served: numbers of tenants that rise with each turn they had. besides: those who wait.
        """
        waiting = GenerationJob.status == "queued"
        heads = select(GenerationJob.owner, func.min(GenerationJob.created_at)).where(waiting)
        if besides:
            heads = heads.where(GenerationJob.owner.not_in(besides))
        with self._catalog.session(read_only=True) as session:  # an idle worker takes no lock
            first = session.execute(heads.group_by(GenerationJob.owner)).tuples().all()
        if not first:
            return None
        tenant, _ = min(first, key=lambda head: (served.get(head[0], 0), head[1]))
        queued = (
            select(GenerationJob)
            .where(waiting, GenerationJob.owner == tenant)
            .order_by(GenerationJob.created_at, GenerationJob.id)
            .limit(1)
        )
        with self._catalog.session() as session:
            job = session.scalars(queued.with_for_update(skip_locked=True)).first()
            if job is None:
                return None
            if model_version not in ("", job.model_version):
                job.step = 0  # what another version made is of no use
            job.status, job.stage, job.progress = "in_progress", "starting", 0
            job.attempt += 1
            job.lease_owner, job.lease_until = owner, utc_now() + self._lease
            job.started_at = utc_now()
            job.model_version = model_version or job.model_version
            record(session, job.id, "in_progress", attempt=job.attempt, version=job.model_version)
        return Claim(job=job, owner=owner, attempt=job.attempt)

    def renew(self, claim: Claim, **news: Any) -> bool:
        """Keep the lease and say how far the job is; False when the job is no longer ours.

        news: any of `progress`, `stage`, `step`, `steps`.
        """
        return self.renew_many([(claim, news)])[0]

    def renew_many(self, claims: Sequence[tuple[Claim, Mapping[str, Any]]]) -> list[bool]:
        """The same for several claims and their news, in one transaction."""
        with self._catalog.session() as session:
            return [self._renew(session, claim, news) for claim, news in claims]

    def _renew(self, session: Session, claim: Claim, news: Mapping[str, Any]) -> bool:
        values: dict[str, Any] = {"lease_until": utc_now() + self._lease, **news}
        known = select(GenerationJob.progress, GenerationJob.stage, GenerationJob.step)
        before = session.execute(known.where(GenerationJob.id == claim.job.id)).first()
        if before is not None and "step" in news:
            if news["step"] > before.step:
                values["failures"] = 0  # whoever was lost, the work came further than ever
            else:
                del values["step"]
        if not count(session, self._fenced(claim).values(**values)):
            return False
        if before is not None and news:
            told = news.get("progress", before.progress), news.get("stage", before.stage)
            if told != (before.progress, before.stage):
                record(session, claim.job.id, "progress", **news)
        return True

    def preview(self, claim: Claim, data: Mapping[str, Any], *, replace: bool) -> bool:
        """Append a preview to the job's log; False when the job is no longer ours.

        `replace`: the ones before it go, so that of a video there is one.
        """
        with self._catalog.session() as session:
            if not count(session, self._fenced(claim).values(lease_until=utc_now() + self._lease)):
                return False
            # Before the others go: a number must not be given out twice.
            number = record(session, claim.job.id, PREVIEW, **data)
            if replace:
                forget_previews(session, claim.job.id, number)
        return True

    def complete(
        self, claim: Claim, artifacts: Sequence[Artifact], timings: dict[str, float]
    ) -> bool:
        """Record the files and the end in one transaction; False when no longer ours."""
        values = {"status": "completed", "progress": 100, "stage": "", "timings": timings}
        with self._catalog.session() as session:
            if not count(session, self._fenced(claim).values(**values, **self._end())):
                return False
            session.add_all(artifacts)
            ended(session, claim.job, "completed", device_s(timings))
        self._tracing.ended(claim.job, "completed", timings)
        return True

    def fail(self, claim: Claim, code: str, message: str) -> bool:
        """End the job as failed; False when no longer ours."""
        values = {"status": "failed", "stage": "", "error_code": code, "error_message": message}
        with self._catalog.session() as session:
            if not count(session, self._fenced(claim).values(**values, **self._end())):
                return False
            ended(session, claim.job, "failed", None)
        self._tracing.ended(claim.job, code, {})
        return True

    def release(self, claim: Claim) -> bool:
        """Give the job back to the queue: the worker is stopping, the attempt does not count."""
        values = {**_REQUEUED, "attempt": GenerationJob.attempt - 1}
        with self._catalog.session() as session:
            if not count(session, self._fenced(claim).values(**values)):
                return False
            record(session, claim.job.id, "queued", reason="the worker stopped")
        self._tracing.ended(claim.job, "released", {})
        return True

    def excuse(self, _claim: Claim, _error: Exception) -> bool:
        """Whether the job went back to the queue, since `error` may not be its own; here, never."""
        return False

    def put_back(self, claim: Claim, reason: str) -> bool:
        """Give the job back after an attempt that counts; False when it was the job's last."""
        may_go_on = GenerationJob.failures + 1 < MAX_ATTEMPTS
        values = {**_REQUEUED, "failures": GenerationJob.failures + 1}
        with self._catalog.session() as session:
            if not count(session, self._fenced(claim).where(may_go_on).values(**values)):
                return False
            record(session, claim.job.id, "queued", reason=reason)
        self._tracing.ended(claim.job, "released", {})
        return True

    def requeue_lost(self, is_dead: Callable[[str], bool] = lambda _owner: False) -> int:
        """Requeue, or fail for good, the jobs whose lease ran out or whose owner `is_dead`."""
        running = GenerationJob.status == "in_progress"
        with self._catalog.session(read_only=True) as session:
            jobs = list(session.scalars(select(GenerationJob).where(running)))
        now, total = utc_now(), 0
        for job in jobs:
            owner = job.lease_owner or ""
            if job.lease_until is not None and job.lease_until > now and not is_dead(owner):
                continue
            total += self._requeue(job, owner)
        return total

    def _requeue(self, job: GenerationJob, owner: str) -> int:
        claim = Claim(job=job, owner=owner, attempt=job.attempt)
        # An attempt that brought the work on does not count: it goes on from there.
        given_up = job.failures + 1 >= MAX_ATTEMPTS
        values = self._lost() if given_up else _REQUEUED
        values = {**values, "failures": GenerationJob.failures + 1}
        # The lease may have been renewed since we looked: then it is not lost.
        same_lease = GenerationJob.lease_until == job.lease_until
        with self._catalog.session() as session:
            if not count(session, self._fenced(claim).where(same_lease).values(**values)):
                return 0
            if given_up:
                ended(session, job, "failed", None)
            else:
                record(session, job.id, "queued", reason="the worker was lost")
        return 1

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
            "error_message": f"The worker died {MAX_ATTEMPTS} times on this job without bringing "
            "it further; it was given up.",
            **self._end(),
        }


def engines_at_work(session: Session) -> int:
    """Processes that have jobs now."""
    running = GenerationJob.status == "in_progress"
    return engines_of(session.scalars(select(GenerationJob.lease_owner).where(running).distinct()))


def engines_of(owners: Iterable[str | None]) -> int:
    """How many processes the owners of leases are."""
    # After a swap a process has two engines on one device; see `Engine.owner`.
    return len({owner.rpartition("/")[0] for owner in owners if owner})


_REQUEUED: dict[str, Any] = {
    "status": "queued",
    "stage": "",
    "progress": 0,
    "started_at": None,
    "lease_owner": None,
    "lease_until": None,
}


def device_s(timings: Mapping[str, float]) -> float:
    """Seconds of the device that a job took, by its timings: what is charged and learned from."""
    return sum(timings.get(name, 0.0) for name in ("sample_s", "encode_s", "preview_s"))


def count(session: Session, statement: Any) -> int:
    """Rows that an UPDATE or DELETE touched."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount
