"""Supervisors on many machines, and what a job needs of one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("needs", sa.Text(), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("handle", sa.Text(), nullable=True))
    op.drop_column("jobs", "pid")
    op.drop_column("jobs", "process_started_at")
    op.create_table(
        "supervisors",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("instance", sa.String(length=32), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("here", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_supervisors")),
    )


def downgrade() -> None:
    op.drop_table("supervisors")
    op.add_column("jobs", sa.Column("pid", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("process_started_at", sa.Float(), nullable=True))
    op.drop_column("jobs", "handle")
    op.drop_column("jobs", "needs")
