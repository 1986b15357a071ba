"""A script that looks at what people want says so, and may then be asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "sessions", sa.Column("listens", sa.String(length=32), server_default="", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("sessions", "listens")
