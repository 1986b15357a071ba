"""How each kind of database is opened, and what its failures mean.

Both are set so that a commit is on disk once it returns, that a reader sees one moment, and that
times and text come back as they went in.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool

from grandstand.errors import Unavailable
from grandstand.model.telemetry import finite_or_name

WRITER: Final = "grandstand-write"
"""Name of the thread that writes."""

POSTGRES: Final = ("postgresql", "postgres", "postgresql+psycopg")
"""Schemes of a URL that all mean PostgreSQL through psycopg 3."""

_PATIENCE: Final[dict[str, Any]] = {
    # A host that is gone without a word is given up after half a minute, not after two hours.
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "fallback_application_name": "grandstand",
    "client_encoding": "utf8",
}

_SET_UP: Final = """
SELECT set_config('TimeZone', 'UTC', false), CASE current_setting('synchronous_commit')
    WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""
"""Times at the calendar's edge are times in UTC only, and a commit that returns is on disk."""


def database_url(url: str) -> URL:
    """`url` with the driver we speak through.

    Raises:
        Unavailable: it is no URL of a database we know.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None  # The parser's own words may hold a piece of the password.
    if parsed is not None and parsed.drivername in POSTGRES:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed is not None and parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return parsed
    raise Unavailable(
        "the database's URL cannot be understood",
        code="database_unavailable",
        detail="Write sqlite:///path/to/file.db or postgresql://user:password@host/name; in a "
        "password, characters such as @ : / # are written %40 %3A %2F %23.",
    )


def open_engine(url: URL, readers: int) -> Engine:
    """An engine with a pool for `readers` and a writer; connects at the first use.

    Raises:
        OSError: the folder for an SQLite file cannot be made.
        Unavailable: the driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, readers)
    return _postgres(url, readers)


def for_reading(engine: Engine) -> Engine:
    """The same engine, for transactions that only read, all of them at one moment."""
    if engine.dialect.name == "sqlite":
        return engine  # a transaction of WAL mode is a snapshot as it is
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def connection_lost(error: BaseException) -> bool:
    """Whether it failed because the connection to the server is gone."""
    return isinstance(error, DBAPIError) and error.connection_invalidated


def bad_luck(error: BaseException) -> bool:
    """Whether the same transaction may well succeed when it is run again: a deadlock, another
    server's change in between, a connection that was lost on the way."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state in ("40001", "40P01") or connection_lost(error)


def unavailable(error: BaseException) -> bool:
    """Whether it failed for want of the database rather than for what was asked of it: a full
    disk, a server that goes down."""
    return isinstance(error, OperationalError) or connection_lost(error)


def only_read(error: BaseException) -> bool:
    """Whether the server takes no writes: a standby, as after a failover."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == "25006"


def first_failure(error: BaseException) -> BaseException:
    """What went wrong first, in the driver's words.

    A full disk ends a transaction with all its savepoints, and undoing one then fails as well; so
    does a connection that is lost.
    """
    first = inner = error
    while (before := inner.__context__) is not None:
        inner = before
        first = inner if isinstance(inner, DBAPIError) else first
    return getattr(first, "orig", None) or first


def refusal(message: str, error: BaseException) -> Unavailable:
    """`error` as an answer; where the server is and why it is not reached is for our log only."""
    first = first_failure(error)
    unreached = getattr(first, "sqlstate", "") is None
    return Unavailable(
        message,
        code="database_unavailable",
        detail="It is not reached; the server's log says why." if unreached else str(first),
    )


def _json(value: Any) -> str:
    """JSON as both databases take it, without a bare NaN."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(finite_or_name(value), allow_nan=False)


def _postgres(url: URL, readers: int) -> Engine:
    told = {name: value for name, value in _PATIENCE.items() if name not in url.query}
    try:
        engine = create_engine(
            url,
            pool_size=readers + 1,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            json_serializer=_json,
            connect_args=told,
            use_native_hstore=False,
        )
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"{url.get_driver_name()}, the driver for this database, is not installed",
            code="database_unavailable",
            detail="pip install 'grandstand[postgres]' brings it.",
        ) from error

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            raise Unavailable(
                f"the database keeps its text as {encoding}, which cannot hold every name",
                code="database_unavailable",
                detail="Make one with: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0.",
            )
        connection.autocommit = True
        connection.execute(_SET_UP)
        connection.autocommit = False

    return engine


def _sqlite(url: URL, readers: int) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).expanduser().resolve().parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=readers + 1,
            json_serializer=_json,
            connect_args={"check_same_thread": False, "timeout": 30},
        )
    else:
        engine = create_engine(url, poolclass=NullPool, json_serializer=_json)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver's own transaction handling is off: BEGIN is ours (see `begin`).
        connection.isolation_level = None
        cursor = connection.cursor()
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")  # only an empty file heeds it
        for pragma in (
            "journal_mode=WAL",
            "journal_size_limit=67108864",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-4000",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        writer = threading.current_thread().name == WRITER or options.get("grandstand_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine
