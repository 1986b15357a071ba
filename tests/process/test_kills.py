"""SIGKILL for the server, for the worker, for both: the training goes on, and no seam shows."""

from __future__ import annotations

import psutil
import pytest

from .conftest import Server, assert_each_once, eventually

EPISODES = 1800
PACE = 400


def begun(server: Server) -> str:
    """A training that has taken at least one checkpoint, with most of it still to come."""
    session_id = server.train(num_episodes=EPISODES, pace=PACE, save_interval=100)
    eventually(lambda: server.checkpoints(session_id), "a checkpoint")
    server.until_episode(session_id, 300)
    return session_id


def kill_worker(server: Server) -> None:
    worker = server.worker()
    worker.kill()
    psutil.wait_procs([worker], timeout=10)


def check_whole(server: Server, session_id: str, attempt: int) -> None:
    """It is complete, in that many attempts, and its files are there."""
    done = server.until(session_id, "completed")
    assert (done["attempt"], done["current_episode"]) == (attempt, EPISODES)
    assert_each_once(server, session_id, EPISODES)
    taken = [event["episode"] for event in server.events(session_id, "checkpoint")]
    assert taken == sorted(set(taken))
    assert server.checkpoints(session_id)[-1].name == f"checkpoint_episode_{EPISODES}"
    assert (server.data / "models" / "bologna_coppia_high_agent.pt").exists()
    updates = [
        row["step"]
        for row in server.history(session_id, "training_metrics")
        if row.get("current_reward") is None and row.get("step") is not None
    ]
    assert updates == sorted(set(updates))


@pytest.fixture
def whole_curve(server: Server) -> list[float]:
    """The curve of the same training, never disturbed."""
    session_id = server.train(num_episodes=EPISODES)
    server.until(session_id, "completed")
    return [row["average_reward"] for row in server.episodes(session_id)]


@pytest.mark.slow
def test_server_and_worker_killed(server: Server, whole_curve: list[float]) -> None:
    session_id = begun(server)
    worker = server.worker()
    server.kill()
    worker.kill()
    eventually(lambda: not server.workers(), "the worker is gone")
    left = server.checkpoints(session_id)
    assert left

    server.start()
    found = server.session(session_id)
    assert found["current_episode"] >= 300
    assert len(server.episodes(session_id)) >= 300
    check_whole(server, session_id, attempt=2)
    resumed = [e["resumed_at"] for e in server.events(session_id, "status") if "resumed_at" in e]
    assert resumed == [int(left[-1].name.rpartition("_")[2])]
    # No seam: what was stored is what would have been stored without the kill.
    assert [row["average_reward"] for row in server.episodes(session_id)] == whole_curve


@pytest.mark.slow
def test_only_the_server_killed(server: Server) -> None:
    session_id = begun(server)
    worker = server.worker()
    server.kill()
    assert worker.is_running()
    server.start()
    assert server.workers() == [worker]  # it was left at work
    stored = server.session(session_id)["current_episode"]
    server.until_episode(session_id, stored + 1)
    check_whole(server, session_id, attempt=1)
    assert "lost" not in server.statuses(session_id)
    psutil.wait_procs([worker], timeout=30)
    # The place is free again.
    server.until(server.train(num_episodes=100, queue=True), "completed")


@pytest.mark.slow
def test_only_the_worker_killed(server: Server) -> None:
    session_id = begun(server)
    kill_worker(server)
    check_whole(server, session_id, attempt=2)
    assert server.statuses(session_id) == [
        "queued",
        "starting",
        "running",
        "lost",
        "queued",
        "starting",
        "running",
        "completed",
    ]


@pytest.mark.slow
def test_a_worker_killed_before_its_first_checkpoint(server: Server) -> None:
    session_id = server.train(num_episodes=600, pace=300, save_interval=100_000)
    server.until_episode(session_id, 200)
    assert server.checkpoints(session_id) == []
    kill_worker(server)
    done = server.until(session_id, "completed")
    assert done["attempt"] == 2
    assert_each_once(server, session_id, 600)


@pytest.mark.slow
def test_a_worker_killed_while_the_server_is_down_and_stopped_by_request(server: Server) -> None:
    session_id = begun(server)
    kill_worker(server)
    server.kill()
    server.start()
    assert server.post("/api/training/stop", {"session_id": session_id})["status"] in (
        "stopped",
        "stopping",
    )
    stopped = server.until(session_id, "stopped")
    eventually(lambda: not server.workers(), "the worker has left")
    assert_each_once(server, session_id, stopped["current_episode"])
