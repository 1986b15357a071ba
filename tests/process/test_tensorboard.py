"""`grandstand tail` beside a real server: what the event files hold is stored once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import SESSIONS, Server, eventually

pytestmark = pytest.mark.slow
TABLE = "|param|value|\n|-|-|\n|seed|1|\n|lr|0.5|"
STEPS = 30


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.end()


def writer(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer's own dependencies warn when imported
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder), flush_secs=1)


def tail(server: Server, logs: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "grandstand", "tail", str(logs), "--server", server.url, *more],
        cwd=server.home,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(follower: subprocess.Popen[str]) -> None:
    """Leave nothing of it, whatever it was doing."""
    follower.kill()
    follower.communicate()


def stored(server: Server, session_id: str) -> list[dict[str, Any]]:
    answer = server.api.get(f"{SESSIONS}/{session_id}/export", params={"format": "ndjson"})
    if answer.status_code == 404:
        return []
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return [line for line in lines if line.get("type") == "training_metrics"]


def only_session(server: Server) -> dict[str, Any] | None:
    found = server.get(SESSIONS, status="all")["sessions"]
    assert len(found) <= 1
    return dict(found[0]) if found else None


def returns(records: list[dict[str, Any]]) -> Counter[tuple[int, float]]:
    data = [record["data"] for record in records]
    return Counter(
        (d["step"], d["current_reward"]) for d in data if d.get("current_reward") is not None
    )


def await_records(server: Server, session_id: str, number: int) -> None:
    eventually(lambda: len(stored(server, session_id)) == number, f"{number} records", within=20)


def write(log: Any, steps: range) -> None:
    for step in steps:
        log.add_scalar("charts/episodic_return", step * 0.5, step)
        log.add_scalar("losses/value_loss", step * 0.25, step)
    log.flush()


def test_a_run_is_followed_live_and_a_second_follower_stores_nothing_twice(
    own_server: Server, tmp_path: Path
) -> None:
    logs = tmp_path / "runs"
    log = writer(logs / "one")
    log.add_text("hyperparameters", TABLE)
    write(log, range(STEPS))
    expected = Counter({(step, step * 0.5): 1 for step in range(STEPS)})
    for life in (1, 2):
        follower = tail(own_server, logs)
        try:
            session = eventually(lambda: only_session(own_server), "a session")
            name = session["session_id"]
            await_records(own_server, name, 2 * STEPS * life)
            write(log, range(STEPS * life, STEPS * (life + 1)))
            expected.update({(s, s * 0.5): 1 for s in range(STEPS * life, STEPS * (life + 1))})
            await_records(own_server, name, 2 * STEPS * (life + 1))
            follower.send_signal(signal.SIGINT)
            output, _ = follower.communicate(timeout=60)
            assert follower.returncode == 0, output
        finally:
            end(follower)
    log.close()
    assert returns(stored(own_server, name)) == expected
    session = own_server.get(f"{SESSIONS}/{name}")
    assert session["config"] == {"seed": "1", "lr": "0.5"}
    assert session["current_episode"] == 3 * STEPS


def test_a_finished_folder_is_imported_and_importing_again_changes_nothing(
    own_server: Server, tmp_path: Path
) -> None:
    logs = tmp_path / "runs"
    with writer(logs) as log:
        write(log, range(STEPS))
    for _ in range(2):
        done = tail(own_server, logs, "--once", "--name", "imported", "--algorithm", "PPO")
        output, _ = done.communicate(timeout=60)
        assert done.returncode == 0, output
        session = own_server.get(f"{SESSIONS}/imported")
        assert session["status"] == "completed"
        assert session["algorithm"] == "PPO"
        assert len(stored(own_server, "imported")) == 2 * STEPS


def test_a_folder_without_event_files_is_said(own_server: Server, tmp_path: Path) -> None:
    done = tail(own_server, tmp_path / "nothing", "--once")
    output, _ = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "holds no event files" in output
