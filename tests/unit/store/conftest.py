"""A real SQLite file, and a session to report into."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from grandstand.bus.base import Committed
from grandstand.model.telemetry import finite_or_name, parse_batch
from grandstand.store.database import Database
from grandstand.store.log import Append, append_many
from grandstand.store.series import SeriesStore
from grandstand.store.tables import metadata, sessions

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


def open_database(path: Path) -> Database:
    database = Database.open(f"sqlite:///{path}", migrate=False)
    metadata.create_all(database.engine)
    return database


async def make_session(database: Database, session_id: str = "run-1") -> Reporter:
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
    }
    result = await database.write(lambda c: c.execute(insert(sessions).values(**values)))
    assert result.inserted_primary_key is not None
    return Reporter(database, result.inserted_primary_key[0], session_id)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(tmp_path / "store.db")
    yield database
    await database.aclose()


@pytest.fixture
async def reporter(database: Database) -> Reporter:
    return await make_session(database)


@pytest.fixture
async def series(database: Database) -> AsyncIterator[SeriesStore]:
    store = SeriesStore(database)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture(scope="session")
def opening() -> Any:
    """How to make databases and sessions beside the ones given."""

    class Opening:
        database = staticmethod(open_database)
        session = staticmethod(make_session)

    return Opening
