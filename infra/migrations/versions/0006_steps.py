"""Steps of generation jobs, and workers lost since the last of them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = ("step", "steps", "failures")


def upgrade() -> None:
    for name in COLUMNS:
        column = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
        op.add_column("generation_jobs", column)


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("generation_jobs", name)
