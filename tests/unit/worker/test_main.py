"""The worker as a process: how it starts, and what ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grandstand.model.scenarios import load_scenario

from .conftest import Desk, Office


def start(office: Office, task: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "grandstand.worker"],
        env={
            **os.environ,
            "GRANDSTAND_URL": office.url,
            "GRANDSTAND_TOKEN": "secret-token-of-this-worker",
            "GRANDSTAND_TASK": task,
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def giving(office: Office, order: dict[str, Any]) -> None:
    """Have the office answer requests for an order."""
    before = office.script
    office.script = lambda method, path, body: (
        (200, order) if path.endswith("/order") else before(method, path, body)
    )


@pytest.mark.slow
def test_sigterm_makes_it_leave_after_a_checkpoint(office: Office) -> None:
    giving(office, office.order(pace=30.0))
    with start(office, "session:s") as process:
        office.wait_for(lambda: len(office.episodes()) > 5, 60)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert office.posted("/finish")[0]["status"] == "released"
    assert office.events("checkpoint")
    assert office.headers["POST"]["Authorization"] == "Bearer secret-token-of-this-worker"
    assert "secret-token" not in output


@pytest.mark.slow
def test_an_evaluation(office: Office) -> None:
    Desk(office).join()
    order = {
        "evaluation_id": "e",
        "model_folder": str(office.folder),
        "model_name": "bologna_coppia",
        "scenario": load_scenario("bologna_coppia").to_mapping(),
        "episodes": 50,
        "seed": 0,
        "greedy": True,
        "market_noise": False,
        "trajectories": 1,
        "cache_folder": str(office.folder / "cache"),
    }
    giving(office, order)
    with start(office, "evaluation:e") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    told = office.posted("/evaluations/e")[0]
    assert told["status"] == "completed"
    assert told["result"]["episodes"] == 50
    assert len(told["result"]["trajectories"]) == 1
    giving(office, {**order, "model_name": "nothing"})
    with start(office, "evaluation:e") as process:
        process.communicate(timeout=60)
    assert process.returncode == 1
    told = office.posted("/evaluations/e")[-1]
    assert told["status"] == "failed"
    assert told["error"]["type"] == "NotFound"


def test_a_task_nobody_knows(office: Office) -> None:
    with start(office, "nonsense") as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "GRANDSTAND_TASK" in output


def test_an_order_that_is_somebody_elses_now(office: Office, tmp_path: Path) -> None:
    office.script = lambda method, path, body: (
        409,
        {"error": "attempt_superseded", "message": "a newer worker has it"},
    )
    with start(office, "session:s") as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "a newer worker has it" in output
    assert [path for _, path, _ in office.requests] == ["/api/training/sessions/s/order"]
