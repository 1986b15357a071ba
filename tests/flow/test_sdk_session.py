"""The SDK against a whole server in this process: what a script reports is what people see."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import grandstand
from grandstand.client.async_client import AsyncClient
from grandstand.errors import Conflict, GrandstandError, NotFound
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


async def history(client: AsyncClient, session_id: str, **query: Any) -> dict[str, Any]:
    asked = "&".join(f"{k}={v}" for k, v in query.items())
    return dict(await client.request("GET", f"/api/training/sessions/{session_id}/history?{asked}"))


async def test_what_is_logged_is_what_the_server_has(client: AsyncClient) -> None:
    session = await client.open_session(
        "my run/1", algorithm="DQN", total_episodes=50, tags=["x"], config={"lr": 0.5}
    )
    for i in range(1, 51):
        session.log(
            {
                "current_reward": float(i),
                "loss_value": math.nan,
                "grad/norm": 2 * i,
                "step": i * 10,
            },
            episode=i,
        )
    session.decision({"left": 0.25, "right": 0.75}, selected_action="right", confidence_score=0.5)
    session.graph("g", {"m": [1.0, 2.0]}, title="G")
    assert await session.flush()
    seen = await client.session(session.session_id)
    assert seen.training_session_id == "my run/1"
    assert seen.session_id == session.session_id
    assert seen.status is Status.RUNNING
    assert seen.current_episode == 50
    assert seen.config == {"lr": 0.5}
    assert seen.latest is not None
    assert seen.latest["current_reward"] == 50
    assert seen.latest["loss_value"] == "NaN"
    assert seen.latest["extra"] == {"grad/norm": 100}
    told = await history(client, session.session_id, limit=1000)
    assert [m["episode"] for m in told["metrics_data"]] == list(range(1, 51))
    assert [m["step"] for m in told["metrics_data"]] == [i * 10 for i in range(1, 51)]
    assert told["bot_decisions"][0]["selected_action"] == "right"
    assert len(told["graph_data"]) == 1
    assert await session.finish("stopped", "enough")
    ended = await client.session(session.session_id)
    assert ended.status is Status.STOPPED
    assert ended.stop_reason == "enough"


async def test_ids_are_taken_once_unless_resumed(client: AsyncClient) -> None:
    first = await client.open_session("run", algorithm="DQN")
    first.log({"a": 1}, episode=1)
    await first.finish()
    with pytest.raises(Conflict):  # as another process asks: this one may go on, see test_sdk_watch
        await client.request(
            "POST",
            "/api/training/sessions",
            {"training_session_id": "run", "algorithm": "DQN"},
        )
    again = await client.open_session("run", algorithm="DQN", resume=True)
    again.log({"a": 2}, episode=2)
    assert await again.finish()
    told = await history(client, "run")
    assert [m["episode"] for m in told["metrics_data"]] == [1, 2]


async def test_a_session_deleted_under_a_script_does_not_disturb_it(client: AsyncClient) -> None:
    session = await client.open_session("gone", algorithm="DQN")
    await client.delete_session("gone")
    session.log({"a": 1})
    assert not await session.flush(10)
    session.log({"a": 2})
    assert isinstance(session.sync.ended, GrandstandError)
    with pytest.raises(NotFound):
        await client.session("gone")


async def test_the_crash_of_a_script_is_shown(client: AsyncClient) -> None:
    with pytest.raises(RuntimeError):
        async with await client.open_session("crash", algorithm="DQN"):
            raise RuntimeError("out of cheese")
    seen = await client.session("crash")
    assert seen.status is Status.FAILED
    assert seen.error is not None
    assert seen.error["type"] == "RuntimeError"
    assert "out of cheese" in seen.error["traceback"]


async def test_sessions_are_listed_and_changed(client: AsyncClient) -> None:
    for name in ("a", "b"):
        session = await client.open_session(name, algorithm="DQN")
        await session.finish()
    page = await client.sessions(status="all", limit=1)
    assert page.total == 2
    assert page.next_cursor is not None
    changed = await client.update_session("a", name="A", tags=["t"])
    assert (changed.name, changed.tags) == ("A", ["t"])


async def test_columnar_rows_and_keys(client: AsyncClient) -> None:
    session = await client.open_session("c", algorithm="PPO")
    for _ in range(2):
        session.columns(
            {"episode": [1, 2, 3], "current_reward": [1.0, math.nan, 3.0]},
            extra={"x": [1, 2, 3]},
            key="update 1",
        )
        assert await session.flush()
    told = await history(client, "c")
    assert [m["current_reward"] for m in told["metrics_data"]] == [1.0, "NaN", 3.0]
    await session.finish()


async def test_the_sync_sdk_over_http_beside_it(server: TrainingMetricsServer) -> None:
    def script() -> int:
        with grandstand.open_session("sync", algorithm="DQN", url=server.url) as session:
            for i in range(1000):
                session.log({"a": i}, episode=i)
        return session.sent

    assert await asyncio.to_thread(script) == 1000


async def test_a_sync_call_from_the_servers_own_loop_says_what_to_do(
    server: TrainingMetricsServer,
) -> None:
    with pytest.raises(GrandstandError, match="event loop") as caught:
        grandstand.connect(server).status()
    assert "connect_async" in caught.value.detail


async def test_the_training_verbs_when_nothing_runs(client: AsyncClient) -> None:
    assert (await client.status())["status"] == "idle"
    with pytest.raises(GrandstandError, match="no training is running"):
        await client.stop_training()
    with pytest.raises(NotFound):
        await client.start_training("no_such_scenario")


def test_a_bare_app_is_started_and_ended_with_its_client(tmp_path: Path) -> None:
    config = ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path)
    with grandstand.connect(TrainingMetricsServer(config).app) as client:
        with client.open_session("bare", algorithm="DQN") as session:
            session.log({"a": 1}, episode=3)
        assert client.session("bare").current_episode == 3
        assert client.session("bare").status is Status.COMPLETED
