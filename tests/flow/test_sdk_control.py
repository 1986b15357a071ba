"""A script of somebody's own, steered like one of ours, against a whole server in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import grandstand
from grandstand.client.async_client import AsyncClient, AsyncSession
from grandstand.model.session import Status
from grandstand.server import ServerConfig, TrainingMetricsServer

from .conftest import until


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    config = ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path)
    async with (
        TrainingMetricsServer(config) as server,
        grandstand.connect_async(server) as client,
    ):
        yield client


async def ask(client: AsyncClient, session: AsyncSession, verb: str) -> None:
    await client.request("POST", f"/api/training/sessions/{session.session_id}/{verb}")


async def until_verbs(client: AsyncClient, session: AsyncSession, *verbs: str) -> None:
    async def offered() -> bool:
        return (await client.session(session.session_id)).verbs == list(verbs)

    await until(offered)


async def until_status(client: AsyncClient, session: AsyncSession, status: Status) -> None:
    async def reached() -> bool:
        return (await client.session(session.session_id)).status is status

    await until(reached)


async def test_a_loop_that_asks_is_stopped(client: AsyncClient) -> None:
    session = await client.open_session("run", algorithm="DQN")
    assert (await client.session("run")).verbs == []
    assert not session.should_stop()
    await until_verbs(client, session, "stop")
    await ask(client, session, "stop")
    episodes = 0
    while not session.should_stop():
        episodes += 1
        session.log({"current_reward": 1.0}, episode=episodes)
        assert await session.flush()
    # It came with the answer to records: whoever reports needs no other request.
    assert episodes == 1
    await session.finish("stopped", "asked to stop")
    ended = await client.session("run")
    assert (ended.status, ended.stop_reason) == (Status.STOPPED, "asked to stop")


async def test_a_loop_waits_while_it_is_paused(client: AsyncClient) -> None:
    session = await client.open_session("run", algorithm="DQN")
    heard: list[str] = []
    session.on_wish(heard.append)
    assert await session.wait_if_paused()
    await until_verbs(client, session, "pause", "stop")
    await ask(client, session, "pause")
    session.log({"current_reward": 1.0}, episode=1)
    assert await session.flush()
    assert session.wanted == "paused"
    assert await session.wait_if_paused(timeout=0.05)  # "go on, if you cannot wait"
    waiting = asyncio.create_task(session.wait_if_paused())
    await until_status(client, session, Status.PAUSED)
    assert not waiting.done()
    await ask(client, session, "resume")
    assert await asyncio.wait_for(waiting, 10) is True
    assert (await client.session("run")).status is Status.RUNNING

    await ask(client, session, "pause")
    session.log({"current_reward": 1.0}, episode=2)
    assert await session.flush()
    waiting = asyncio.create_task(session.wait_if_paused())
    await until_status(client, session, Status.PAUSED)
    await ask(client, session, "stop")
    assert await asyncio.wait_for(waiting, 10) is False
    assert session.should_stop()
    assert heard == ["paused", "running", "paused", "stopped"]
    await session.finish("stopped")
    assert (await client.session("run")).status is Status.STOPPED


async def test_a_session_deleted_while_its_script_is_paused_lets_it_go_on(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    session = await client.open_session("run", algorithm="DQN")
    assert await session.wait_if_paused()
    await until_verbs(client, session, "pause", "stop")
    await ask(client, session, "pause")
    session.log({"current_reward": 1.0}, episode=1)
    assert await session.flush()
    waiting = asyncio.create_task(session.wait_if_paused())
    await until_status(client, session, Status.PAUSED)
    await client.delete_session("run", force=True)
    with caplog.at_level(logging.WARNING, "grandstand.client"):
        assert await asyncio.wait_for(waiting, 30)


async def test_what_a_callback_raises_is_logged_and_harms_nothing(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    session = await client.open_session("run", algorithm="DQN")

    def broken(wanted: str) -> None:
        raise ZeroDivisionError(wanted)

    session.on_wish(broken)
    await until_verbs(client, session, "pause", "stop")
    await ask(client, session, "pause")
    session.log({"current_reward": 1.0}, episode=1)
    assert await session.flush()
    assert "a callback of on_wish failed" in caplog.text
    session.log({"current_reward": 2.0}, episode=2)
    assert await session.flush()
    await session.finish()
