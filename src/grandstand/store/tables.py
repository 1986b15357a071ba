"""Every table, for SQLite and PostgreSQL alike. Migrations live beside, in `migrations/`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment, aware and in UTC on both sides; SQLite keeps it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time reached the store: {value!r}")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite counts up by itself only for INTEGER, PostgreSQL should not run out of numbers.
Key = BigInteger().with_variant(Integer(), "sqlite")


def _session_pk(**more: Any) -> Column[int]:
    return Column(
        "session_pk", Key, ForeignKey("sessions.pk", ondelete="CASCADE"), nullable=False, **more
    )


sessions = Table(
    "sessions",
    metadata,
    Column("pk", Key, primary_key=True, autoincrement=True),
    Column("session_id", String(128), nullable=False, unique=True),
    Column("training_session_id", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("notes", Text, nullable=False, server_default=""),
    Column("algorithm", Text, nullable=False),
    Column("scenario_name", String(100)),
    Column("model_generation", Integer, nullable=False, server_default="1"),
    Column("status", String(16), nullable=False),
    Column("wanted", String(16), nullable=False),
    Column("stop_reason", Text),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Column("start_time", UtcTime),
    Column("end_time", UtcTime),
    Column("last_seen_at", UtcTime),
    Column("current_episode", BigInteger, nullable=False, server_default="0"),
    Column("total_episodes", BigInteger),
    Column("eta_seconds", Float),
    Column("speed", Float),
    Column("latest", JSON(none_as_null=True)),
    Column("last_seq", BigInteger, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("checkpoint_requested", Boolean, nullable=False, server_default=text("false")),
    Column("listens", String(32), nullable=False, server_default=""),
    Column("room_code", String(32)),
    Column("enable_spectators", Boolean, nullable=False, server_default=text("true")),
    Column("tags", JSON, nullable=False),
    Column("config", JSON, nullable=False),
    Column("parent_session_id", String(128)),
    Column("archived", Boolean, nullable=False, server_default=text("false")),
    Column("packed_seq", BigInteger, nullable=False, server_default="0"),
    Column("locked", Boolean, nullable=False, server_default=text("false")),
    Column("search_text", Text, nullable=False, server_default=""),
    Index(None, "status"),
    Index(None, "created_at", "pk"),
    Index(None, "scenario_name"),
)

log = Table(
    "log",
    metadata,
    _session_pk(primary_key=True),
    Column("last_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("encoding", String(8), nullable=False, server_default="json"),
    Column("body", LargeBinary, nullable=False),
    Column("batch_id", String(128)),
    Column("received_at", UtcTime, nullable=False),
)
"""The truth: one row per accepted batch, its bytes as received and the seqs they took; of batches
long past, many in one row, see `packing.py`."""

Index(
    "uq_log_batch",
    log.c.session_pk,
    log.c.batch_id,
    unique=True,
    sqlite_where=log.c.batch_id.is_not(None),
    postgresql_where=log.c.batch_id.is_not(None),
)

packed_batches = Table(
    "packed_batches",
    metadata,
    _session_pk(primary_key=True),
    Column("digest", LargeBinary(16), primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Ids of batches whose own row is gone, so that sending one again stays harmless for good."""

