"""A training from its start to its model, in a real worker of a real server."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import SESSIONS, Server, assert_each_once, eventually, serve_command

SCENARIO = "bologna_coppia"
CHECKPOINT_FILES = {
    "high_agent.pt",
    "low_agent.pt",
    "manifest.json",
    "metadata.json",
    "state.pt",
    "training_history.json",
}


@pytest.mark.slow
def test_a_training_completes_and_leaves_a_model(server: Server) -> None:
    session_id = server.train(num_episodes=1000, save_interval=200)
    session = server.until(session_id, "completed")
    assert (session["current_episode"], session["total_episodes"]) == (1000, 1000)
    assert (session["attempt"], session["error"]) == (1, None)
    assert server.get("/api/training/status")["status"] == "idle"
    assert server.statuses(session_id) == ["queued", "starting", "running", "completed"]
    assert_each_once(server, session_id, 1000)
    curve = server.get(f"{SESSIONS}/{session_id}/series", metrics="average_reward", max_points=1)
    assert _count(curve) == 1000

    models = server.data / "models"
    for part in ("high_agent.pt", "low_agent.pt", "history.json"):
        shown = models / f"{SCENARIO}_{part}"
        assert shown.stat().st_size > 0
        assert shown.resolve() == (models / "sessions" / session_id / shown.name).resolve()
    taken = server.checkpoints(session_id)
    assert [path.name for path in taken] == [
        event["folder"] for event in server.events(session_id, "checkpoint")
    ]
    numbers = [int(path.name.removeprefix("checkpoint_episode_")) for path in taken]
    # The first update's end at or after each multiple of the interval, and the end.
    assert [n // 200 for n in numbers] == [1, 2, 3, 4, 5]
    assert numbers[-1] == 1000
    assert all({file.name for file in path.iterdir()} == CHECKPOINT_FILES for path in taken)
    shown = models / "checkpoints" / SCENARIO
    assert sorted(p.name for p in shown.iterdir()) == sorted(p.name for p in taken)

    asked = server.post(
        f"/api/models/{SCENARIO}/evaluate", {"episodes": 50, "trajectories": 1}, 202
    )
    result = eventually(lambda: _evaluated(server, asked["evaluation_id"]), "an evaluation")
    assert result["error"] is None
    assert result["uniform"] < result["best_constant"] < result["optimum"]
    assert result["return_mean"] < result["optimum"] + 4 * result["return_se"]
    assert result["score"] > 0.5
    assert result["months_mean"] > 0
    assert len(result["trajectories"]) == 1


def _count(series: dict[str, Any]) -> int:
    """How many points all buckets of the one metric asked for hold."""
    columns = series["series"]["average_reward"]
    return int(sum(columns["count"]))


def _evaluated(server: Server, evaluation_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = server.get(f"/api/evaluations/{evaluation_id}")
    return found if found["status"] in ("completed", "failed") else None


@pytest.mark.slow
def test_the_same_seed_gives_the_same_curve(server: Server) -> None:
    curves = []
    for seed in (11, 11, 12):
        session_id = server.train(num_episodes=600, seed=seed)
        server.until(session_id, "completed")
        curves.append([row["average_reward"] for row in server.episodes(session_id)])
    assert len(curves[0]) == 600
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


@pytest.mark.slow
def test_a_busy_worker_leaves_the_api_answering(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    session_id = server.train(num_episodes=4000)
    server.until(session_id, "running")
    spans = []
    while server.session(session_id)["status"] == "running":
        for _ in range(10):
            began = time.perf_counter()
            answer = server.api.get("/status")
            spans.append(time.perf_counter() - began)
            assert answer.status_code == 200
            assert answer.json()["status"] == "running"
    assert server.session(session_id)["status"] == "completed"
    spans.sort()
    with capsys.disabled():
        median, late = spans[len(spans) // 2], spans[int(len(spans) * 0.99)]
        print(
            f"\n/status while a worker trains: median {1e3 * median:.1f} ms, "
            f"p99 {1e3 * late:.1f} ms ({len(spans)} requests)"
        )


def test_a_taken_port_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = subprocess.run(
            serve_command(port, tmp_path / "data"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2
    assert f"Port {port} is taken" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
