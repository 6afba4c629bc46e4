"""What a job will cost, in seconds of the device, and whether there is room for it.

Admission, quotas and estimates count the same unit. A job's cost is learned from jobs of its kind
that have ended; until one has, nothing is known and nothing is refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.catalog_models import GenerationJob, Usage, utc_now
from serving.access import Caller
from serving.fields import parse_size
from serving.jobs import UNFINISHED
from serving.leases import device_s, engines_at_work
from serving.wire import ApiError

LEARNED_FROM = 20
QUOTA_WINDOW = timedelta(days=1)
ENLARGED_SIDE = 384  # pixels
MAX_RETRY_AFTER_S = 60  # what clients wait for by themselves


@dataclass(frozen=True, kw_only=True)
class Admission:
    """`steps` are what the model takes when a request does not say."""

    queue_device_s: float
    steps: int = 1

    def estimate_s(self, session: Session, job: GenerationJob) -> float | None:
        """Device time of a job, or None while no job of its kind has ended."""
        query = (
            select(GenerationJob)
            .where(GenerationJob.kind == job.kind, GenerationJob.status == "completed")
            .order_by(GenerationJob.completed_at.desc())
            .limit(LEARNED_FROM)
        )
        rates = sorted(
            device_s(past.timings) / self._work(past)
            for past in session.scalars(query)
            if device_s(past.timings) > 0 and is_large(past) == is_large(job)
        )
        return rates[len(rates) // 2] * self._work(job) if rates else None

    def queued_s(self, session: Session) -> float:
        """Device time of all that waits and of what is left of all that runs."""
        left = GenerationJob.estimate_s * (100 - GenerationJob.progress) / 100.0
        waiting = GenerationJob.status.in_(UNFINISHED)
        return float(session.scalar(select(func.sum(left)).where(waiting)) or 0.0)

    def used_s(self, session: Session, tenant: str) -> float:
        """Device time that a tenant used in the last day."""
        since = utc_now() - QUOTA_WINDOW
        query = select(func.sum(Usage.device_s)).where(Usage.owner == tenant, Usage.at > since)
        return float(session.scalar(query) or 0.0)

    def check(self, caller: Caller) -> Callable[[Session, GenerationJob], None]:
        """For `JobStore.submit`: sets the job's estimate, or raises ApiError 429."""

        def admit(session: Session, job: GenerationJob) -> None:
            job.estimate_s = self.estimate_s(session, job)
            cost_s = job.estimate_s or 0.0
            self._check_queue(session, cost_s)
            if caller.quota_device_s is not None:
                self._check_quota(session, caller.tenant, caller.quota_device_s, cost_s)

        return admit

    def _check_queue(self, session: Session, cost_s: float) -> None:
        queued_s = self.queued_s(session)
        # An empty queue takes any job, or one larger than the limit could never run.
        if queued_s and queued_s + cost_s > self.queue_device_s:
            over_s = (queued_s + cost_s - self.queue_device_s) / max(1, engines_at_work(session))
            wait_s = math.ceil(min(over_s, MAX_RETRY_AFTER_S))
            raise ApiError(
                f"The queue is full: {queued_s:.0f} s of device time wait, and "
                f"{self.queue_device_s:.0f} s may. Try again later.",
                code="queue_full",
                status=429,
                kind="rate_limit_error",
                headers={"retry-after": str(max(1, wait_s))},
            )

    def _check_quota(self, session: Session, tenant: str, quota_s: float, cost_s: float) -> None:
        mine = GenerationJob.status.in_(UNFINISHED) & (GenerationJob.owner == tenant)
        waiting_s = session.scalar(select(func.sum(GenerationJob.estimate_s)).where(mine)) or 0.0
        spent_s = self.used_s(session, tenant) + float(waiting_s)
        if spent_s >= quota_s or spent_s + cost_s > quota_s:
            raise ApiError(
                f"The quota of {quota_s:.0f} s of device time a day is reached: {spent_s:.0f} s "
                f"are used or queued, and this needs about {cost_s:.0f} s.",
                code="insufficient_quota",
                status=429,
                kind="insufficient_quota",
                headers={"x-should-retry": "false", "retry-after": str(MAX_RETRY_AFTER_S)},
            )

    def _work(self, job: GenerationJob) -> float:
        """What device time grows with: sampler steps, times seconds or pictures."""
        steps = job.params.get("steps") or self.steps
        if is_large(job):  # its second stage is nearly all of it, and has steps of its own
            return float(job.params.get("n", 1) * math.prod(parse_size(job.size, even=False)))
        seconds = job.params.get("seconds", job.seconds)  # an extension's new part
        return float(steps * (job.params.get("n", 1) if job.kind == "image" else seconds))


def is_large(job: GenerationJob) -> bool:
    """A picture that is made in two stages, unless the model's own are as large.

    Up to this size, and in edits, the model's own picture is enlarged, as frames of videos are.
    """
    if job.kind != "image" or job.params.get("input"):
        return False
    return min(parse_size(job.size, even=False)) > ENLARGED_SIDE
