"""Tenants, events, usage, characters and webhooks of the server."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("webhook_deliveries", "webhook_endpoints", "characters", "usage", "job_events")


def _text(name: str, server_default: str | None = None) -> "sa.Column[str]":
    return sa.Column(name, sa.String(), nullable=False, server_default=server_default)


def _time(name: str, *, nullable: bool = False) -> "sa.Column[datetime]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.add_column("generation_jobs", _text("owner", server_default=""))
    op.add_column("generation_jobs", sa.Column("estimate_s", sa.Float(), nullable=True))
    op.create_index("ix_generation_jobs_owner", "generation_jobs", ["owner", "created_at"])
    op.add_column("api_keys", _text("tenant", server_default=""))
    op.add_column("api_keys", sa.Column("quota_device_s", sa.Float(), nullable=True))
    op.add_column("api_keys", _time("revoked_at", nullable=True))
    _events_and_usage()
    _webhooks()


def _events_and_usage() -> None:
    op.create_table(
        "job_events",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("job_id"),
        _text("type"),
        sa.Column("data", sa.JSON(), nullable=False),
        _time("created_at"),
        sa.ForeignKeyConstraint(["job_id"], ["generation_jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_job_events_job_id"), "job_events", ["job_id"])
    op.create_table(
        "usage",
        _text("job_id"),
        _text("owner"),
        _time("at"),
        sa.Column("device_s", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("ix_usage_owner", "usage", ["owner", "at"])
    op.create_table(
        "characters",
        _text("id"),
        _text("owner"),
        _text("name"),
        _text("path"),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_characters_owner"), "characters", ["owner"])


def _webhooks() -> None:
    op.create_table(
        "webhook_endpoints",
        _text("id"),
        _text("owner"),
        _text("name"),
        _text("url"),
        sa.Column("event_types", sa.JSON(), nullable=False),
        _text("secret"),
        sa.Column("old_secret", sa.String(), nullable=True),
        _time("old_secret_until", nullable=True),
        _time("created_at"),
        _time("updated_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_webhook_endpoints_owner"), "webhook_endpoints", ["owner"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        _text("event_id"),
        _text("endpoint_id"),
        _text("body"),
        _time("created_at"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("next_at"),
        _time("ended_at", nullable=True),
        _text("status"),
        _text("last_answer"),
        sa.ForeignKeyConstraint(["endpoint_id"], ["webhook_endpoints.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("event_id", "endpoint_id"),
    )
    table = "webhook_deliveries"
    op.create_index(op.f("ix_webhook_deliveries_endpoint_id"), table, ["endpoint_id"])
    op.create_index("ix_webhook_deliveries_due", table, ["ended_at", "next_at"])


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    op.drop_index("ix_generation_jobs_owner", "generation_jobs")
    for table, columns in (
        ("api_keys", ("revoked_at", "quota_device_s", "tenant")),
        ("generation_jobs", ("estimate_s", "owner")),
    ):
        for column in columns:
            op.drop_column(table, column)
