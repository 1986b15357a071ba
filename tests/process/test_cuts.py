"""Cut anywhere, by a pause, a stop or a SIGKILL, a training goes on as if it had never been cut.

Held against one that ran through: the SHA-256 over everything in the last checkpoint (networks,
Adam's moments, generators, households, windows, goals; clocks apart) and every record of the
history. Afterwards a worker that is killed again and again, most of the time while it writes a
checkpoint, never goes on from a damaged one.
"""

from __future__ import annotations

import random

import psutil
import pytest

from grandstand.model.checkpoints import damage

from .conftest import SESSIONS, Server, assert_each_once, count, eventually, told
from .exact import EPISODES, Whole, hash_of, records, run_through

PACE = 600

pytestmark = pytest.mark.slow


def train(server: Server) -> str:
    return server.train(num_episodes=EPISODES, pace=PACE, save_interval=50)


def cut(server: Server, session_id: str, how: str) -> None:
    """Pause, stop or kill it now, and have it go on."""
    path = f"{SESSIONS}/{session_id}"
    if how == "kill":
        worker = server.worker()
        worker.kill()
        psutil.wait_procs([worker], timeout=10)
        return
    server.post(f"{path}/{how}")
    server.until(session_id, {"pause": "paused", "stop": "stopped"}[how])
    server.post(f"{path}/resume")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return run_through(tmp_path_factory.mktemp("whole"))


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["pause", "stop", "kill"])
def test_a_cut_training_equals_one_that_ran_through(server: Server, whole: Whole, how: str) -> None:
    chance = random.Random(how)
    cuts = count(1, 20)
    for _ in range(cuts):
        session_id = train(server)
        at = chance.randrange(1, EPISODES * 9 // 10)
        server.until_episode(session_id, at)
        cut(server, session_id, how)
        server.until(session_id, "completed")
        assert_each_once(server, session_id, EPISODES)
        assert hash_of(server, session_id) == whole[0], f"cut by {how} after episode {at}"
        assert records(server, session_id) == whole[1], f"cut by {how} after episode {at}"
    told(f"{cuts} trainings cut by {how} at random: hashes and histories equal")


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_many_kills_leave_no_damaged_checkpoint_in_use(server: Server) -> None:
    """A run in which a checkpoint is due at every update, killed at random moments."""
    server.environment = {"GRANDSTAND_TRAINING__MAX_ATTEMPTS": "1000"}
    server.kill()
    server.start()
    kills = count(3, 200)
    session_id = server.train(num_episodes=500_000, save_interval=1)
    chance = random.Random(200)
    before = 0
    for _ in range(kills):
        server.until_episode(session_id, before + 1)
        worker = server.worker()
        eventually(lambda: server.checkpoints(session_id), "a checkpoint")
        # A moment later, somewhere in an update, a write, a sync or a rename.
        psutil.wait_procs([worker], timeout=chance.uniform(0.0, 0.4))
        worker.kill()
        psutil.wait_procs([worker], timeout=10)
        whole = server.checkpoints(session_id)
        assert [damage(path) for path in whole] == [None] * len(whole)
        before = int(server.session(session_id)["current_episode"])
    server.until_episode(session_id, before + 1)
    assert server.events(session_id, "checkpoint_damaged") == []
    resumed = [e["resumed_at"] for e in server.events(session_id, "status") if "resumed_at" in e]
    assert resumed == sorted(resumed)
    done = server.post("/api/training/stop", {"session_id": session_id})["data"]
    server.until(session_id, "stopped")
    assert_each_once(server, session_id, int(server.session(session_id)["current_episode"]))
    told(
        f"{kills} SIGKILLs with a checkpoint at every update: none damaged, "
        f"{done['episodes_completed']} episodes stored once each"
    )
