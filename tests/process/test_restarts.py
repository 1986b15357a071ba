"""A server that is told to stop and started again at the same place, while everybody goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import ClientConnection, connect

from .conftest import SESSIONS, Server, count, told
from .traffic import RUN, Reporter, Watcher, assert_nothing_lost, everybody_goes_on

pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.timeout(600)]

RESTARTS = count(2, 20)
SPECTATORS = count(60, 1000)
WITHIN_SECONDS = 30.0
"""By which it fails, however slow the machine; ten are what is promised."""
ROOMY = {
    "GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_SESSION": "2000",
    "GRANDSTAND_PERFORMANCE__MAX_TOTAL_CONNECTIONS": "3000",
    "GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_ADDRESS": "3000",
}


@contextlib.contextmanager
def deaf(server: Server) -> Iterator[None]:
    """Clients that never answer: one that watches and never reads, one that holds a request, one
    whose request never ends."""
    host, port = server.url.removeprefix("http://").split(":")
    held = json.dumps({"wanted": "running", "wait_seconds": 20})
    end = f"HTTP/1.1\r\nHost: {host}\r\n"
    body = f"{end}Content-Type: application/json\r\nContent-Length:"
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    lines = (
        f"GET /ws/{RUN}?max_hz=0&since=0 {end}{upgrade}{key}\r\n",
        f"POST {SESSIONS}/{RUN}/heartbeat {body} {len(held)}\r\n\r\n{held}",
        f"POST {SESSIONS}/{RUN}/metrics {body} 4000\r\n\r\n{{",
    )
    with contextlib.ExitStack() as stack:
        for text in lines:
            line = stack.enter_context(socket.create_connection((host, int(port)), 10))
            line.sendall(text.encode())
        yield


def test_restarted_again_and_again_nothing_is_lost_or_doubled(server: Server) -> None:
    server.post(SESSIONS, {"training_session_id": RUN, "algorithm": "DQN"}, 201)
    reporters = [Reporter(server, how, socket=how == "socket") for how in ("post", "socket")]
    watchers = [Watcher(server) for _ in range(3)]
    took = []
    for _ in range(RESTARTS):
        everybody_goes_on(reporters, watchers)
        with deaf(server):
            everybody_goes_on(reporters, watchers)
            took.append(server.terminate(WITHIN_SECONDS))
        server.start()
    everybody_goes_on(reporters, watchers)
    records, last = assert_nothing_lost(server, reporters, watchers)
    for watcher in watchers:
        assert watcher.codes
        assert set(watcher.codes) <= {1012}  # nobody was cut without a word
    told(
        f"stopped and started again {RESTARTS} times beside three clients that never answer: "
        f"gone after {max(took):.1f} s at most, {records} records acknowledged, each there once, "
        f"{len(watchers)} watchers contiguous to seq {last}"
    )


def test_spectators_are_not_sent_away_in_one_instant(server: Server) -> None:
    server.kill()
    server.environment = dict(ROOMY)
    server.start()
    server.post(SESSIONS, {"training_session_id": RUN, "algorithm": "DQN"}, 201)
    address = f"{server.url.replace('http', 'ws', 1)}/ws/{RUN}"

    async def scene() -> list[tuple[int, float]]:
        async with contextlib.AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(connect(address, compression=None, open_timeout=60))
                for _ in range(SPECTATORS)
            ]

            async def end(ws: ClientConnection) -> tuple[int, float]:
                await ws.wait_closed()
                return ws.close_code or 0, time.monotonic()

            ends = [asyncio.create_task(end(ws)) for ws in sockets]
            await asyncio.to_thread(server.terminate, WITHIN_SECONDS)
            return list(await asyncio.gather(*ends))

    ends = asyncio.run(scene())
    assert {code for code, _ in ends} == {1012}
    times = [at for _, at in ends]
    told(f"{SPECTATORS} spectators were sent away over {max(times) - min(times):.1f} s")
