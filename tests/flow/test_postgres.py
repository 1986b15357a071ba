"""The whole server on PostgreSQL: what is promised on SQLite is kept there."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from typing import Any

import pyarrow.parquet
import pytest
from websockets.asyncio.client import connect

from .conftest import SESSIONS, House, MakeHouse

pytestmark = pytest.mark.postgres
ROWS = 5000
PARTS = ("", "/history", "/series", "/export")


@pytest.fixture
async def house(postgres_url: str, make_house: MakeHouse) -> House:
    return await make_house(serving=True, database__url=postgres_url)


def metric(episode: int, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


def columns(start: int, end: int) -> dict[str, Any]:
    episodes = list(range(start, end))
    told = {"episode": episodes, "current_reward": [math.sin(e / 50) for e in episodes]}
    return {"type": "training_metrics", "columns": told}


async def test_from_a_report_to_every_way_of_reading_it(house: House) -> None:
    assert house.assembly.database.engine.dialect.name == "postgresql"
    await house.open_session(tags=["a", "ü"], config={"nul": "\0", "inf": "Infinity"})
    at = "2026-05-01T10:00:00.000001Z"
    points = [{"timestamp": at, "value": 2}]
    async with house.watch("run", "?max_hz=0") as spectator:
        greeting = await spectator.next()
        assert greeting["data"]["last_seq"] == 1
        told = await house.batch(
            "run",
            [
                metric(0, current_reward="NaN", timestamp=at, extra={"loss/a": 0.5, "flag": True}),
                {"type": "bot_decision", "data": {"selected_action": "\0", "episode": 0}},
                {"type": "graph_update", "data": {"graph_id": "g", "data_points": {"m": points}}},
                {"type": "training_status", "data": {"event": "phase", "n": 1}},
            ],
        )
        assert told["last_seq"] == 5
        heard = await spectator.records(5)
        assert [m["seq"] for m in heard] == [2, 3, 4, 5]
        assert heard[0]["data"]["extra"] == {"loss/a": 0.5, "flag": True}
        for start in range(1, ROWS, 1000):
            await house.batch("run", [columns(start, start + 1000)])
        House.contiguous(await spectator.records(5 + ROWS), 5)

    page = await house.history("run", type="training_metrics", limit=10_000)
    rows = page["metrics_data"]
    assert [row["episode"] for row in rows] == list(range(ROWS + 1))
    assert [row["seq"] for row in rows] == [2, *range(6, ROWS + 6)]
    assert rows[0]["timestamp"] == at
    (decision,) = (await house.history("run", type="bot_decision"))["bot_decisions"]
    assert decision["selected_action"] == "\0"

    for_a_chart = {"metrics": "current_reward", "max_points": 500}
    series = await house.ok("GET", f"{SESSIONS}/run/series", params=for_a_chart)
    assert (series["last_seq"], series["metrics"]) == (
        5 + ROWS,
        ["current_reward", "loss/a", "flag"],
    )
    curve = series["series"]["current_reward"]
    assert sum(curve["count"]) == ROWS + 1

    export = await house.http.get(f"{SESSIONS}/run/export", params={"format": "csv"})
    table = list(csv.DictReader(io.StringIO(export.text, newline="")))
    export = await house.http.get(f"{SESSIONS}/run/export", params={"format": "parquet"})
    parquet = pyarrow.parquet.read_table(io.BytesIO(export.content))
    assert len(table) == parquet.num_rows
    assert [row["seq"] for row in table] == [str(seq) for seq in parquet["seq"].to_pylist()]

    found = await house.ok("GET", SESSIONS, params={"q": "RUN", "tag": "ü"})
    assert [s["session_id"] for s in found["sessions"]] == ["run"]
    assert found["sessions"][0]["config"] == {"nul": "\0", "inf": "Infinity"}
    await house.ok("DELETE", f"{SESSIONS}/run", 204, params={"force": "true"})
    await house.ok("GET", f"{SESSIONS}/run", 404)


async def test_a_reporters_socket_is_acknowledged_once_it_is_stored(house: House) -> None:
    await house.open_session()
    address = house.url.replace("http", "ws", 1) + "/ws/run/ingest"
    async with connect(address, compression=None) as socket:
        for episode in range(1000):
            await socket.send(json.dumps(metric(episode)))
        acked = 0
        while acked < 1000:
            acked = json.loads(await asyncio.wait_for(socket.recv(), 15))["acked"]
            assert (await house.ok("GET", f"{SESSIONS}/run"))["last_seq"] >= 1 + acked
    page = await house.history("run", type="training_metrics", limit=10_000)
    assert [row["episode"] for row in page["metrics_data"]] == list(range(1000))


async def test_two_servers_share_one_database(
    house: House, make_house: MakeHouse, postgres_url: str
) -> None:
    other = await make_house(database__url=postgres_url)
    await house.open_session()
    await other.ok("GET", f"{SESSIONS}/run")
    told = await asyncio.gather(
        *(one.batch("run", [metric(i), metric(i)]) for i in range(20) for one in (house, other))
    )
    assert sorted(t["last_seq"] for t in told) == list(range(3, 83, 2))
    for one in (house, other):
        page = await one.history("run", type="training_metrics")
        assert [row["seq"] for row in page["metrics_data"]] == list(range(2, 82))


@pytest.mark.parametrize("field", ["name", "notes", "algorithm", "training_session_id", "tags"])
async def test_nul_in_a_text_is_refused_by_name(house: House, field: str) -> None:
    value: Any = ["a\0"] if field == "tags" else "a\0"
    body = {"training_session_id": "run", "algorithm": "DQN", field: value}
    refused = await house.ok("POST", SESSIONS, 422, json=body)
    assert field in json.dumps(refused)
    await house.ok("GET", f"{SESSIONS}/a%00", 404)
    assert (await house.ok("GET", SESSIONS, params={"q": "\0", "tag": "\0"}))["total"] == 0
    await house.ok("GET", "/api/evaluations/a%00", 404)


async def test_while_the_database_is_away_everybody_is_told_to_come_back(
    house: House, postgres: Any, postgres_url: str
) -> None:
    await house.open_session()
    await house.log("run", 1, 2)
    async with house.watch("run", "?max_hz=0&since=0") as spectator:
        await spectator.records(3)
        postgres.close_doors(postgres_url)
        try:
            told = await house.http.post(f"{SESSIONS}/run/metrics", json={"episode": 3})
            assert (told.status_code, told.json()["error"]) == (503, "database_unavailable")
            assert "nothing of it was stored" in told.json()["message"]
            for path in ("/health", "/api/training/status", *(f"{SESSIONS}/run{p}" for p in PARTS)):
                told = await house.http.get(path)
                assert (told.status_code, told.json()["error"]) == (503, "database_unavailable")
                assert postgres_url.rpartition("=")[2] not in told.text
            async with house.watch("run", "?since=1") as newcomer:
                assert (await newcomer.closed())[0] == 1012
        finally:
            postgres.open_doors(postgres_url)
        assert await house.log("run", 4) == 4
        (heard,) = await spectator.records(4)
        assert heard["data"]["episode"] == 4
