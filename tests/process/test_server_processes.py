"""`grandstand serve --workers N`: one port, several processes; one that dies is started again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from .conftest import SESSIONS, Server, assert_each_once, eventually

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def server(tmp_path: Path, postgres_url: str, own_redis: Any) -> Iterator[Server]:
    made = Server(tmp_path)
    made.environment = {
        "DATABASE_URL": postgres_url,
        "REDIS_URL": own_redis.url,
        "WEB_CONCURRENCY": "2",
    }
    try:
        made.start()
        yield made
    finally:
        made.end()


def processes(server: Server) -> list[psutil.Process]:
    """The server's processes, without the parent and what helps it."""
    found = []
    for child in psutil.Process(server.pid).children():
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_one_port_two_processes_and_one_killed(server: Server) -> None:
    eventually(lambda: len(processes(server)) == 2, "two processes")
    server.post(SESSIONS, {"training_session_id": "run", "algorithm": "DQN"}, 201)
    address = f"{server.url.replace('http', 'ws', 1)}/ws/run?max_hz=0&since=0"
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(connect(address, compression=None)) for _ in range(6)]
        for episode in range(20):  # a connection each, so that both processes get some
            told = httpx.post(
                f"{server.url}{SESSIONS}/run/metrics", json={"episode": episode}, timeout=30
            )
            assert told.status_code == 200
        for socket in sockets:
            seqs: list[int] = []
            while not seqs or seqs[-1] < 21:
                message = json.loads(socket.recv(30))
                if message["seq"] is not None:
                    seqs.append(message["seq"])
            assert seqs == list(range(1, 22))

    victim = processes(server)[0]
    victim.kill()
    eventually(
        lambda: len(now := processes(server)) == 2 and victim.pid not in {p.pid for p in now},
        "another in its place",
    )
    assert server.session("run")["last_seq"] == 21
    assert server.interrupt(45) == 0
    assert server.workers() == []


def test_the_process_that_takes_trainings_killed(server: Server) -> None:
    """Its worker goes on, reports to the others, and the next one finds it still at work."""
    session_id = server.train(num_episodes=2000, pace=200)
    server.until_episode(session_id, 100)
    worker = server.worker()
    supervisor = worker.parent()
    assert supervisor is not None
    supervisor.kill()
    eventually(
        lambda: len(now := processes(server)) == 2 and supervisor.pid not in {p.pid for p in now},
        "another in its place",
    )
    assert server.until_episode(session_id, 1000)["attempt"] == 1
    assert [p.pid for p in server.workers()] == [worker.pid]
    # Ctrl-C sees it out, as if it had been this one's from the beginning.
    assert server.interrupt(45) == 0
    assert server.workers() == []
    server.start()
    server.until(session_id, "completed")
    assert_each_once(server, session_id, 2000)


def test_the_parent_killed_takes_all_with_it(server: Server) -> None:
    family = processes(server)
    server.kill()
    eventually(lambda: not any(p.is_running() for p in family), "the others gone")
    server.start()  # at the same port
    assert len(processes(server)) == 2
