"""What follows from a job's change of state, in the same transaction: its event, its webhooks,
its bill. Whoever ends a job (its worker, a user, the sweep) comes through here.
"""

import json
import uuid
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from infra.catalog_models import (
    GenerationJob,
    JobEvent,
    Usage,
    WebhookDelivery,
    WebhookEndpoint,
    utc_now,
)

VIDEO_KINDS = ("video", "extension", "edit")
EVENT_TYPES = ("video.completed", "video.failed", "workflow.completed", "workflow.failed")
ENDS = ("completed", "failed")
PREVIEW = "preview"


def record(session: Session, job_id: str, kind: str, **data: Any) -> int:
    """Append an event to the job's log; its number."""
    event = JobEvent(job_id=job_id, type=kind, data=data)
    session.add(event)
    session.flush()
    return event.id


def forget_previews(session: Session, job_id: str, before: int) -> None:
    """Remove the previews that came before event `before`, which has to be in the log."""
    older = (JobEvent.job_id == job_id) & (JobEvent.type == PREVIEW) & (JobEvent.id < before)
    session.execute(delete(JobEvent).where(older))


def ended(session: Session, job: GenerationJob, outcome: str, device_s: float | None) -> None:
    """Log, announce and charge the end of `job`; `outcome` is one of ENDS.

    `device_s`: seconds on the device; None takes the time since its worker began.
    """
    number = record(session, job.id, outcome)
    if job.kind in VIDEO_KINDS:
        forget_previews(session, job.id, number)
        announce(session, job.owner, f"video.{outcome}", job.id)
    if device_s is None and job.started_at is not None:
        device_s = (utc_now() - job.started_at).total_seconds()
    if device_s:
        session.add(Usage(job_id=job.id, owner=job.owner, device_s=device_s))


def announce(session: Session, owner: str, event_type: str, subject: str) -> None:
    """Put an event into the outbox of each of the owner's endpoints that asked for its type."""
    endpoints = session.scalars(select(WebhookEndpoint).where(WebhookEndpoint.owner == owner))
    wanting = [entry for entry in endpoints if event_type in entry.event_types]
    if not wanting:
        return
    event_id, body = event(event_type, subject)
    session.add_all(
        WebhookDelivery(event_id=event_id, endpoint_id=entry.id, body=body) for entry in wanting
    )


def event(event_type: str, subject: str) -> tuple[str, str]:
    """(event id, body) of a webhook event about `subject`."""
    event_id = f"evt_{uuid.uuid4().hex}"
    body = {
        "id": event_id,
        "object": "event",
        "created_at": int(utc_now().timestamp()),
        "type": event_type,
        "data": {"id": subject},
    }
    return event_id, json.dumps(body)
