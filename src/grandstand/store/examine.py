"""Looking at a database from outside, without changing anything: for whoever asks what ails it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from grandstand.store import snapshot
from grandstand.store.engine import database_url
from grandstand.store.migrate import HEAD, version
from grandstand.store.tables import sessions, users
from grandstand.store.vitals import vitals

__all__ = ["HEAD", "Examined", "examine", "place_of"]


@dataclass(frozen=True, slots=True)
class Examined:
    """What `examine` found.

    Attributes:
        server: the database's own name and version.
        schema: the revision of its tables; None where it has none of ours.
        sessions, users: how many; None where the tables are of another version.
        wrong: the first thing that is damaged, as SQLite says it.
        now: the server's own time; None where it is ours.
    """

    server: str
    schema: str | None
    size_bytes: int
    sessions: int | None
    users: int | None
    wrong: str | None
    now: datetime | None


def place_of(url: str) -> Path | None:
    """The file an SQLite database would be in; None for a server."""
    return snapshot.file_of(url)


def examine(url: str) -> Examined | None:
    """Look at a database; of SQLite every page is read. None where there is no file yet.

    Raises:
        Unavailable: it cannot be opened.
    """
    where = database_url(url)
    file = snapshot.file_of(url)
    if file is not None and not file.is_file():
        return None
    with snapshot.opened(where) as engine:
        try:
            with engine.connect() as connection:
                if file is not None:
                    wrong = str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar())
                    if wrong != "ok":
                        return _damaged(file, wrong)
                return _whole(connection, sqlite=file is not None)
        except DBAPIError as error:
            # Its own class and no other: a locked file, or one that may not be read, is whole.
            if file is None or type(error.orig) is not sqlite3.DatabaseError:
                raise
            return _damaged(file, str(error.orig))


def _damaged(file: Path, wrong: str) -> Examined:
    return Examined("SQLite", None, file.stat().st_size, None, None, wrong, None)


def _whole(connection: Connection, *, sqlite: bool) -> Examined:
    schema = version(connection)
    if sqlite:
        server, now = (
            f"SQLite {connection.exec_driver_sql('SELECT sqlite_version()').scalar()}",
            None,
        )
    else:
        server = f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"
        now = connection.scalar(select(func.clock_timestamp()))
    if schema != HEAD:
        return Examined(server, schema, 0, None, None, None, now)
    found = vitals(connection)
    return Examined(
        server,
        schema,
        found.size_bytes,
        int(connection.scalar(select(func.count()).select_from(sessions)) or 0),
        int(connection.scalar(select(func.count()).select_from(users)) or 0),
        None,
        now,
    )
