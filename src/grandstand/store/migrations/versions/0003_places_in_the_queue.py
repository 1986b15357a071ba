"""A job has a place in the queue, which people may change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("place", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE jobs SET place = id")


def downgrade() -> None:
    op.drop_column("jobs", "place")
