"""What is PostgreSQL's alone: lost connections, deadlocks, how it is set up, what it refuses."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from grandstand.errors import Unavailable
from grandstand.model.telemetry import FIRST_MOMENT, LAST_MOMENT
from grandstand.store import sessions as rows
from grandstand.store.database import Database
from grandstand.store.tables import facts

from .conftest import make_session
from .test_database import gated, names, remember

pytestmark = pytest.mark.postgres


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database.open(postgres_url)
    yield database
    await database.aclose()


async def test_connections_that_died_at_rest_are_replaced_unnoticed(
    database: Database, postgres: Any, postgres_url: str
) -> None:
    await database.write(remember("a"))
    assert await names(database) == ["a"]
    for name in ("b", "c"):
        postgres.disconnect(postgres_url)
        await database.write(remember(name))
    postgres.disconnect(postgres_url)
    assert await names(database) == ["a", "b", "c"]


async def test_a_connection_lost_before_the_commit_is_made_up_for(
    database: Database, postgres: Any, postgres_url: str
) -> None:
    times = 0

    def cut_off(connection: Connection) -> str:
        nonlocal times
        times += 1
        remember("a")(connection)
        if times == 1:
            postgres.disconnect(postgres_url)
        remember("b")(connection)
        return "done"

    results, commits = await gated(database, [remember("before"), cut_off, remember("after")])
    assert results == ["before", "done", "after"]
    assert (times, commits) == (2, 1)
    assert await names(database) == ["a", "after", "b", "before"]


async def test_a_connection_lost_in_the_commit_leaves_it_open_and_says_so(
    database: Database, postgres: Any, postgres_url: str
) -> None:
    def store(connection: Connection, items: list[str]) -> list[str]:
        for item in items:
            remember(item)(connection)
        postgres.disconnect(postgres_url)
        return items

    told = await asyncio.gather(
        *(database.write_many(store, name) for name in ("a", "b")), return_exceptions=True
    )
    for one in told:
        assert isinstance(one, Unavailable)
        assert one.code == "outcome_unknown"
    assert await database.write(remember("later")) == "later"
    assert await names(database) == ["later"]


async def test_a_deadlock_is_tried_again(postgres_url: str) -> None:
    one, other = Database.open(postgres_url), Database.open(postgres_url)
    await one.write(lambda c: [remember(name)(c) for name in ("x", "y")])
    holds = [threading.Event(), threading.Event()]

    def crossing(mine: int) -> Any:
        first, second = ("x", "y") if mine == 0 else ("y", "x")

        def work(connection: Connection) -> int:
            change = update(facts).values(value=facts.c.value + str(mine))
            connection.execute(change.where(facts.c.name == first))
            holds[mine].set()
            assert holds[1 - mine].wait(10)
            connection.execute(change.where(facts.c.name == second))
            return mine

        return work

    assert await asyncio.gather(one.write(crossing(0)), other.write(crossing(1))) == [0, 1]
    values = await one.read(lambda c: c.scalars(select(facts.c.value)).all())
    assert [sorted(value) for value in values] == [["0", "1", "x"]] * 2
    for database in (one, other):
        await database.aclose()


async def test_who_decides_by_a_session_holds_it(postgres_url: str) -> None:
    """What another server would change in between has to wait."""
    one, other = Database.open(postgres_url), Database.open(postgres_url)
    reporter = await make_session(one)
    held, goes_on = threading.Event(), threading.Event()

    def decide(connection: Connection) -> None:
        session = rows.get(connection, "run-1", to_change=True)
        held.set()
        assert goes_on.wait(10)
        rows.change(connection, reporter.pk, {"attempt": session.attempt + 1})

    def count_up(connection: Connection) -> None:
        session = rows.get(connection, "run-1", to_change=True)
        rows.change(connection, reporter.pk, {"attempt": session.attempt + 1})

    def waiting(connection: Connection) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return int(connection.scalar(text(query)) or 0)

    deciding = asyncio.ensure_future(one.write(decide))
    assert await asyncio.to_thread(held.wait, 10)
    counting = asyncio.ensure_future(other.write(count_up))
    async with asyncio.timeout(10):
        while not await one.read(waiting):  # noqa: ASYNC110 - the news comes from the server
            await asyncio.sleep(0.005)
    goes_on.set()
    await asyncio.gather(deciding, counting)
    assert (await one.read(lambda c: rows.get(c, "run-1"))).attempt == 2
    for database in (one, other):
        await database.aclose()


async def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        await database.read(remember("a"))
    assert await names(database) == []


async def test_times_are_utc_and_commits_are_on_disk_whatever_the_database_says(
    postgres: Any, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2].partition("?")[0]
    postgres.ask("ALTER DATABASE {} SET timezone = 'America/St_Johns'", name)
    postgres.ask("ALTER DATABASE {} SET synchronous_commit = off", name)
    postgres.ask("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", name)
    database = Database.open(postgres_url)

    def shown(connection: Connection) -> list[str]:
        settings = ("timezone", "synchronous_commit", "transaction_isolation")
        return [str(connection.scalar(text(f"SHOW {name}"))) for name in settings]

    assert await database.write(shown) == ["UTC", "on", "read committed"]
    assert await database.read(shown) == ["UTC", "on", "repeatable read"]
    middle = datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=UTC)
    for i, at in enumerate((FIRST_MOMENT, middle, LAST_MOMENT)):
        await make_session(database, f"run-{i}", end_time=at)
        session = await database.read(lambda c, i=i: rows.get(c, f"run-{i}"))
        assert session.end_time == at
        assert session.end_time.tzinfo is UTC
    await database.aclose()


async def test_a_database_without_room_for_every_letter_is_refused(postgres: Any) -> None:
    name = "grandstand_test_latin"
    postgres.ask("DROP DATABASE IF EXISTS {}", name)
    postgres.ask("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", name)
    url = postgres.create(migrated=False)
    postgres.drop(url)
    with pytest.raises(Unavailable, match="LATIN1") as caught:
        Database.open(url.replace(url.rpartition("/")[2].partition("?")[0], name))
    assert "ENCODING 'UTF8'" in caught.value.detail
    postgres.ask("DROP DATABASE {}", name)


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(Unavailable) as caught:
        Database.open("postgresql://somebody:hunter2@127.0.0.1:1/x")
    assert caught.value.code == "database_unavailable"
    assert "somebody:***@127.0.0.1:1/x" in caught.value.message
    assert "refused" in caught.value.detail
    assert "hunter2" not in str(caught.value.__dict__)


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@at@home:5432/x", "postgresql://u:hunter2/x@db:y/x", "mysql://x"]
)
def test_a_url_that_cannot_be_read_is_told_without_the_password(url: str) -> None:
    with pytest.raises(Unavailable) as caught:
        Database.open(url)
    assert "hunter2" not in str(caught.value.__dict__)


def test_without_its_driver_the_line_that_brings_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as where it was never installed
    with pytest.raises(Unavailable) as caught:
        Database.open("postgresql://u@db/x")
    assert "pip install 'grandstand[postgres]'" in caught.value.detail


async def test_many_more_writers_than_connections_all_get_through(database: Database) -> None:
    reading = [names(database) for _ in range(50)]
    writing = [database.write(remember(f"n{i:02}")) for i in range(50)]
    await asyncio.gather(*reading, *writing)
    assert len(await names(database)) == 50
    twice = insert(facts).values(name="n00", value="x")
    with pytest.raises(DBAPIError):
        await database.write(lambda c: c.execute(twice).close())
