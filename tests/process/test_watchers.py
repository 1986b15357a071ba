"""Many who watch: all come back after a restart, none is held up by one who never reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import psutil
import pytest
from websockets.asyncio.client import connect

from .conftest import SESSIONS, Server, count, told

ROOMY = {
    "GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_SESSION": "2000",
    "GRANDSTAND_PERFORMANCE__MAX_TOTAL_CONNECTIONS": "3000",
    "GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_ADDRESS": "3000",
}
BOUND_SECONDS = 90.0


@pytest.fixture
def roomy(server: Server) -> Server:
    server.kill()
    server.environment = dict(ROOMY)
    server.start()
    body = {"training_session_id": "run", "algorithm": "DQN"}
    server.post(SESSIONS, body, 201)
    return server


def log(server: Server, episodes: range) -> int:
    seq = 0
    for episode in episodes:
        body = {"episode": episode, "current_reward": episode / 7}
        seq = server.post(f"{SESSIONS}/run/metrics", body)["seq"]
    return seq


def address(server: Server, query: str) -> str:
    return f"{server.url.replace('http', 'ws', 1)}/ws/run{query}"


class Watcher:
    """Remembers the last seq it had, and comes back for what follows."""

    def __init__(self) -> None:
        self.seq = 0
        self.seen: list[int] = []
        self.lost = 0

    async def watch(self, server: Server, until: int) -> None:
        """Connect and read until `until` has come."""
        async with connect(
            address(server, f"?max_hz=0&since={self.seq}"), compression=None, open_timeout=60
        ) as ws:
            while self.seq < until:
                message = json.loads(await ws.recv())
                data = message["data"]
                if data.get("event") == "recovered" and not data["recovered"]:
                    self.lost += 1
                    self.seq = data["last_seq"]
                if message["seq"] is not None:
                    self.seen.append(message["seq"])
                    self.seq = message["seq"]


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(300)
def test_everybody_comes_back_at_once_after_a_restart_and_has_it_all(roomy: Server) -> None:
    missed = 100
    watchers = [Watcher() for _ in range(count(60, 1000))]
    # Each was somewhere else when the server died.
    last = log(roomy, range(1, 31))
    for i, watcher in enumerate(watchers):
        watcher.seq = last - i % 20
    starts = [watcher.seq for watcher in watchers]
    roomy.kill()
    roomy.start()
    last = log(roomy, range(31, 31 + missed))

    async def storm() -> float:
        begun = time.perf_counter()
        async with asyncio.timeout(BOUND_SECONDS):
            await asyncio.gather(*(watcher.watch(roomy, last) for watcher in watchers))
        return time.perf_counter() - begun

    took = asyncio.run(storm())
    whole = 0
    for watcher, start in zip(watchers, starts, strict=True):
        if watcher.lost:
            continue
        assert watcher.seen == list(range(start + 1, last + 1))
        whole += 1
    assert whole == len(watchers)  # all of it is stored, so nobody is told otherwise
    told(
        f"{len(watchers)} came back at once, {missed} to {missed + 19} missed: all have every "
        f"message once, {took:.2f} s (clients in Python on the same two cores)"
    )


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(180)
def test_one_who_never_reads_costs_the_others_nothing(roomy: Server) -> None:
    others = [Watcher() for _ in range(count(10, 100))]
    rows = 250
    steps = count(40, 60)

    async def scene() -> tuple[float, int]:
        process = psutil.Process(roomy.pid)
        deaf = _deaf(roomy)
        before = process.memory_info().rss
        begun = time.perf_counter()
        async with asyncio.timeout(BOUND_SECONDS):
            watching = [asyncio.create_task(w.watch(roomy, 1 + rows * steps)) for w in others]
            for step in range(steps):
                episodes = list(range(step * rows, (step + 1) * rows))
                columns = {"episode": episodes, "current_reward": [e / 7 for e in episodes]}
                record = {"type": "training_metrics", "columns": columns}
                await asyncio.to_thread(
                    roomy.post, f"{SESSIONS}/run/records", {"records": [record]}
                )
            await asyncio.gather(*watching)
            held = process.memory_info().rss - before
            # Then it is let go: reading on, it finds the end of the line.
            closed = await asyncio.to_thread(_until_closed, deaf)
            assert closed
        return time.perf_counter() - begun, held

    took, held = asyncio.run(scene())
    for watcher in others:
        assert watcher.lost == 0
        assert watcher.seen == list(range(1, 2 + rows * steps))
    told(
        f"one never read while {len(others)} others got {rows * steps} messages each in "
        f"{took:.1f} s; the server's memory grew by {held / 1e6:.1f} MB in all"
    )


def _deaf(server: Server) -> socket.socket:
    """A spectator that shakes hands and never reads again."""
    host, port = server.url.removeprefix("http://").split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.connect((host, int(port)))
    line.sendall(
        b"GET /ws/run?max_hz=0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n\r\n"
    )
    assert line.recv(12) == b"HTTP/1.1 101"
    return line


def _until_closed(line: socket.socket) -> bool:
    """Read whatever still comes; True once the server has hung up."""
    line.settimeout(30)
    with contextlib.suppress(ConnectionResetError):
        while line.recv(65536):
            pass
    line.close()
    return True
