"""The log may be packed, its batches' ids kept apart; sessions are searched in one column."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in batch mode: making `sessions` anew would take every record of every session with it.
    op.add_column(
        "sessions", sa.Column("packed_seq", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "sessions", sa.Column("search_text", sa.Text(), server_default="", nullable=False)
    )
    _fill_search_text()
    op.create_table(
        "packed_batches",
        sa.Column(
            "session_pk",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_pk"],
            ["sessions.pk"],
            name=op.f("fk_packed_batches_session_pk_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("session_pk", "digest", name=op.f("pk_packed_batches")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    from grandstand.store.packing import unpack_all

    unpack_all(op.get_bind())
    op.drop_table("packed_batches")
    op.drop_column("sessions", "search_text")
    op.drop_column("sessions", "packed_seq")


def _fill_search_text() -> None:
    names = ("name", "session_id", "training_session_id", "scenario_name", "algorithm", "notes")
    table = sa.table(
        "sessions",
        sa.column("pk", sa.BigInteger()),
        sa.column("tags", sa.JSON()),
        sa.column("search_text", sa.Text()),
        *(sa.column(name, sa.Text()) for name in names),
    )
    bind = op.get_bind()
    for row in bind.execute(sa.select(table)).mappings().all():
        words = [row[name] or "" for name in names]
        text = "\n".join([*words, *(row["tags"] or [])]).casefold()
        bind.execute(table.update().where(table.c.pk == row["pk"]).values(search_text=text))
