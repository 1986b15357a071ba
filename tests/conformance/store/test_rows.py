"""What the server remembers of itself, evaluations, and graphs as they are built up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from grandstand.errors import Conflict, NotFound
from grandstand.store import evaluations, facts, graphs
from grandstand.store import sessions as rows
from grandstand.store.database import Database

from .conftest import make_session

AT = datetime(2026, 1, 1, tzinfo=UTC)


async def test_servers_that_start_together_agree_on_a_fact(opening: Any) -> None:
    url = opening.create()
    servers = [Database.open(url) for _ in range(3)]
    try:
        told = await asyncio.gather(
            *(
                database.write(lambda c, i=i: facts.get_or_make(c, "secret", lambda: f"of {i}"))
                for i, database in enumerate(servers)
            )
        )
        assert len(set(told)) == 1
        again = await servers[0].write(lambda c: facts.get_or_make(c, "secret", lambda: "new"))
        assert again == told[0]
    finally:
        for database in servers:
            await database.aclose()
        opening.drop(url)


async def test_of_two_servers_one_makes_a_session_and_the_other_is_told(opening: Any) -> None:
    url = opening.create()
    servers = [Database.open(url) for _ in range(2)]
    try:
        told = await asyncio.gather(
            *(
                make_session(database, f"run-{i % 10}")
                for i, database in enumerate([*servers[:1] * 10, *servers[1:] * 10])
            ),
            return_exceptions=True,
        )
        refused = [one for one in told if isinstance(one, BaseException)]
        assert len(refused) == 10
        assert {type(one) for one in refused} == {Conflict}
    finally:
        for database in servers:
            await database.aclose()
        opening.drop(url)


async def test_an_evaluation_is_kept_as_it_was_asked_for(database: Database) -> None:
    request = {"episodes": 10, "name": "é\n\0", "deep": [{"x": None}], "loss": float("nan")}
    await database.write(lambda c: evaluations.add(c, "e1", "a/b", None, request, AT))
    row = await database.read(lambda c: evaluations.get(c, "e1"))
    assert (row.status, row.model_name, row.scenario_name) == ("queued", "a/b", None)
    assert row.request == {**request, "loss": "NaN"}
    assert row.result is None
    done = {"status": "completed", "result": {"mean": 1e-310}, "finished_at": AT}
    await database.write(lambda c: evaluations.change(c, "e1", **done))
    row = await database.read(lambda c: evaluations.get(c, "e1"))
    assert (row.status, row.result, row.finished_at) == ("completed", {"mean": 1e-310}, AT)
    for unknown in ("e2", "e\0"):
        with pytest.raises(NotFound):
            await database.read(lambda c, name=unknown: evaluations.get(c, name))


async def test_graphs_grow_with_the_bodies_that_name_them(
    database: Database, reporter: Any
) -> None:
    def body(*values: float, **more: Any) -> dict[str, Any]:
        points = [
            {"timestamp": f"2026-01-01T00:00:0{i}Z", "value": value}
            for i, value in enumerate(values)
        ]
        data = {"graph_id": "g", "data_points": {"a": points}, **more}
        return {"type": "graph_update", "data": data}

    await reporter.report([body(1.5, 2.5, title="T", metrics=["a", "b"])])
    await reporter.report([body(9.0, 2.5, 3.5, max_points=2)])
    (graph,) = await database.read(lambda c: graphs.read(c, reporter.pk))
    assert (graph["title"], graph["metrics"], graph["max_points"]) == ("T", ["a", "b"], 2)
    assert [point["value"] for point in graph["data_points"]["a"]] == [2.5, 3.5]


async def test_a_session_comes_back_as_it_went_in(database: Database) -> None:
    config = {"ü": [1, 2.5, None, True], "big": 2**60, "inf": float("inf"), "nul": "\0"}
    await make_session(database, "s", config=config, tags=["ä", 'a"b\\c%'], end_time=AT, notes="")
    session = await database.read(lambda c: rows.get(c, "s"))
    assert session.config == {**config, "inf": "Infinity"}
    assert (session.tags, session.end_time, session.notes) == (["ä", 'a"b\\c%'], AT, "")
    assert await database.read(lambda c: rows.find(c, "s\0")) is None
