"""The whole database as one file, of one moment, while servers write to it; and back again.

SQLite is copied page by page inside one reading transaction, which in WAL mode stands in no
writer's way. PostgreSQL is dumped by its own `pg_dump`, from a snapshot that the counts are read
from as well.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from grandstand.errors import BadRequest, Conflict, NotFound, Unavailable, ValidationFailed
from grandstand.store.engine import database_url, for_reading, open_engine
from grandstand.store.migrate import HEAD, version
from grandstand.store.tables import log, sessions

__all__ = [
    "HEAD",
    "Facts",
    "check_file",
    "check_replaceable",
    "file_of",
    "kind_of",
    "occupied",
    "opened",
    "put_back",
    "schema_of",
    "take",
]

SQLITE: Final = "sqlite"
POSTGRES: Final = "postgresql"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database holds at one moment, to be compared after it was put back.

    Attributes:
        schema: the revision of its tables.
        batches: rows of the log.
        sessions: session → its last seq, which is also how many records it has.
    """

    schema: str
    batches: int
    sessions: dict[str, int]

    @property
    def records(self) -> int:
        """Records of all sessions together."""
        return sum(self.sessions.values())


def kind_of(url: str) -> str:
    """``sqlite`` or ``postgresql``.

    Raises:
        Unavailable: it is no URL of a database we know.
    """
    return database_url(url).get_backend_name()


def file_of(url: str) -> Path | None:
    """The file an SQLite database is in; None where it is in a server."""
    where = database_url(url)
    return _file(where) if where.get_backend_name() == SQLITE else None


def schema_of(url: str) -> str:
    """The revision of a database's tables; nothing is made or changed.

    Raises:
        NotFound: there is no database, or none of ours (code ``database_not_found``).
        Unavailable: it cannot be opened.
    """
    where = database_url(url)
    if where.get_backend_name() == SQLITE and not _file(where).is_file():
        raise _none(where)
    with opened(where) as engine, engine.connect() as connection:
        schema = version(connection)
    if schema is None:
        raise _none(where)
    return schema


def take(url: str, target: Path) -> Facts:
    """Write a database's content at this moment into a file, and check that file.

    Args:
        url: of the database; servers may go on writing to it.
        target: the file to make; of SQLite a database in itself, of PostgreSQL what `pg_restore`
            reads.

    Raises:
        NotFound: there is no database of ours.
        Unavailable: it cannot be read; or (code ``program_missing``) there is no `pg_dump`.
        OSError: the disk is full or not writable.
    """
    schema_of(url)
    where = database_url(url)
    if where.get_backend_name() == SQLITE:
        return _copy(_file(where), target)
    program = _program("pg_dump", url)
    with opened(where) as engine, for_reading(engine).connect() as connection:
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        found = _facts(connection)
        _run(
            where,
            program,
            "--format=custom",
            "--no-owner",
            f"--snapshot={snapshot}",
            f"--file={target}",
        )
    return found


def check_file(kind: str, file: Path, expected: Facts) -> None:
    """Make sure that a file of `take` is whole and holds what it should.

    Of a PostgreSQL dump only its table of contents can be looked at, and only where `pg_restore`
    is installed.

    Raises:
        ValidationFailed: it is damaged (code ``backup_damaged``).
    """
    if kind == SQLITE:
        try:
            found = _look_into(file)
        except (DBAPIError, sqlite3.DatabaseError) as error:
            raise _damaged(f"its database cannot be read: {error}") from error
        if found != expected:
            raise _damaged("its database does not hold what its manifest says")
    elif (program := shutil.which("pg_restore")) is not None:
        done = subprocess.run(  # noqa: S603 - pg_restore, found on PATH
            [program, "--list", file], capture_output=True, text=True
        )
        if done.returncode:
            raise _damaged(f"its dump cannot be read: {done.stderr.strip()}")


def occupied(url: str) -> bool:
    """Whether something of ours is where a database would be put back.

    Raises:
        Unavailable: it cannot be opened.
    """
    where = database_url(url)
    if where.get_backend_name() == SQLITE:
        return _file(where).exists()
    with opened(where) as engine, engine.connect() as connection:
        return version(connection) is not None


def check_replaceable(url: str, schema: str) -> None:
    """Make sure that no server has a database open, and that one of another `schema` can go.

    Raises:
        Conflict: one has (code ``database_in_use``); or (code ``other_tables``) PostgreSQL's tables
            are of another version, and those that the backup does not know would stay.
        Unavailable: it cannot be opened.
    """
    where = database_url(url)
    if where.get_backend_name() == SQLITE:
        path = _file(where)
        if not path.exists():
            return
        with contextlib.closing(sqlite3.connect(path, timeout=2)) as connection:
            try:
                # Leaving WAL needs the file for oneself, and folds the WAL into it.
                connection.execute("PRAGMA journal_mode=DELETE").fetchone()
            except sqlite3.OperationalError as error:
                raise _in_use(where) from error
            except sqlite3.DatabaseError:
                return  # damaged: the more reason to put a backup in its place
        return
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name = 'grandstand'"
    )
    with opened(where) as engine, engine.connect() as connection:
        if connection.scalar(others):
            raise _in_use(where)
        if (there := version(connection)) is not None and there != schema:
            raise Conflict(
                f"the database has tables {there}, and the backup {schema}",
                code="other_tables",
                detail="Restore it into an empty database: make one, and name it in DATABASE_URL.",
            )


