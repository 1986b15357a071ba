"""Cut anywhere, by a pause, a stop or a SIGKILL, a training goes on as if it had never been cut.

Held against one that ran through: the SHA-256 over everything in the last checkpoint (networks,
Adam's moments, generators, households, windows, goals; clocks apart) and every record of the
history. Afterwards a worker that is killed again and again, most of the time while it writes a
checkpoint, never goes on from a damaged one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from grandstand.model.checkpoints import damage

from .conftest import SESSIONS, Server, assert_each_once, count, eventually, told

EPISODES = 1200
PACE = 600
CLOCKS = {"elapsed_seconds", "training_time_elapsed", "steps_per_second", "timestamp", "seq"}

pytestmark = pytest.mark.slow


def digest_into(digest: Any, value: Any) -> None:
    """Feed everything of a checkpoint's state into a hash, in an order of its own."""
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            if key not in CLOCKS:
                digest.update(f"{key}:".encode())
                digest_into(digest, value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            digest_into(digest, item)
    elif isinstance(value, torch.Tensor):
        digest.update(np.ascontiguousarray(value.numpy()).tobytes())
    else:
        digest.update(repr(value).encode())


def hash_of(server: Server, session_id: str) -> str:
    """SHA-256 of the last checkpoint's state."""
    path = server.checkpoints(session_id)[-1] / "state.pt"
    digest = hashlib.sha256()
    digest_into(digest, torch.load(path, weights_only=True))
    return digest.hexdigest()


def records(server: Server, session_id: str) -> list[dict[str, Any]]:
    """What the trainer reported, in order, clocks and the machine's figures apart."""
    rows = []
    for row in server.history(session_id, "training_metrics"):
        extra = {k: v for k, v in (row.get("extra") or {}).items() if k not in CLOCKS}
        if any(name.startswith("system/") for name in extra):
            continue
        rows.append({k: v for k, v in row.items() if k not in CLOCKS} | {"extra": extra})
    return rows


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
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Hash and history of the training that runs through."""
    server = Server(tmp_path_factory.mktemp("whole"))
    try:
        server.start()
        session_id = server.train(num_episodes=EPISODES, save_interval=50)
        server.until(session_id, "completed")
        return hash_of(server, session_id), records(server, session_id)
    finally:
        server.end()


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["pause", "stop", "kill"])
def test_a_cut_training_equals_one_that_ran_through(
    server: Server, whole: tuple[str, list[dict[str, Any]]], how: str
) -> None:
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
