"""A server that trains nothing itself, and machines that do: one of them dies in the midst.

A machine is `grandstand supervise` in a folder of its own, which shares nothing with the server but
the network.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import MARK, Server, assert_each_once, count, eventually, told, workers_of
from .exact import EPISODES, Whole, hash_of, records, run_through

pytestmark = pytest.mark.slow


class Machine:
    """`grandstand supervise` and its workers."""

    def __init__(self, server: Server, folder: Path, *words: str) -> None:
        self.home = folder
        folder.mkdir()
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "grandstand", "supervise", "--server", server.url, *words],
            cwd=folder,
            env=os.environ | {MARK: str(folder), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self._lines[-60:])

    def workers(self) -> list[psutil.Process]:
        return workers_of(self.home)

    def die(self) -> None:
        """As a machine does: everything on it at once."""
        self.process.kill()
        workers = self.workers()
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=10)
        self.wait(10)

    def leave(self) -> int:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(30)

    def wait(self, within: float) -> int:
        code = self.process.wait(within)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


StartMachine = Callable[..., Machine]


@pytest.fixture
def house(server: Server) -> Server:
    """A server that leaves all trainings to other machines."""
    server.environment = {
        "GRANDSTAND_TRAINING__MAX_CONCURRENT_TRAININGS": "0",
        "GRANDSTAND_TRAINING__MAX_ATTEMPTS": "1000",
    }
    server.kill()
    server.start()
    return server


@pytest.fixture
def machine(house: Server, tmp_path: Path) -> Iterator[StartMachine]:
    """Starts machines; at the end nothing of them is left."""
    started: list[Machine] = []

    def start(name: str, *words: str) -> Machine:
        started.append(Machine(house, tmp_path / name, "--name", name, *words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.die()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return run_through(tmp_path_factory.mktemp("whole"))


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_a_machine_that_dies_loses_no_training(
    house: Server, machine: StartMachine, whole: Whole
) -> None:
    session_id = house.train(num_episodes=EPISODES, pace=400, save_interval=50, queue=True)
    deaths = count(1, 10)
    for number in range(deaths):
        dying = machine(f"box-{number}")
        house.until_episode(session_id, EPISODES * (number + 1) // (deaths + 2))
        eventually(lambda: house.checkpoints(session_id), "a checkpoint on the server")
        dying.die()
    last = machine("last-box")
    house.until(session_id, "completed")
    assert_each_once(house, session_id, EPISODES)
    assert hash_of(house, session_id) == whole[0]
    assert records(house, session_id) == whole[1]
    model = house.get(f"/api/models/{session_id}")
    assert set(model["files"]) == {
        "bologna_coppia_high_agent.pt",
        "bologna_coppia_low_agent.pt",
        "bologna_coppia_history.json",
    }
    assert last.leave() == 0
    names = {one["name"]: one["living"] for one in house.get("/api/supervisors")["supervisors"]}
    assert "last-box" not in names
    assert names["box-0"] is False
    told(f"{deaths} machines died under one training: hash and history as if none had")


@pytest.mark.timeout(300)
def test_ctrl_c_and_a_drain_hand_a_training_over(house: Server, machine: StartMachine) -> None:
    session_id = house.train(num_episodes=60_000, save_interval=1000, queue=True)
    first = machine("first")
    house.until_episode(session_id, 100)
    assert first.leave() == 0
    house.until(session_id, "queued")
    assert house.checkpoints(session_id), "it left without a checkpoint"
    at = house.session(session_id)["current_episode"]
    assert "first" not in [one["name"] for one in house.get("/api/supervisors")["supervisors"]]

    second = machine("second")
    house.until_episode(session_id, at + 1)
    drained = house.api.patch("/api/supervisors/second", json={"draining": True})
    assert drained.status_code == 200
    waiting = house.train(num_episodes=500, queue=True)
    house.post(f"/api/training/sessions/{session_id}/stop")
    house.until(session_id, "stopped")
    assert second.wait(30) == 0, second.output
    assert house.session(waiting)["status"] == "queued"

    third = machine("third", "--label", "fast")
    house.until(waiting, "completed")
    assert third.leave() == 0
