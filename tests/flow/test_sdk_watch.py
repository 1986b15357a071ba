"""Watching, reading back and re-running from the SDK, against a whole server with real sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import grandstand
from grandstand.client.async_client import AsyncClient
from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.session import Status
from grandstand.server import ServerConfig, TrainingMetricsServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TrainingMetricsServer]:
    config = ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path)
    async with TrainingMetricsServer(config) as server:
        yield server


@pytest.fixture
async def client(server: TrainingMetricsServer) -> AsyncIterator[AsyncClient]:
    async with grandstand.connect_async(server) as client:
        yield client


async def reported(client: AsyncClient, session_id: str, episodes: int = 50) -> None:
    session = await client.open_session(session_id, algorithm="DQN")
    for i in range(1, episodes + 1):
        value = math.nan if i == 2 else float(i)
        session.log({"current_reward": value, "grad/norm": 2.0 * i}, episode=i, step=i * 10)
    session.decision({"left": 0.25, "right": 0.75}, selected_action="right")
    assert await session.finish()


async def test_every_record_comes_once_and_in_order_and_it_ends(client: AsyncClient) -> None:
    await reported(client, "run")
    events = [event async for event in client.watch("run", since=0)]
    last = (await client.session("run")).last_seq
    assert [event.seq for event in events] == list(range(1, last + 1))
    rewards = [e.data["current_reward"] for e in events if e.type == "training_metrics"]
    assert math.isnan(rewards[1])
    assert rewards[2:] == [float(i) for i in range(3, 51)]
    assert events[-1].data["status"] == "completed"


async def test_live_records_are_seen_as_they_come(client: AsyncClient) -> None:
    session = await client.open_session("live", algorithm="DQN")
    seen = []
    async with asyncio.timeout(15):
        async for event in client.watch("live", types=["training_metrics", "connection_status"]):
            if event.data.get("event") == "snapshot":
                for i in range(1, 6):
                    session.log({"a": i}, episode=i)
                finishing = asyncio.create_task(session.finish())
            elif event.seq is not None:
                seen.append(event.data["episode"])
    assert await finishing
    assert seen == [1, 2, 3, 4, 5]


async def test_the_sync_iterator(server: TrainingMetricsServer, client: AsyncClient) -> None:
    await reported(client, "sync")

    def script() -> list[int | None]:
        with grandstand.connect(server.url) as sync:
            return [event.seq for event in sync.watch("sync", since=10, decisions=False)]

    seqs = await asyncio.to_thread(script)
    assert seqs[0] == 11
    assert seqs == sorted(set(seqs), key=lambda seq: seq or 0)


async def test_no_such_session_and_no_such_type(client: AsyncClient) -> None:
    with pytest.raises(NotFound):
        async for _ in client.watch("nobody"):
            pass
    with pytest.raises(ValidationFailed, match="dance"):
        client.watch("run", types=["dance"])


async def test_history_is_exact_and_becomes_data_frames(client: AsyncClient) -> None:
    await reported(client, "run")
    told = await client.history("run")
    assert len(told) == 50
    assert told["episode"].tolist() == list(range(1, 51))
    assert told["step"].tolist() == [i * 10 for i in range(1, 51)]
    assert np.isnan(told["current_reward"][1])
    assert told["grad/norm"].tolist() == [2.0 * i for i in range(1, 51)]
    frame = told.to_pandas()
    assert frame.index.name == "episode"
    assert frame["grad/norm"].loc[7] == 14.0
    assert str(frame["timestamp"].dt.tz) == "UTC"
    assert told.to_polars()["step"].to_list() == told["step"].tolist()
    one = await client.history("run", "grad/norm", x="time")
    assert one.names == ["grad/norm"]
    assert len(one.to_pandas()) == 50
    with pytest.raises(NotFound, match="nothing"):
        await client.history("run", "nothing")
    few = await client.history("run", ["grad/norm"], x="step", max_points=10)
    assert 1 < len(few) <= 10
    assert few["grad/norm.max"].max() == 100.0
    assert few["grad/norm.min"].min() == 2.0


async def test_a_cell_may_be_run_again(client: AsyncClient) -> None:
    first = await client.open_session("cell", algorithm="DQN")
    first.log({"a": 1}, episode=1)
    again = await client.open_session("cell", algorithm="DQN")
    assert first.sync.ended is not None
    assert first.sync.ended.code == "session_reopened"
    again.log({"a": 2}, episode=2)
    assert await again.finish()
    third = await client.open_session("cell", algorithm="DQN")
    third.log({"a": 3}, episode=3)
    assert await third.finish()
    told = await client.history("cell")
    assert told["a"].tolist() == [1, 2, 3]


async def test_what_a_notebook_shows(client: AsyncClient) -> None:
    await reported(client, "card")
    session = await client.open_session("<b>", algorithm="DQN", name="<script>")
    info = await client.session("card")
    assert info.status is Status.COMPLETED
    html = await asyncio.to_thread(info._repr_html_)
    assert "<polyline" in html
    assert "episode 50" in html
    page = await client.sessions(status="all")
    assert "<script>" not in page._repr_html_()
    assert "&lt;script&gt;" in page._repr_html_()
    assert "card: completed" in repr(page)
    shown = await asyncio.to_thread(session.sync._repr_html_)
    assert "<b>&lt;b&gt;</b>" in shown
    assert "reporting" in repr(session.sync)
    assert "<polyline" in (await client.history("card"))._repr_html_()
    await session.finish()
