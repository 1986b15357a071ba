"""What was acknowledged is stored, once: however often the server or its database is killed.

Two reporters fill one session with batches as fast as they are taken. Whatever is not acknowledged
they send again under the same `batch_id` or `key`, as docs/wire.md asks of every reporter.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import count as numbers
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from .conftest import SESSIONS, Server, assert_each_once, count, eventually, told

SEED = 20261125
WINDOW = 16
"""Frames that are on their way at once on a reporter's socket."""
MOST_ROWS = 20
AGAIN_SECONDS = 0.02
AWAY = (OSError, httpx.TransportError, WebSocketException)
POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)


class Reporter(threading.Thread):
    """Sends batches until it is told to end, and then until all it began is acknowledged.

    Attributes:
        acked: of each acknowledged batch its number and its episodes.
        refused: how often it was told to come back later, or found nobody.
        wrong: what an answer said that it should never say.
    """

    def __init__(self, server: Server, number: int, way: str) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.acked: dict[int, list[int]] = {}
        self.refused = 0
        self.wrong: str | None = None
        self._url = server.url
        self._report = self._by_post if way == "post" else self._by_socket
        self._keys = way == "keys"
        self._random = random.Random(f"{SEED} {number}")
        self._numbers = numbers()
        self._episode = 0
        self._waiting: deque[tuple[int, list[int]]] = deque()
        self._ending = threading.Event()
        self._pause = threading.Event()

    def run(self) -> None:
        while self.wrong is None and not (self._ending.is_set() and not self._waiting):
            try:
                self._report()
            except AWAY:
                self.refused += 1
                self._pause.wait(AGAIN_SECONDS)

    def end(self) -> None:
        """Return once everything is acknowledged."""
        self._ending.set()
        self.join(60)
        assert not self.is_alive()

    def _by_post(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while self._fill(1):
                number, episodes = self._waiting[0]
                answer = client.post(f"{SESSIONS}/run/records", json=self._body(number, episodes))
                if answer.status_code == 503:
                    self.refused += 1
                    self._pause.wait(AGAIN_SECONDS)
                    continue
                if answer.status_code != 200:
                    self.wrong = answer.text
                    return
                self._acknowledged(1)

    def _by_socket(self) -> None:
        address = self._url.replace("http", "ws", 1) + "/ws/run/ingest"
        with connect(address, compression=None) as socket:
            sent = answered = acked = 0
            frames_of: deque[int] = deque()
            while self._fill(WINDOW):
                for number, episodes in list(self._waiting)[sent - acked :]:
                    frames = self._frames(number, episodes)
                    for frame in frames:
                        socket.send(json.dumps(frame))
                    frames_of.append(len(frames))
                    sent += 1
                answer = json.loads(socket.recv(30))
                if "error" in answer:
                    if answer["error"] not in ("database_unavailable", "outcome_unknown"):
                        self.wrong = str(answer)
                    self.refused += 1
                    return
                while frames_of and answered + frames_of[0] <= answer["frames"]:
                    answered += frames_of.popleft()
                    acked += 1
                    self._acknowledged(1)

    def _frames(self, number: int, episodes: list[int]) -> list[dict[str, Any]]:
        """A batch as one frame, or a frame for each record, under a key of its own."""
        if not self._keys:
            return [self._body(number, episodes)]
        return [
            {
                "type": "training_metrics",
                "data": {"episode": episode, "extra": {"reporter": self.number}},
                "key": f"{self.number}-{episode}",
            }
            for episode in episodes
        ]

    def _fill(self, many: int) -> bool:
        """Have so many batches waiting, if there shall be more; whether there is one at all."""
        while len(self._waiting) < many and not self._ending.is_set():
            rows = self._random.randint(1, MOST_ROWS)
            episodes = list(range(self._episode, self._episode + rows))
            self._episode += rows
            self._waiting.append((next(self._numbers), episodes))
        return bool(self._waiting)

    def _body(self, number: int, episodes: list[int]) -> dict[str, Any]:
        if number % 2:
            who: Any = {"reporter": [self.number] * len(episodes)}
            told: list[Any] = [{"columns": {"episode": episodes, "extra": who}}]
        else:
            who = {"reporter": self.number}
            told = [{"data": {"episode": episode, "extra": who}} for episode in episodes]
        records = [{"type": "training_metrics", **record} for record in told]
        return {"records": records, "batch_id": f"{self.number}-{number}"}

    def _acknowledged(self, many: int) -> None:
        for _ in range(many):
            number, episodes = self._waiting.popleft()
            self.acked[number] = episodes


@pytest.fixture(params=["sqlite", POSTGRES])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server on each kind of database, with a session to report into."""
    running = Server(tmp_path)
    with contextlib.ExitStack() as stack:
        if request.param == "postgres":
            database = request.getfixturevalue("own_postgres")
            url = database.create()
            stack.callback(database.drop, url)
            running.environment = {"DATABASE_URL": url}
        stack.callback(running.end)
        running.start()
        running.post(SESSIONS, {"training_session_id": "run", "algorithm": "DQN"}, 201)
        yield running


@contextlib.contextmanager
def reporting(server: Server, way: str) -> Iterator[list[Reporter]]:
    """Two reporters at work; at the end everything they began is acknowledged."""
    reporters = [Reporter(server, number, way) for number in range(2)]
    for reporter in reporters:
        reporter.start()
    try:
        yield reporters
    finally:
        for reporter in reporters:
            reporter.end()


def until_more(reporters: list[Reporter], batches: int) -> None:
    """Return once each reporter has had so many more batches acknowledged."""
    goals = [len(reporter.acked) + batches for reporter in reporters]

    def reached() -> bool:
        for reporter in reporters:
            assert reporter.wrong is None, reporter.wrong
        return all(len(r.acked) >= goal for r, goal in zip(reporters, goals, strict=True))

    eventually(reached, f"{batches} more batches each")


def check(server: Server, reporters: list[Reporter]) -> int:
    """Each acknowledged record is stored once, in its reporter's order; seqs have no gap."""
    rows = server.history("run", "training_metrics")
    for reporter in reporters:
        assert reporter.wrong is None
        stored = [r["episode"] for r in rows if r["extra"]["reporter"] == reporter.number]
        assert stored == [e for _, episodes in sorted(reporter.acked.items()) for e in episodes]
        assert stored == list(range(len(stored)))
    events = server.history("run", "training_status")
    seqs = sorted(item["seq"] for item in (*rows, *events))
    assert seqs == list(range(1, server.session("run")["last_seq"] + 1))
    series = server.get(f"{SESSIONS}/run/series", metrics="reporter")
    assert series["series"]["reporter"]["points"] == len(rows)
    return len(rows)


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["post", "socket", "keys"])
def test_a_server_killed_under_load_has_all_that_it_acknowledged(server: Server, way: str) -> None:
    kills = count(3, 50)  # four ways, so a dozen in all
    chance = random.Random(SEED)
    down = 0.0
    with reporting(server, way) as reporters:
        for _ in range(kills):
            until_more(reporters, chance.randint(1, 30))
            begun = time.perf_counter()
            server.kill()
            server.start()
            down += time.perf_counter() - begun
        until_more(reporters, 5)
    stored = check(server, reporters)
    kind = "PostgreSQL" if server.environment else "SQLite"
    told(
        f"{kind}, by {way}: {kills} kills under load, {sum(len(r.acked) for r in reporters)} "
        f"batches acknowledged, their {stored} records stored once each, no gap in the seqs; "
        f"back after {down / kills:.2f} s"
    )


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", [POSTGRES], indirect=True)
@pytest.mark.parametrize("way", ["post", "socket"])
def test_a_server_goes_on_by_itself_when_its_database_comes_back(
    server: Server, own_postgres: Any, way: str
) -> None:
    stops = count(2, 20)
    chance = random.Random(SEED)
    before = server.pid
    with reporting(server, way) as reporters:
        for _ in range(stops):
            until_more(reporters, chance.randint(1, 30))
            refused = [reporter.refused for reporter in reporters]
            own_postgres.stop()
            try:
                eventually(
                    lambda refused=refused: all(
                        r.refused > n for r, n in zip(reporters, refused, strict=True)
                    ),
                    "both reporters are told to come back later",
                )
                assert server.api.get(f"{SESSIONS}/run").status_code == 503
            finally:
                own_postgres.start()
        until_more(reporters, 5)
    assert server.pid == before
    stored = check(server, reporters)
    told(
        f"PostgreSQL stopped {stops} times under load by {way}: "
        f"{sum(len(r.acked) for r in reporters)} batches acknowledged, their {stored} records "
        "stored once each; the server went on by itself"
    )


@pytest.mark.slow
@pytest.mark.parametrize("server", [POSTGRES], indirect=True)
def test_a_training_whose_server_and_worker_are_killed_goes_on(server: Server) -> None:
    session_id = server.train(num_episodes=800, pace=400, save_interval=100)
    eventually(lambda: server.checkpoints(session_id), "a checkpoint")
    worker = server.worker()
    server.kill()
    worker.kill()
    eventually(lambda: not server.workers(), "the worker is gone")
    server.start()
    assert server.until(session_id, "completed")["attempt"] == 2
    assert_each_once(server, session_id, 800)
