"""Two instances on one PostgreSQL and one Redis, each of the four killed under load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import SESSIONS, Server, count, told
from .traffic import RUN, Reporter, Watcher, assert_nothing_lost, everybody_goes_on

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.proof, pytest.mark.timeout(600)]

ROUNDS = count(1, 8)


@pytest.fixture
def servers(tmp_path: Path, own_postgres: Any, own_redis: Any) -> Iterator[list[Server]]:
    url = own_postgres.create()
    made = []
    for name in ("a", "b"):
        home = tmp_path / name
        home.mkdir()
        server = Server(home)
        server.environment = {"DATABASE_URL": url, "REDIS_URL": own_redis.url}
        made.append(server)
    try:
        for server in made:
            server.start()
        yield made
    finally:
        for server in made:
            server.end()


def test_each_of_the_four_killed_under_load(
    servers: list[Server], own_postgres: Any, own_redis: Any
) -> None:
    a, b = servers
    a.post(SESSIONS, {"training_session_id": RUN, "algorithm": "DQN"}, 201)
    reporters = [
        Reporter(server, f"{name}-{how}", socket=how == "socket")
        for name, server in (("a", a), ("b", b))
        for how in ("post", "socket")
    ]
    watchers = [Watcher(server) for server in (a, b) for _ in range(2)]

    def kill_server(server: Server, others: list[Reporter]) -> None:
        server.kill()
        everybody_goes_on(others, watchers)
        server.start()

    def kill_redis() -> None:
        own_redis.stop()
        everybody_goes_on(reporters, watchers)  # acknowledged whether or not it is there
        own_redis.start()

    def kill_postgres() -> None:
        own_postgres.stop()
        own_postgres.start()

    blows: list[Callable[[], None]] = [
        lambda: kill_server(a, reporters[2:]),
        lambda: kill_server(b, reporters[:2]),
        kill_redis,
        kill_postgres,
    ]
    everybody_goes_on(reporters, watchers)
    for _ in range(ROUNDS):
        for blow in blows:
            blow()
            everybody_goes_on(reporters, watchers)
            give_an_order(a, b)
    records, last = assert_nothing_lost(a, reporters, watchers)
    told(
        f"two instances, PostgreSQL and Redis killed {ROUNDS} times each: {records} records "
        f"acknowledged, each there once, {len(watchers)} watchers contiguous to seq {last}"
    )


def give_an_order(a: Server, b: Server) -> None:
    """One given at B answers the request held at A."""
    answers: list[Any] = []

    a.post(f"{SESSIONS}/{RUN}/heartbeat", {"wanted": "running", "listens": ["pause", "stop"]})

    def ask() -> None:
        body = {"wanted": "running", "wait_seconds": 20}
        answers.append(a.post(f"{SESSIONS}/{RUN}/heartbeat", body))

    seen = a.session(RUN)["wanted"]
    assert seen == "running"
    asking = threading.Thread(target=ask)
    asking.start()
    b.post(f"{SESSIONS}/{RUN}/pause")
    asking.join(15)
    assert answers
    assert answers[0]["wanted"] == "paused"
    b.post(f"{SESSIONS}/{RUN}/resume")
