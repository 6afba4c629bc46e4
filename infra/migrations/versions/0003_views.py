"""A release keeps the filter over its clips."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "releases", sa.Column("view_where", sa.String(), nullable=False, server_default="")
    )


def downgrade() -> None:
    op.drop_column("releases", "view_where")
