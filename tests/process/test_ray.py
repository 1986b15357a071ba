"""Trainings as jobs of a real Ray cluster: they learn the same, obey, survive, tell what happened.

Ray is an extra of its own (`pip install "grandstand[ray]"`), so this runs in `make proof`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .conftest import MARK, Server, assert_each_once, eventually, told, workers_of
from .exact import EPISODES, Whole, hash_of, records, run_through

pytest.importorskip("ray.job_submission", reason="Ray is an extra of its own")
pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.timeout(900)]

PORT = 8266
RAY = Path(sys.executable).with_name("ray")


def quietly(words: list[str], **how: Any) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, **how)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one node, which has what the tests' own Python has; gives its address."""
    folder = tmp_path_factory.mktemp("ray")
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", MARK: str(folder)}
    words = [str(RAY), "start", "--head", "--num-cpus=2", "--disable-usage-stats"]
    words += [f"--dashboard-port={PORT}", "--port=6399", "--include-dashboard=true"]
    quietly(words, cwd=folder, env=environment)
    yield f"http://127.0.0.1:{PORT}"
    quietly([str(RAY), "stop", "--force"], env=environment)


@pytest.fixture
def house(server: Server, cluster: str) -> Server:
    """A server whose trainings run there."""
    server.environment = {
        "GRANDSTAND_TRAINING__LAUNCHER": "ray",
        "GRANDSTAND_TRAINING__RAY_ADDRESS": cluster,
        "GRANDSTAND_TRAINING__RAY_PYTHON": sys.executable,
        "GRANDSTAND_TRAINING__MAX_ATTEMPTS": "20",
        "RAY_AUTH_MODE": "disabled",
    }
    server.kill()
    server.start()
    return server


def workers(session_id: str) -> list[psutil.Process]:
    """The processes that Ray runs for a session."""
    return workers_of(f"session:{session_id}", "GRANDSTAND_TASK")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return run_through(tmp_path_factory.mktemp("whole"))


def test_ray_and_a_child_process_learn_the_same(house: Server, whole: Whole) -> None:
    session_id = house.train(num_episodes=EPISODES, save_interval=50)
    house.until_episode(session_id, 1)  # a job takes its time to begin
    house.until(session_id, "completed")
    assert_each_once(house, session_id, EPISODES)
    assert hash_of(house, session_id) == whole[0]
    assert records(house, session_id) == whole[1]
    assert house.get(f"/api/models/{session_id}")["name"] == "bologna_coppia"
    told("a job of Ray and a child process: hashes and histories equal")


def test_a_job_obeys_and_survives(house: Server, whole: Whole) -> None:
    path = "/api/training/sessions"
    session_id = house.train(num_episodes=EPISODES, pace=300, save_interval=50)
    house.until_episode(session_id, 100)
    house.post(f"{path}/{session_id}/pause")
    house.until(session_id, "paused")
    house.post(f"{path}/{session_id}/resume")
    house.until_episode(session_id, 300)
    # Killed on its node.
    for process in eventually(lambda: workers(session_id), "a job"):
        process.send_signal(signal.SIGKILL)
    house.until_episode(session_id, 500)
    # The server is killed; the job goes on, and the next server finds it.
    before = [process.pid for process in eventually(lambda: workers(session_id), "a job")]
    house.kill()
    house.start()
    house.until_episode(session_id, 800)
    assert [process.pid for process in workers(session_id)] == before
    # Asked to end: the job takes a checkpoint and leaves, and goes on with the next server.
    assert house.interrupt(20) == 0
    eventually(lambda: not workers(session_id), "the job has left")
    house.start()
    house.until_episode(session_id, 801)
    house.until(session_id, "completed")
    assert_each_once(house, session_id, EPISODES)
    assert hash_of(house, session_id) == whole[0]
    assert records(house, session_id) == whole[1]
    told("a job of Ray paused, killed, outliving its server, handed over: hash and history equal")


def test_what_a_job_printed_is_told_when_it_ends_without_a_word(house: Server) -> None:
    house.environment |= {"GRANDSTAND_TRAINING__MAX_ATTEMPTS": "1"}
    house.kill()
    house.start()
    session_id = house.train(num_episodes=EPISODES, pace=50)
    house.until_episode(session_id, 10)
    for process in eventually(lambda: workers(session_id), "a job"):
        process.send_signal(signal.SIGKILL)
    session = eventually(
        lambda: s if (s := house.session(session_id))["status"] == "failed" else None, "failed"
    )
    assert "Ray says failed" in session["error"]["message"]
    assert any("grandstand" in line for line in session["error"]["last_output"])


def ranks() -> list[psutil.Process]:
    """The tasks of the cluster that are ranks."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or ()).startswith("ray::rank 1 of 2")
    ]


def test_ranks_are_tasks_of_the_cluster(house: Server, tmp_path: Path) -> None:
    whole = run_through(tmp_path, ranks=2)
    session_id = house.train(num_episodes=EPISODES, save_interval=50, pace=300, ranks=2)
    house.until_episode(session_id, 100)
    (rank,) = ranks()
    assert rank.environ()["GRANDSTAND_TOKEN"] == ""
    house.post(f"/api/training/sessions/{session_id}/pause")
    house.until(session_id, "paused")
    house.post(f"/api/training/sessions/{session_id}/resume")
    house.until_episode(session_id, 300)
    eventually(lambda: house.checkpoints(session_id), "a checkpoint")
    rank.kill()
    eventually(lambda: house.events(session_id, "rank_lost"), "news of the rank's end")
    (lost,) = house.events(session_id, "rank_lost")
    assert "rank 1 of 2 ended (" in lost["message"]
    house.until(session_id, "completed")
    eventually(lambda: not ranks(), "no rank is left")
    assert_each_once(house, session_id, EPISODES)
    assert hash_of(house, session_id) == whole[0]
    assert records(house, session_id) == whole[1]
    told(
        f"two ranks on Ray, one killed ({lost['message']}), and two child processes: "
        "hashes and histories equal"
    )
