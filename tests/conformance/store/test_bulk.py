"""Many rows at once, by whichever way the database has, come out as they went in."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.telemetry import parse_batch, parse_record
from grandstand.store import tables
from grandstand.store.bulk import FEW, insert_rows
from grandstand.store.database import Database
from grandstand.store.history import batches
from grandstand.store.log import Append, append_many
from grandstand.store.session_list import listing

from .conftest import make_session

AT = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)


def log_row(pk: int, seq: int, **more: Any) -> dict[str, Any]:
    return {
        "session_pk": pk,
        "first_seq": seq,
        "last_seq": seq,
        "kind": "training_metrics",
        "body": bytes(range(256)) + b"\\N\n\t\\.\n",
        "batch_id": None if seq % 2 else f"ü\t\n\\N {seq}",
        "received_at": AT + timedelta(microseconds=seq),
        **more,
    }


@pytest.mark.parametrize("many", [1, FEW, FEW + 1, 1000])
async def test_rows_come_back_as_they_went_in(database: Database, reporter: Any, many: int) -> None:
    rows = [log_row(reporter.pk, seq) for seq in range(1, many + 1)]
    await database.write(lambda c: insert_rows(c, tables.log, rows))

    def read(connection: Connection) -> list[dict[str, Any]]:
        query = select(*(tables.log.c[name] for name in rows[0])).order_by(tables.log.c.last_seq)
        return [dict(row._mapping) for row in connection.execute(query)]

    assert await database.read(read) == rows
    encodings = select(tables.log.c.encoding).distinct()
    assert await database.read(lambda c: c.scalars(encodings).all()) == ["json"]


@pytest.mark.parametrize("many", [1, 100])
async def test_a_double_key_is_told_alike_and_leaves_nothing(
    database: Database, reporter: Any, many: int
) -> None:
    rows = [log_row(reporter.pk, seq) for seq in range(1, many + 1)]

    def twice(connection: Connection) -> None:
        insert_rows(connection, tables.log, rows)
        insert_rows(connection, tables.log, rows)

    with pytest.raises(IntegrityError) as caught:
        await database.write(twice)
    assert isinstance(caught.value, DBAPIError)
    assert not caught.value.connection_invalidated
    count = select(func.count()).select_from(tables.log)
    assert await database.read(lambda c: c.scalar(count)) == 0
    await database.write(lambda c: insert_rows(c, tables.log, rows))
    assert await database.read(lambda c: c.scalar(count)) == many


async def test_servers_that_report_into_the_same_sessions_share_their_seqs(opening: Any) -> None:
    """Also when each takes them in another order, which must not end in a deadlock."""
    url = opening.create()
    servers = [Database.open(url) for _ in range(3)]
    names = [f"run-{i}" for i in range(4)]
    try:
        for name in names:
            await make_session(servers[0], name)
        body = {"type": "training_metrics", "columns": {"episode": [1, 2, 3]}}

        def reports(database: Database, number: int) -> list[Any]:
            turned = [*names[number:], *names[:number]]
            return [
                database.write_many(append_many, Append(name, batch(f"{number} {i}", body), AT))
                for i in range(40)
                for name in turned
            ]

        told = await asyncio.gather(
            *(one for i, database in enumerate(servers) for one in reports(database, i))
        )
        for name in names:
            spans = sorted((t.first_seq, t.last_seq) for t in told if t.session_id == name)
            assert len(spans) == 120
            assert spans[0][0] == 1
            for (_, before), (after, _) in itertools.pairwise(spans):
                assert after == before + 1
        # The same batch brought to two servers is stored once.
        again = await asyncio.gather(
            *(d.write_many(append_many, Append("run-0", batch("new", body), AT)) for d in servers)
        )
        assert sorted(t.duplicate for t in again) == [False, True, True]
        assert {(t.first_seq, t.last_seq) for t in again} == {(361, 363)}
    finally:
        for database in servers:
            await database.aclose()
        opening.drop(url)


def batch(batch_id: str | None, *records: dict[str, Any]) -> Any:
    return parse_batch(msgspec.json.encode({"records": list(records), "batch_id": batch_id}))


def single(kind: str, **data: Any) -> Any:
    return parse_record(kind, msgspec.json.encode(data))


METRIC: dict[str, Any] = {"type": "training_metrics", "data": {"episode": 1}}
NAMES: dict[str, Callable[[], Any]] = {
    "batch_id": lambda: batch("a\0", METRIC),
    "records[1].key": lambda: batch(None, METRIC, {**METRIC, "key": "\0"}),
    "extra": lambda: single("training_metrics", episode=1, extra={"a\0b": 1}),
    "records[0].data.extra": lambda: batch(
        None, {"type": "training_metrics", "data": {"episode": 1, "extra": {"\0": 2}}}
    ),
    "records[0].columns.extra": lambda: batch(
        None, {"type": "training_metrics", "columns": {"episode": [1], "extra": {"\0": [2]}}}
    ),
    "graph_id": lambda: single("graph_update", graph_id="\0"),
    "title": lambda: single("graph_update", graph_id="g", title="a\0"),
}


@pytest.mark.parametrize("field", NAMES)
async def test_a_name_that_one_database_cannot_keep_none_takes(
    database: Database, reporter: Any, field: str
) -> None:
    refused, taken = await asyncio.gather(
        database.write_many(append_many, Append("run-1", NAMES[field](), AT)),
        database.write_many(append_many, Append("run-1", batch("fine", METRIC), AT)),
        return_exceptions=True,
    )
    assert isinstance(refused, ValidationFailed)
    assert refused.details == {"field": field}
    assert taken.last_seq == 1


async def test_what_is_no_name_may_hold_anything(database: Database, reporter: Any) -> None:
    bodies = [
        single("bot_decision", selected_action="\0", action_probabilities={"\0": 1.0}),
        single("training_status", event="x", note="\0"),
        single("graph_update", graph_id="g", metrics=["\0"]),
        single("training_metrics", episode=1, algorithm="\0", extra={"\\u0000": 1}),
    ]
    for body in bodies:
        await database.write_many(append_many, Append("run-1", body, AT))
    stored = await database.read(lambda c: list(batches(c, reporter.pk, 0, 2**53)))
    assert [row.body for row in stored] == [body.body for body in bodies]


async def test_whoever_looks_for_such_a_name_finds_nothing(database: Database) -> None:
    await make_session(database, "run-1")
    for look in ({"q": "\0"}, {"tag": "\0"}, {"algorithm": "\0"}):
        page = await database.read(lambda c, look=look: listing(c, **look))
        assert (page.total, page.sessions) == (0, [])
    with pytest.raises(NotFound):
        await database.write_many(append_many, Append("\0", batch(None, METRIC), AT))
