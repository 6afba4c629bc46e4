"""What the demo's Ray jobs said and how long they took, read back from the catalog."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.job_files import read_json
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class DoneJob:
    """A job that ended well: its step, its seconds, and its `result.json`."""

    step: str
    wall_s: float
    result: dict[str, Any]


def done_jobs(settings: Settings, since: datetime) -> dict[str, DoneJob]:
    """The jobs submitted since then, by step, in the order in which they ran; of two, the last."""
    from sqlalchemy import select

    from infra.catalog import Catalog
    from infra.catalog_models import JobAttempt

    with Catalog(settings.catalog_url).session(read_only=True) as session:
        query = select(JobAttempt).where(JobAttempt.created_at >= since).order_by(JobAttempt.id)
        attempts = list(session.scalars(query))
    jobs = {}
    for attempt in attempts:
        result = read_json(settings.home / "jobs" / attempt.submission_id / "result.json")
        if attempt.ended_at is not None and result is not None:
            wall_s = (attempt.ended_at - attempt.created_at).total_seconds()
            jobs[attempt.step] = DoneJob(step=attempt.step, wall_s=round(wall_s, 1), result=result)
    return jobs
