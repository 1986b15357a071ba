"""The log: seqs without gap or double, and what an append changes in its session."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, func, select, update

from grandstand.errors import Conflict, NotFound
from grandstand.model.session import Status
from grandstand.model.telemetry import Batch, parse_batch, unpack
from grandstand.store import sessions as rows
from grandstand.store import tables
from grandstand.store.database import Database
from grandstand.store.history import batches
from grandstand.store.log import Append, append_many

AT = datetime(2026, 1, 1, tzinfo=UTC)


def batch(*records: dict[str, Any], batch_id: str | None = None) -> Batch:
    body = {"records": list(records), "batch_id": batch_id}
    return parse_batch(msgspec.json.encode(body))


def metrics(episode: int, key: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}, "key": key}


def columns(*episodes: int, key: str | None = None) -> dict[str, Any]:
    return {"type": "training_metrics", "columns": {"episode": list(episodes)}, "key": key}


def put(database: Database, batch: Batch, session_id: str = "run-1", **more: Any) -> Any:
    return database.write_many(append_many, Append(session_id, batch, AT, **more))


async def episodes(database: Database, pk: int) -> list[int]:
    found = await database.read(lambda c: list(batches(c, pk, 0, 2**53)))
    return [
        row["episode"]
        for stored in found
        for record in unpack(stored.kind, stored.body)
        for row in record.rows()
    ]


async def state(database: Database, session_id: str = "run-1") -> Any:
    return await database.read(lambda c: rows.get(c, session_id))


async def test_seqs_of_a_session_have_no_gap_and_no_double(
    database: Database, reporter: Any, opening: Any
) -> None:
    await opening.session(database, "run-2")
    told = await asyncio.gather(
        *(
            put(database, batch(columns(*range(i % 4 + 1)), metrics(i)), f"run-{i % 2 + 1}")
            for i in range(100)
        )
    )
    for name in ("run-1", "run-2"):
        mine = [t for t in told if t.session_id == name]
        assert mine[0].first_seq == 1
        for before, after in itertools.pairwise(mine):
            assert after.first_seq == before.last_seq + 1
        assert (await state(database, name)).last_seq == mine[-1].last_seq


async def test_appends_of_one_commit_stay_apart(database: Database, reporter: Any) -> None:
    """A run of appends is worked in together; a refused one leaves no trace of itself."""

    def run(connection: Connection) -> list[Any]:
        return append_many(
            connection,
            [
                Append("run-1", batch(metrics(1, key="a")), AT),
                Append("nobody", batch(metrics(2)), AT),
                Append("run-1", batch(metrics(3)), AT, attempt=7),
                Append("run-1", batch(metrics(4)), AT, changes={"status": "starting", "name": "x"}),
                Append("run-1", batch(metrics(5, key="a"), metrics(6)), AT),
                Append("run-1", batch(metrics(7), batch_id="b"), AT),
                Append("run-1", batch(metrics(7), batch_id="b"), AT),
                Append("run-1", batch(metrics(8)), AT, changes={"status": "completed"}),
                Append("run-1", batch(metrics(9)), AT),
                Append("run-1", batch(metrics(10)), AT, ended_too=True),
            ],
        )

    found = await database.write(run)
    assert isinstance(found[1], NotFound)
    codes = {i: r.code for i, r in enumerate(found) if isinstance(r, Conflict)}
    assert codes == {2: "attempt_superseded", 3: "status_conflict", 8: "session_ended"}
    assert found[6].duplicate
    assert (found[6].first_seq, found[6].last_seq) == (found[5].first_seq, found[5].last_seq)
    assert await episodes(database, reporter.pk) == [1, 6, 7, 8, 10]
    seen = await state(database)
    assert (seen.status, seen.last_seq, seen.current_episode) == ("completed", 5, 10)
    assert seen.name == "run-1"


async def test_a_known_batch_is_answered_with_its_own_seqs(
    database: Database, reporter: Any
) -> None:
    first = await put(database, batch(columns(1, 2, 3), batch_id="b"))
    await put(database, batch(metrics(4)))
    again = await put(database, batch(columns(1, 2, 3), batch_id="b"))
    assert (again.first_seq, again.last_seq, again.records) == (first.first_seq, 3, [])
    assert again.duplicate


async def test_known_keys_are_taken_out_of_a_batch(database: Database, reporter: Any) -> None:
    await put(database, batch(columns(1, 2, key="u1")))
    told = await put(database, batch(columns(1, 2, key="u1"), columns(3, 4, key="u2")))
    assert (told.first_seq, told.last_seq, told.duplicate) == (3, 4, False)
    told = await put(database, batch(columns(3, 4, key="u2")))
    assert (told.last_seq, told.duplicate) == (4, True)
    assert await episodes(database, reporter.pk) == [1, 2, 3, 4]


async def test_reading_goes_by_seq(database: Database, reporter: Any) -> None:
    for i in range(5):
        await put(database, batch(columns(i, i)))

    async def seqs(after_seq: int = 0, until_seq: int = 2**53) -> list[tuple[int, int]]:
        found = await database.read(lambda c: list(batches(c, reporter.pk, after_seq, until_seq)))
        return [(r.first_seq, r.last_seq) for r in found]

    assert await seqs() == [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)]
    assert await seqs(after_seq=3, until_seq=7) == [(3, 4), (5, 6), (7, 8)]


async def test_a_record_brings_a_lost_external_session_back(
    database: Database, reporter: Any
) -> None:
    lost = update(tables.sessions).values(status="lost")
    await database.write(lambda c: c.execute(lost).close())
    told = await put(database, batch(metrics(1)))
    assert told.session_status is Status.RUNNING
    assert (await state(database)).status is Status.RUNNING


async def test_the_server_s_own_events_are_no_sign_of_life(
    database: Database, reporter: Any
) -> None:
    lost = update(tables.sessions).values(status="lost")
    await database.write(lambda c: c.execute(lost).close())
    event = {"type": "training_status", "data": {"event": "status", "status": "lost"}}
    await put(database, batch(event), ended_too=True)
    seen = await state(database)
    assert (seen.status, seen.last_seen_at) == (Status.LOST, None)


async def test_what_a_record_changes_in_its_session(database: Database, reporter: Any) -> None:
    await put(database, batch(metrics(3, total_episodes=9, loss_value=1.0), columns(4, 7, 5)))
    seen = await state(database)
    assert (seen.current_episode, seen.total_episodes, seen.last_seen_at) == (7, 9, AT)
    assert seen.latest == {"episode": 5, "total_episodes": 9, "loss_value": 1.0}


async def test_deleting_a_session_leaves_nothing_of_it(database: Database, reporter: Any) -> None:
    graph = {"type": "graph_update", "data": {"graph_id": "g"}}
    await put(database, batch(metrics(1, key="k"), graph, batch_id="b"))
    await database.write(lambda c: rows.remove(c, reporter.pk))

    def left(connection: Connection) -> dict[str, int]:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in (tables.log, tables.record_keys, tables.graphs)
        }

    assert await database.read(left) == {"log": 0, "record_keys": 0, "graphs": 0}


async def test_times_are_kept_to_the_microsecond_in_utc(database: Database, reporter: Any) -> None:
    at = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC) + timedelta(hours=1)
    await database.write_many(append_many, Append("run-1", batch(metrics(1)), at))
    (row,) = await database.read(lambda c: list(batches(c, reporter.pk, 0, 2**53)))
    assert row.received_at == at
    assert row.received_at.tzinfo is UTC


async def test_a_naive_time_never_reaches_the_store(database: Database, reporter: Any) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake is the point
    with pytest.raises(Exception, match="naive"):
        await database.write_many(append_many, Append("run-1", batch(metrics(1)), naive))
    assert (await state(database)).last_seq == 0