def put_back(url: str, file: Path, expected: Facts, aside: str) -> str | None:
    """Make a database what it was when `file` was taken; `check_replaceable` first.

    Args:
        url: of the database.
        file: from `take`; of SQLite it is moved to its place, so it lies on the same disk.
        expected: what must be there afterwards.
        aside: how the name ends under which an SQLite file that is in the way is kept.

    Returns:
        where the database is kept that was there before; None where there was none. PostgreSQL's
        is replaced in one transaction and not kept.

    Raises:
        Unavailable: the database or its programs cannot be had, or do not take it.
        ValidationFailed: it holds something else afterwards.
    """
    where = database_url(url)
    if where.get_backend_name() == SQLITE:
        return _move_in(_file(where), file, aside)
    program = _program("pg_restore", url)
    _run(
        where,
        program,
        "--clean",
        "--if-exists",
        "--no-owner",
        "--single-transaction",
        "--exit-on-error",
        str(file),
    )
    with opened(where) as engine, for_reading(engine).connect() as connection:
        if _facts(connection) != expected:
            raise _damaged("the database does not hold what the manifest says")
    return None


def _copy(source: Path, target: Path) -> Facts:
    target.touch(0o600)
    # Not `mode=ro`: reading in WAL mode needs the index of the WAL, which may have to be made.
    try:
        with (
            contextlib.closing(_connect(source)) as reading,
            contextlib.closing(sqlite3.connect(target)) as writing,
        ):
            # Until it is whole nothing of it counts, and then it is synced at once.
            writing.execute("PRAGMA synchronous=OFF")
            # All pages in one step, which is one transaction: smaller steps begin anew whenever
            # the server has written in between.
            reading.backup(writing, pages=-1)
            writing.execute("PRAGMA journal_mode=DELETE").fetchone()
        return _look_into(target)
    except sqlite3.Error as error:
        raise Unavailable(
            f"the database {source} cannot be copied",
            code="database_unavailable",
            detail=str(error),
        ) from error


def _connect(path: Path) -> sqlite3.Connection:
    """A connection to a file that exists; none is made."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30)


def _look_into(file: Path) -> Facts:
    """What an SQLite file holds.

    Raises:
        ValidationFailed: it is damaged.
    """
    engine = create_engine("sqlite://", creator=lambda: _connect(file), poolclass=NullPool)
    with engine.connect() as connection:
        wrong = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if wrong != "ok":
            raise _damaged(f"its database is damaged: {wrong}")
        return _facts(connection)


def _move_in(place: Path, file: Path, aside: str) -> str | None:
    place.parent.mkdir(parents=True, exist_ok=True)
    kept = None
    if place.exists():
        kept = place.with_name(place.name + aside)
        place.rename(kept)
    for more in ("-wal", "-shm"):  # of a damaged file; they would be taken for the new one's
        left = place.with_name(place.name + more)
        if left.exists():
            left.rename(left.with_name(left.name + aside))
    file.rename(place)
    return str(kept) if kept is not None else None


def _facts(connection: Connection) -> Facts:
    schema = version(connection)
    assert schema is not None
    rows = connection.execute(select(sessions.c.session_id, sessions.c.last_seq))
    return Facts(
        schema=schema,
        batches=int(connection.scalar(select(func.count()).select_from(log)) or 0),
        sessions={row.session_id: int(row.last_seq) for row in rows},
    )


@contextlib.contextmanager
def opened(where: URL) -> Any:
    """An engine for one connection, and what goes wrong with it as a sentence."""
    engine: Engine | None = None
    try:
        engine = open_engine(where, 1)
        yield engine
    except DBAPIError as error:
        raise Unavailable(
            f"cannot open the database {where.render_as_string()}",
            code="database_unavailable",
            detail=str(error.orig),
        ) from error
    finally:
        if engine is not None:
            engine.dispose()


def _file(where: URL) -> Path:
    if not where.database or where.database == ":memory:":
        raise BadRequest(
            "a database in memory is gone with its server; there is nothing to copy",
            code="no_database_file",
        )
    return Path(where.database).expanduser()


def _program(name: str, url: str) -> str:
    found = shutil.which(name)
    if found is None:
        shown = database_url(url).set(drivername=POSTGRES).render_as_string()
        raise Unavailable(
            f"{name}, which belongs to PostgreSQL, is not installed here",
            code="program_missing",
            detail=f"Install PostgreSQL's client programs (Debian: postgresql-client), of the "
            f"server's version or newer; or run {name} where they are, on {shown}, and copy the "
            "models folder beside it.",
        )
    return found


def _run(where: URL, program: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on a database; its password stays out of the arguments."""
    open_url = URL.create(
        POSTGRES,
        username=where.username,
        host=where.host,
        port=where.port,
        database=where.database,
        query=where.query,
    )
    secret = {"PGPASSWORD": str(where.password)} if where.password is not None else {}
    done = subprocess.run(  # noqa: S603 - pg_dump or pg_restore, found on PATH
        [program, *arguments, f"--dbname={open_url.render_as_string()}"],
        env={**os.environ, "LC_ALL": "C", **secret},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise Unavailable(
            f"{Path(program).name} failed",
            code="program_failed",
            detail=done.stderr.strip()[-1000:],
        )


def _none(where: URL) -> NotFound:
    return NotFound(
        f"there is no database of Grandstand at {where.render_as_string()}",
        code="database_not_found",
        detail="--data-dir, --config or DATABASE_URL say where the server keeps it.",
    )


def _in_use(where: URL) -> Conflict:
    return Conflict(
        f"a server uses the database {where.render_as_string()}",
        code="database_in_use",
        detail="Stop it first, and every supervisor with its workers.",
    )


def _damaged(why: str) -> ValidationFailed:
    return ValidationFailed(
        f"the backup cannot be used: {why}",
        code="backup_damaged",
        detail="Take another backup, or fetch this one again: it may have been cut short.",
    )
