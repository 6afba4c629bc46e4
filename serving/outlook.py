"""What a client that polls is told beside a job's row: its place in the queue, and when it ends.

    found = outlooks(session, jobs)[job.id]; found.position, found.eta_s

Three statements at most, for however many jobs, and none where the rows say enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.catalog_models import GenerationJob, utc_now
from serving.leases import engines_of

UNFINISHED = ("queued", "in_progress")
REMEMBERED = 10  # ended jobs of a kind that an estimate goes by


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """position: how many jobs are before a queued one, the running ones included.

    eta_s: seconds until an unfinished job ends; None where nothing tells.
    """

    position: int = 0
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Past:
    """Medians of jobs of a kind that ended lately; None where no job tells."""

    job_s: float | None = None
    step_s: float | None = None


def outlook_of_its_own(job: GenerationJob) -> Outlook | None:
    """What the job's own row and steps tell; None where other jobs have to."""
    if job.status not in UNFINISHED:
        return Outlook()
    if job.started_at is not None:
        spent = (utc_now() - job.started_at).total_seconds()
        if (job.attempt or 0) <= 1 and (job.step or 0) >= 2:
            return Outlook(eta_s=spent * (job.steps - job.step) / job.step)
        if not job.steps and job.progress >= 10:
            return Outlook(eta_s=spent * (100 - job.progress) / job.progress)
    return None


def outlooks(session: Session, jobs: Sequence[GenerationJob]) -> dict[str, Outlook]:
    """The outlook of each job, by id; what it takes from others is of this transaction."""
    found = {job.id: outlook_of_its_own(job) for job in jobs}
    asking = [job for job in jobs if found[job.id] is None]
    queued = [job for job in asking if job.status == "queued"]
    past = {kind: _past(session, kind) for kind in {job.kind for job in asking}}
    running: dict[str, str | None] = {}
    places: dict[str, int] = {}
    if queued:
        running, places = _running(session), _places(session, queued)
    engines = max(1, engines_of(running.values()))
    for job in asking:
        position = 0
        if job.status == "queued":  # or was, when it was read
            position = places.get(job.id, 0) + len(running.keys() - {job.id})
        eta_s = _eta_s(job, past[job.kind], position / engines)
        found[job.id] = Outlook(position=position, eta_s=eta_s)
    return {job_id: outlook or Outlook() for job_id, outlook in found.items()}


def _eta_s(job: GenerationJob, past: _Past, rounds: float) -> float | None:
    """`rounds`: how many times the engines have to end a job before this one begins."""
    if job.started_at is not None and job.steps and past.step_s is not None:
        return past.step_s * (job.steps - job.step)
    if past.job_s is None:
        return None
    return past.job_s * (1 + rounds)


def _past(session: Session, kind: str) -> _Past:
    # By age of the job: that is indexed, and a poll must not sort all that was ever made.
    done = (
        select(GenerationJob.started_at, GenerationJob.completed_at, GenerationJob.steps)
        .where(GenerationJob.status == "completed", GenerationJob.kind == kind)
        .where(GenerationJob.started_at.is_not(None), GenerationJob.completed_at.is_not(None))
        .order_by(GenerationJob.created_at.desc())
        .limit(REMEMBERED)
    )
    rows = session.execute(done).tuples().all()
    took = [
        ((completed_at - started_at).total_seconds(), steps)
        for started_at, completed_at, steps in rows
        if started_at is not None and completed_at is not None
    ]
    return _Past(
        job_s=_median([seconds for seconds, _ in took]),
        step_s=_median([seconds / steps for seconds, steps in took if steps]),
    )


def _running(session: Session) -> dict[str, str | None]:
    """Who has each of the jobs under way."""
    running = GenerationJob.status == "in_progress"
    rows = session.execute(select(GenerationJob.id, GenerationJob.lease_owner).where(running))
    return dict(rows.tuples().all())


def _places(session: Session, queued: Sequence[GenerationJob]) -> dict[str, int]:
    """How many jobs are queued before each of these; those claimed since they were read lack."""
    order = func.rank().over(order_by=GenerationJob.created_at)
    queue = select(GenerationJob.id, order.label("place"))
    queue = queue.where(GenerationJob.status == "queued")
    ranked = queue.subquery()
    wanted = select(ranked.c.id, ranked.c.place).where(ranked.c.id.in_([job.id for job in queued]))
    return {job_id: place - 1 for job_id, place in session.execute(wanted).tuples()}


def _median(values: Sequence[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None
