"""The catalog's rows, in SQLAlchemy's typed style. Times are aware datetimes in UTC."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every database; SQLite itself would drop the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        # SQLite returns what it was given, PostgreSQL the same moment in the server's zone.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Maps Python types to columns for every model."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
    }


class JobAttempt(Base):
    """One submission of a job step of a flow run.

    status: pending | running | succeeded | failed | stopped | lost. `log_offset` is how many bytes
    of the job's log were already forwarded.
    """

    __tablename__ = "job_attempts"
    __table_args__ = (UniqueConstraint("step", "flow_run_id", "attempt"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[str]
    flow_run_id: Mapped[str] = mapped_column(index=True)
    attempt: Mapped[int]
    submission_id: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(default="pending")
    log_offset: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    spec_json: Mapped[str]


class Release(Base):
    """A named state of the lake: every table's version, its view, counts, what produced it."""

    __tablename__ = "releases"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    versions: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    fingerprints: Mapped[dict[str, Any]]
    content_hash: Mapped[str]
    previous: Mapped[str | None] = mapped_column(ForeignKey("releases.name"))
    where: Mapped[str] = mapped_column("view_where", default="", server_default="")
    captions: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")


class Takedown(Base):
    """A source that was withdrawn, and what had seen it: releases as {name: {"clips", "seconds"}},
    model versions as {version: {"release"}}. `place` is the URI that it was taken down by."""

    __tablename__ = "takedowns"

    source_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    place: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    releases: Mapped[dict[str, Any]]
    model_versions: Mapped[dict[str, Any]]


class GenerationJob(Base):
    """One request to generate a video, an extension or an image.

    status: queued | in_progress | completed | failed. `size` is "WIDTHxHEIGHT", `progress` a whole
    percentage. A worker owns the job while `lease_until` lies ahead. `owner` is the tenant that
    asked; `estimate_s` the device time that admission counted for it. `step` of `steps` sampler
    steps is the furthest that any attempt came; `failures` counts workers lost since then.
    """

    __tablename__ = "generation_jobs"
    __table_args__ = (
        Index("ix_generation_jobs_queue", "status", "created_at"),
        Index("ix_generation_jobs_owner", "owner", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]  # video | extension | edit | image
    owner: Mapped[str] = mapped_column(default="", server_default="")
    status: Mapped[str] = mapped_column(default="queued")
    model: Mapped[str] = mapped_column(default="")
    model_version: Mapped[str] = mapped_column(default="")
    prompt: Mapped[str] = mapped_column(default="")
    params: Mapped[dict[str, Any]] = mapped_column(default=dict)
    size: Mapped[str] = mapped_column(default="")
    seconds: Mapped[float] = mapped_column(default=0.0)
    progress: Mapped[int] = mapped_column(default=0)
    stage: Mapped[str] = mapped_column(default="")
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    parent_id: Mapped[str | None] = mapped_column(
        ForeignKey("generation_jobs.id", ondelete="SET NULL")
    )
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    request_hash: Mapped[str | None] = mapped_column(index=True)
    timings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    estimate_s: Mapped[float | None]
    step: Mapped[int] = mapped_column(default=0, server_default="0")
    steps: Mapped[int] = mapped_column(default=0, server_default="0")
    failures: Mapped[int] = mapped_column(default=0, server_default="0")


class JobEvent(Base):
    """Something that happened to a generation job. The ids of one job's events rise with time."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(
        ForeignKey("generation_jobs.id", ondelete="CASCADE"), index=True
    )
    type: Mapped[str]  # queued | in_progress | progress | preview | completed | failed
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Usage(Base):
    """Device time that a job cost its owner; charged once, and kept when the job is deleted."""

    __tablename__ = "usage"
    __table_args__ = (Index("ix_usage_owner", "owner", "at"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    at: Mapped[datetime] = mapped_column(default=utc_now)
    device_s: Mapped[float]


class Artifact(Base):
    """A file that a generation job made. `path` is relative to the media folder."""

    __tablename__ = "artifacts"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(
        ForeignKey("generation_jobs.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str]
    media_type: Mapped[str]
    path: Mapped[str]
    size_bytes: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))


class Character(Base):
    """A named clip that videos can begin with. `path` is relative to the media folder."""

    __tablename__ = "characters"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(default="", index=True)
    name: Mapped[str]
    path: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Workflow(Base):
    """A plan that is being turned into a deliverable, shot by shot.

    status: queued | in_progress | awaiting_review | completed | failed. `plan` is as it was sent,
    but its pictures are files; `state` is a `serving.workflows.state.State`. The folder
    MEDIA/{id}/ holds everything.
    """

    __tablename__ = "workflows"
    __table_args__ = (
        Index("ix_workflows_owner", "owner", "created_at"),
        Index("ix_workflows_status", "status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    owner: Mapped[str] = mapped_column(default="")
    quota_device_s: Mapped[float | None]
    title: Mapped[str]
    status: Mapped[str] = mapped_column(default="queued")
    plan: Mapped[dict[str, Any]]
    state: Mapped[dict[str, Any]]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    request_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKey(Base):
    """A key that may call the API; only its hash is kept.

    `scopes` are words separated by spaces. `quota_device_s` is what its tenant may use in a day.
    """

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    scopes: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    tenant: Mapped[str] = mapped_column(default="", server_default="")
    quota_device_s: Mapped[float | None]
    revoked_at: Mapped[datetime | None]


class WebhookEndpoint(Base):
    """An address that is told of events. Signing needs the secret itself, so it is kept."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(default="", index=True)
    name: Mapped[str]
    url: Mapped[str]
    event_types: Mapped[list[str]]
    secret: Mapped[str]
    old_secret: Mapped[str | None]
    old_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)


class WebhookDelivery(Base):
    """One event for one endpoint: the outbox. It is due at `next_at` until `ended_at` is set."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        Index("ix_webhook_deliveries_due", "ended_at", "next_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[str]
    endpoint_id: Mapped[str] = mapped_column(
        ForeignKey("webhook_endpoints.id", ondelete="CASCADE"), index=True
    )
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(default=utc_now)
    ended_at: Mapped[datetime | None]
    status: Mapped[str] = mapped_column(default="pending")  # pending | delivered | given_up
    last_answer: Mapped[str] = mapped_column(default="")
