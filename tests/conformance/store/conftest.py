"""A real database of each kind, and a session to report into."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grandstand.bus.base import Committed
from grandstand.model.telemetry import finite_or_name, parse_batch
from grandstand.store.database import Database
from grandstand.store.engine import database_url, open_engine
from grandstand.store.log import Append, append_many
from grandstand.store.migrate import upgrade
from grandstand.store.series import SeriesStore
from grandstand.store.sessions import insert_session

POSTGRES = pytest.mark.postgres
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Reporter:
    """Reports into one session of a database, as the house does."""

    database: Database
    pk: int
    session_id: str
    at: datetime = START

    async def report(
        self, records: Sequence[dict[str, Any]], hears: SeriesStore | None = None
    ) -> Committed:
        """Commit a batch, a second after the one before, and tell `hears` of it."""
        batch = parse_batch(msgspec.json.encode(finite_or_name({"records": list(records)})))
        self.at += timedelta(seconds=1)
        done = await self.database.write_many(append_many, Append(self.session_id, batch, self.at))
        news = Committed(
            done.session_pk,
            done.session_id,
            done.first_seq,
            done.last_seq,
            tuple(done.records),
            done.at,
        )
        if hears is not None:
            hears.hear(news)
        return news


class Opening:
    """Makes databases of one kind, all tables in them, and sessions.

    Attributes:
        kind: "sqlite" or "postgres".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def create(self, *, migrated: bool = True) -> str:
        """Make a database; gives its URL."""
        raise NotImplementedError

    def drop(self, url: str) -> None:
        """Remove it again."""
        raise NotImplementedError

    def outage(self, database: Database) -> contextlib.AbstractAsyncContextManager[None]:
        """A time in which `database` cannot be had, or at least not written to."""
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def fresh(self) -> AsyncIterator[Database]:
        """A database for as long as it is wanted."""
        url = self.create()
        database = Database.open(url)
        try:
            yield database
        finally:
            await database.aclose()
            self.drop(url)

    async def session(self, database: Database, session_id: str = "run-1", **more: Any) -> Reporter:
        """A running session, and who reports into it."""
        return await make_session(database, session_id, **more)


class SqliteFiles(Opening):
    """Databases as files in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("sqlite")
        self._folder = folder
        self._count = 0
        self._template = folder / "template.db"

    def create(self, *, migrated: bool = True) -> str:
        self._count += 1
        path = self._folder / f"{self._count}.db"
        if migrated:
            if not self._template.exists():
                engine = open_engine(database_url(f"sqlite:///{self._template}"), 1)
                upgrade(engine)
                engine.dispose()
            shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"

    @contextlib.asynccontextmanager
    async def outage(self, database: Database) -> AsyncIterator[None]:
        path = database.engine.url.database
        assert path is not None
        # Half a minute is a long time to wait for a lock, in a test.
        await database.write(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=50").close())
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()

    def drop(self, url: str) -> None:
        for path in self._folder.glob(f"{Path(url).name}*"):
            path.unlink()


class PostgresDatabases(Opening):
    """Databases in a server."""

    def __init__(self, server: Any) -> None:
        super().__init__("postgres")
        self.server = server

    def create(self, *, migrated: bool = True) -> str:
        return str(self.server.create(migrated=migrated))

    @contextlib.asynccontextmanager
    async def outage(self, database: Database) -> AsyncIterator[None]:
        url = database.engine.url.render_as_string(hide_password=False)
        self.server.close_doors(url)
        try:
            yield
        finally:
            self.server.open_doors(url)

    def drop(self, url: str) -> None:
        self.server.drop(url)


async def make_session(database: Database, session_id: str = "run-1", **more: Any) -> Reporter:
    values = {
        "session_id": session_id,
        "training_session_id": session_id,
        "kind": "external",
        "name": session_id,
        "algorithm": "ppo",
        "status": "running",
        "wanted": "running",
        "created_at": START,
        "tags": [],
        "config": {},
        **more,
    }
    pk = await database.write(lambda c: insert_session(c, values))
    return Reporter(database, pk, session_id)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqliteFiles:
    """For tests that are about SQLite alone."""
    return SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=POSTGRES)])
def opening(request: pytest.FixtureRequest) -> Opening:
    """Each kind of database in turn; every test that asks for one runs once over each."""
    if request.param == "sqlite":
        files: SqliteFiles = request.getfixturevalue("sqlite")
        return files
    return PostgresDatabases(request.getfixturevalue("postgres"))


@pytest.fixture
async def database(opening: Opening) -> AsyncIterator[Database]:
    async with opening.fresh() as database:
        yield database


@pytest.fixture
async def reporter(database: Database) -> Reporter:
    return await make_session(database)


@pytest.fixture
async def series(database: Database) -> AsyncIterator[SeriesStore]:
    store = SeriesStore(database)
    await store.open()
    yield store
    await store.aclose()