record_keys = Table(
    "record_keys",
    metadata,
    _session_pk(primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
)
"""Keys of stored records, so that a resumed run repeating itself is not stored twice."""

media = Table(
    "media",
    metadata,
    _session_pk(primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("media_type", String(32)),
    Column("image", LargeBinary),
)
"""Where in the log texts, histograms and images are, so that few among many are found at once; and
the bytes of the images, which nobody reads who does not look at them."""

decided_episodes = Table(
    "decided_episodes",
    metadata,
    _session_pk(primary_key=True),
    Column("episode", BigInteger, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("played", BigInteger, nullable=False),
)
"""Where in the log the decisions of an episode are, and how many; `played` of them are of an
episode that was played to be looked at, see `model/telemetry.py`."""

graphs = Table(
    "graphs",
    metadata,
    _session_pk(primary_key=True),
    Column("graph_id", String(128), primary_key=True),
    Column("title", Text),
    Column("y_label", Text),
    Column("metrics", JSON, nullable=False),
    Column("max_points", Integer, nullable=False),
    Column("data_points", JSON, nullable=False),
)
"""Every graph as its bodies have built it up so far."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("session_pk", Key, ForeignKey("sessions.pk", ondelete="CASCADE")),
    Column("evaluation_id", String(32), ForeignKey("evaluations.id", ondelete="CASCADE")),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("place", BigInteger, nullable=False, server_default="0"),
    Column("needs", Text, nullable=False, server_default=""),
    Column("payload", JSON, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("created_at", UtcTime, nullable=False),
    Column("claimed_by", Text),
    Column("claimed_at", UtcTime),
    Column("handle", Text),
    Column("heartbeat_at", UtcTime),
    Column("finished_at", UtcTime),
    Index(None, "status", "priority", "id"),
    UniqueConstraint("session_pk"),
)
"""Work for workers: a training (one job a session) or an evaluation.

`needs` has the labels that a machine must have for it, in order, with commas between."""

supervisors = Table(
    "supervisors",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("instance", String(32), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("running", Integer, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("here", Boolean, nullable=False),
    Column("version", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("last_seen_at", UtcTime, nullable=False),
)
"""Who takes jobs, on this machine and on others."""

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("scenario_name", String(100)),
    Column("request", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""What the server must remember of itself, such as the secret it signs worker tokens with."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("message_id", String(64), nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Index(None, "due_at"),
)
"""Webhook messages that nobody has taken yet, one row for each endpoint."""

users = Table(
    "users",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("key", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", UtcTime, nullable=False),
)
"""People with an account. `key` is the name as it is compared; a token of an older `epoch` is
void."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("user_id", String(16), ForeignKey("users.id", ondelete="CASCADE")),
    Column("digest", LargeBinary(32), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("session_id", String(128)),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("last_used_at", UtcTime),
    Column("revoked_at", UtcTime),
)
"""What trainers identify themselves with; of the secret only its SHA-256."""

revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("expires_at", UtcTime, nullable=False),
    Index(None, "expires_at"),
)
"""Access tokens taken back before their time; forgotten once they would have expired."""

rooms = Table(
    "rooms",
    metadata,
    Column("code", String(8), primary_key=True),
    _session_pk(index=True),
    Column("name", Text, nullable=False),
    Column("access", String(16), nullable=False),
    Column("password_hash", Text),
    Column("max_spectators", Integer, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("closed_at", UtcTime),
)
"""Rooms, closed ones too: a code is not given to another as long as people may still try it."""

room_seats = Table(
    "room_seats",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("room_code", String(8), ForeignKey("rooms.code", ondelete="CASCADE"), nullable=False),
    Column("key", String(160), nullable=False),
    Column("name", String(64), nullable=False),
    Column("joined_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("left_at", UtcTime),
    Column("removed_at", UtcTime),
    UniqueConstraint("room_code", "key"),
)
"""Who has, had, or may no more have a seat in a room. `key` says whose it is: a user's id or a name
as it is compared."""

audit = Table(
    "audit",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("at", UtcTime, nullable=False),
    Column("subject", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text),
    Column("status", Integer, nullable=False),
    Column("error", Text),
    Index(None, "at"),
)
"""Who asked for what that needs operate or admin, and what came of it."""

# Series: columns of points built from the log, see `blocks.py`.

series_names = Table(
    "series_names",
    metadata,
    _session_pk(primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(256), nullable=False),
    UniqueConstraint("session_pk", "name"),
)
"""A number for each metric of a session, from 1; 0 is the x axes all of them share."""

blocks = Table(
    "blocks",
    metadata,
    _session_pk(primary_key=True),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("seq_least", BigInteger, nullable=False),
    Column("seq_greatest", BigInteger, nullable=False),
    Column("episode_least", BigInteger, nullable=False),
    Column("episode_greatest", BigInteger, nullable=False),
    Column("step_least", BigInteger, nullable=False),
    Column("step_greatest", BigInteger, nullable=False),
    Column("time_least", BigInteger, nullable=False),
    Column("time_greatest", BigInteger, nullable=False),
    # The large columns come last: SQLite finds the small ones without reading them.
    Column("coarse", LargeBinary, nullable=False),
    Column("fine", LargeBinary, nullable=False),
)
"""Stretches of a series: at level 0 its points, above that what 64 stretches below come to."""
