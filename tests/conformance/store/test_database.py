"""The database: neighbours share a commit, and a failure stays with whoever caused it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from grandstand.errors import NotFound, Unavailable
from grandstand.store.database import Database
from grandstand.store.tables import facts


def remember(name: str) -> Any:
    def work(connection: Connection) -> str:
        connection.execute(insert(facts).values(name=name, value="x"))
        return name

    return work


async def names(database: Database) -> list[str]:
    query = select(facts.c.name).order_by(facts.c.name)
    return await database.read(lambda c: list(c.scalars(query)))


class Gate:
    """A write that holds the writer until it is opened, so that others queue up behind it."""

    def __init__(self, database: Database) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()
        self._write = asyncio.ensure_future(database.write(self._wait))

    def _wait(self, connection: Connection) -> None:
        self._reached.set()
        assert self._open.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    async def open(self) -> None:
        self._open.set()
        await self._write


async def gated(database: Database, works: list[Any]) -> tuple[list[Any], int]:
    """Results of writes that came while the writer was busy, and the commits they took."""
    gate = Gate(database)
    await gate.reached()
    writes = [asyncio.ensure_future(database.write(work)) for work in works]
    await asyncio.sleep(0)  # each has now put itself in the queue
    before = database.commits
    await gate.open()
    results = await asyncio.gather(*writes, return_exceptions=True)
    return results, database.commits - before - 1


async def test_neighbours_share_a_commit(database: Database) -> None:
    results, commits = await gated(database, [remember(f"n{i:03}") for i in range(200)])
    assert results == [f"n{i:03}" for i in range(200)]
    assert commits == 1
    assert len(await names(database)) == 200


@pytest.mark.parametrize("error", [NotFound("no"), ValueError("no"), ZeroDivisionError()])
async def test_an_exception_undoes_its_own_work_alone(database: Database, error: Exception) -> None:
    def fails(connection: Connection) -> None:
        remember("half")(connection)
        raise error

    results, commits = await gated(database, [remember("a"), fails, remember("b")])
    assert results == ["a", error, "b"]
    assert commits == 1
    assert await names(database) == ["a", "b"]


async def test_what_the_database_refuses_costs_the_neighbours_nothing(database: Database) -> None:
    def wrong(connection: Connection) -> None:
        remember("half")(connection)
        connection.execute(text("SELECT * FROM nowhere"))

    works = [remember("a"), remember("a"), remember("b"), wrong, remember("c")]
    results, _ = await gated(database, works)
    assert [results[0], results[2], results[4]] == ["a", "b", "c"]
    assert isinstance(results[1], IntegrityError)
    assert isinstance(results[3], Exception)
    assert await names(database) == ["a", "b", "c"]


async def test_while_the_database_is_away_nothing_is_taken_and_afterwards_everything(
    database: Database, opening: Any
) -> None:
    await database.write(remember("before"))
    async with opening.outage(database):
        results = await asyncio.gather(
            *(database.write(remember(f"n{i}")) for i in range(3)), return_exceptions=True
        )
        for result in results:
            assert isinstance(result, Unavailable)
            assert result.code == "database_unavailable"
            assert "nothing of it was stored" in result.message
        with pytest.raises(Unavailable):
            await database.write_many(lambda c, items: items, 1)
    assert await database.write(remember("later")) == "later"
    assert await names(database) == ["before", "later"]


async def test_a_write_is_there_once_it_returns(database: Database) -> None:
    await database.write(remember("a"))
    other = create_engine(database.engine.url)
    with other.connect() as connection:
        assert connection.scalars(select(facts.c.name)).all() == ["a"]
    other.dispose()


async def test_a_reader_sees_one_moment(database: Database) -> None:
    """However many statements it takes, and whatever is committed between them."""
    looked, goes_on = threading.Event(), threading.Event()

    def twice(connection: Connection) -> list[list[str]]:
        query = select(facts.c.name).order_by(facts.c.name)
        first = list(connection.scalars(query))
        looked.set()
        assert goes_on.wait(10)
        return [first, list(connection.scalars(query))]

    await database.write(remember("a"))
    reading = asyncio.ensure_future(database.read(twice))
    assert await asyncio.to_thread(looked.wait, 10)
    await database.write(remember("b"))
    goes_on.set()
    assert await reading == [["a"], ["a"]]
    assert await names(database) == ["a", "b"]


async def test_a_lone_write_that_fails_leaves_nothing(database: Database) -> None:
    def fails(connection: Connection) -> None:
        remember("half")(connection)
        raise NotFound("no")

    with pytest.raises(NotFound):
        await database.write(fails)
    assert await names(database) == []


async def test_many_run_together_and_answer_each(database: Database) -> None:
    runs: list[list[int]] = []

    def merge(connection: Connection, items: list[int]) -> list[Any]:
        runs.append(items)
        return [NotFound("odd") if item % 2 else item for item in items]

    gate = Gate(database)
    await gate.reached()
    writes = [asyncio.ensure_future(database.write_many(merge, i)) for i in range(4)]
    await asyncio.sleep(0)
    await gate.open()
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert runs == [[0, 1, 2, 3]]
    assert [r if isinstance(r, int) else r.message for r in results] == [0, "odd", 2, "odd"]


async def test_closing_commits_what_waits_and_refuses_what_comes(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    waits = asyncio.ensure_future(database.write(remember("a")))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(database.aclose())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="stopping"):
        await database.write(remember("b"))
    await gate.open()
    assert await waits == "a"
    await closing


async def test_a_caller_that_gave_up_disturbs_nobody(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    gone = asyncio.ensure_future(database.write(remember("gone")))
    stays = asyncio.ensure_future(database.write(remember("stays")))
    await asyncio.sleep(0)
    gone.cancel()
    await gate.open()
    assert await stays == "stays"
    assert await names(database) == ["gone", "stays"]


async def test_readers_see_what_is_committed_and_never_write(database: Database) -> None:
    gate = Gate(database)
    await gate.reached()
    writing = asyncio.ensure_future(database.write(remember("a")))
    assert await names(database) == []
    await gate.open()
    await writing
    assert await names(database) == ["a"]
