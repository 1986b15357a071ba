"""So many live connections: of a session, from an address, of all; whatever they speak."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from grandstand.assembly import build
from grandstand.settings import load_settings
from grandstand.web.app import make_app
from grandstand.web.beside import Beside

from .conftest import BOUND_SECONDS, SESSIONS, House, MakeHouse, Spectator


@contextlib.asynccontextmanager
async def socketio(url: str) -> AsyncIterator[tuple[ClientConnection, str]]:
    """A Socket.IO client that has asked to connect, and the answer it got."""
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    async with connect(address) as client:
        await client.recv()  # Engine.IO's greeting
        await client.send("40")
        answer = await asyncio.wait_for(client.recv(), BOUND_SECONDS)
        yield client, str(answer)


async def refused(spectator: Spectator) -> str:
    code, reason = await spectator.closed()
    assert code == 4429
    seconds, _, sentence = reason.partition(" seconds: ")
    assert float(seconds) > 0
    return sentence


async def test_an_address_has_so_many_connections_of_every_kind(make_house: MakeHouse) -> None:
    house = await make_house(serving=True, performance__max_connections_per_address=3)
    await house.open_session()
    async with contextlib.AsyncExitStack() as stack:
        spectator = await stack.enter_async_context(house.watch("run"))
        await spectator.next()
        reporter = await stack.enter_async_context(house.watch("run/ingest"))
        await reporter.say(type="training_metrics", data={"episode": 1})
        assert (await reporter.next())["acked"] == 1
        _, answer = await stack.enter_async_context(socketio(house.url))
        assert answer.startswith("40{")
        assert house.assembly.hub.connections == 3

        for path in ("run", "run/ingest"):
            async with house.watch(path) as further:
                sentence = await refused(further)
                assert sentence == "127.0.0.1 has 3 live connections, which is the limit"
        async with socketio(house.url) as (_, answer):
            assert answer.startswith("44")
            assert json.loads(answer[2:])["data"] == "address_full"
        # A reporter is no spectator.
        assert (await house.ok("GET", f"{SESSIONS}/run"))["spectator_count"] == 1

        await reporter.socket.close()

        async def room_again() -> bool:
            return house.assembly.hub.connections == 2

        await house.until(room_again)
        async with house.watch("run") as third:
            assert (await third.next())["data"]["event"] == "snapshot"


@pytest.mark.parametrize("trusted", [True, False])
async def test_behind_a_trusted_proxy_each_client_has_its_own_address(
    tmp_path: Path, trusted: bool
) -> None:
    settings = load_settings(
        env={},
        flags={
            "data_storage_path": str(tmp_path),
            "port": 0,
            "performance.max_connections_per_address": 1,
            "trusted_proxies": ["127.0.0.1"] if trusted else [],
        },
    )
    assembly = build(settings)
    app = make_app(assembly)
    server = Beside(settings, assembly, app)
    await server.open()
    house = House(assembly, app)
    try:
        house.url = server.url
        await house.open_session()
        address = server.url.replace("http", "ws", 1) + "/ws/run"
        async with contextlib.AsyncExitStack() as stack:

            async def come(forwarded: str) -> Spectator:
                headers = {"X-Forwarded-For": forwarded}
                opened = connect(address, additional_headers=headers, compression=None)
                return Spectator(await stack.enter_async_context(opened))

            assert (await (await come("10.0.0.1")).next())["data"]["event"] == "snapshot"
            if trusted:
                assert (await refused(await come("10.0.0.1"))).startswith("10.0.0.1 has 1")
                assert (await (await come("10.0.0.2")).next())["data"]["event"] == "snapshot"
            else:  # whoever says so itself is not believed
                assert (await refused(await come("10.0.0.2"))).startswith("127.0.0.1 has 1")
    finally:
        await house.http.aclose()
        await server.aclose()
