"""What is SQLite's alone: locks, full files, pragmas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from grandstand.errors import Unavailable
from grandstand.store.database import Database
from grandstand.store.tables import facts

from .test_database import gated, names, remember
from .test_packing import pack_all


@pytest.fixture(scope="session")
def opening(sqlite: Any) -> Any:
    return sqlite


async def test_a_commit_that_cannot_be_written_stores_nothing(database: Database) -> None:
    """SQLite's own limit stands in for a full disk: it fails the same way, while writing."""
    pages = await database.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
    await database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").close())

    def large(connection: Connection) -> None:
        connection.execute(insert(facts).values(name="large", value="x" * 100_000))

    results, _ = await gated(database, [remember("a"), large])
    assert results[0] == "a"
    assert isinstance(results[1], Unavailable)
    assert "full" in results[1].detail
    assert await names(database) == ["a"]


def test_a_database_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable) as caught:
        Database.open(f"sqlite:///{tmp_path / 'file' / 'store.db'}")
    assert caught.value.code == "database_unavailable"
    (tmp_path / "no.db").write_bytes(b"this is not a database, it only looks like a file" * 100)
    with pytest.raises(Unavailable) as caught:
        Database.open(f"sqlite:///{tmp_path / 'no.db'}")
    assert "not a database" in caught.value.detail


async def test_sqlite_is_set_for_durability(database: Database) -> None:
    def pragmas(connection: Connection) -> list[Any]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await database.write(pragmas) == ["wal", 2, 1]
    assert await database.read(pragmas) == ["wal", 2, 1]


@pytest.mark.slow
async def test_pages_that_are_not_needed_go_back_to_the_disk(database, reporter) -> None:
    text = "x" * 1_000_000
    for i in range(60):
        event = {"type": "training_status", "data": {"event": "note", "text": text, "n": i}}
        await reporter.report([event])

    def pages(connection: Connection) -> int:
        return int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0)

    before = await database.read(pages)
    await pack_all(database, reporter.pk)
    assert await database.read(pages) >= before
    await database.reclaim()
    assert await database.read(pages) < before // 4
