"""A training of two ranks on a real server: orders reach both, and the death of one is no end."""

from __future__ import annotations

import psutil
import pytest

from grandstand.model.cores import usable_cores

from .conftest import SESSIONS, Server, assert_each_once, eventually

EPISODES = 700

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(usable_cores() < 2, reason="two ranks want two cores"),
]


def ranks_of(worker: psutil.Process) -> list[psutil.Process]:
    """The processes of its other ranks."""
    return [one for one in worker.children() if "grandstand.train.follower" in one.cmdline()]


@pytest.mark.timeout(300)
def test_orders_and_the_death_of_a_rank(server: Server) -> None:
    session_id = server.train(num_episodes=EPISODES, pace=100, save_interval=50, ranks=2)
    server.until_episode(session_id, 50)
    server.post(f"{SESSIONS}/{session_id}/pause")
    paused = server.until(session_id, "paused")
    (rank,) = ranks_of(server.worker())
    assert rank.is_running()
    server.post(f"{SESSIONS}/{session_id}/resume")
    server.until_episode(session_id, paused["current_episode"] + 50)
    eventually(lambda: server.checkpoints(session_id), "a checkpoint")

    rank.kill()
    eventually(lambda: server.events(session_id, "rank_lost"), "news of the rank's end")
    (lost,) = server.events(session_id, "rank_lost")
    assert lost["message"] == "rank 1 of 2 ended (signal 9)"

    done = server.until(session_id, "completed")
    assert (done["attempt"], done["current_episode"]) == (2, EPISODES)
    assert_each_once(server, session_id, EPISODES)
    eventually(lambda: not server.workers(), "the worker is gone")
    undisturbed = server.train(num_episodes=EPISODES, ranks=2, seed=done["config"]["seed"])
    server.until(undisturbed, "completed")
    curves = [
        [row["average_reward"] for row in server.episodes(one)] for one in (session_id, undisturbed)
    ]
    assert curves[0] == curves[1]


@pytest.mark.timeout(300)
def test_no_rank_outlives_a_worker_that_is_killed_or_stopped(server: Server) -> None:
    session_id = server.train(num_episodes=20_000, pace=400, save_interval=100, ranks=2)
    eventually(lambda: server.checkpoints(session_id), "a checkpoint")
    worker = server.worker()
    ranks = ranks_of(worker)
    assert len(ranks) == 1
    worker.kill()
    assert psutil.wait_procs(ranks, timeout=30)[1] == []
    server.until(session_id, "running")
    ranks = eventually(lambda: ranks_of(server.worker()), "the next attempt's ranks")
    assert server.post(f"{SESSIONS}/{session_id}/stop")["wanted"] == "stopped"
    server.until(session_id, "stopped")
    assert psutil.wait_procs(ranks, timeout=30)[1] == []
