"""A training from its start to its model, in a real worker of a real server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from .conftest import SESSIONS, Server, assert_each_once, count, eventually, serve_command, told

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


@pytest.mark.slow
def test_a_saved_model_acts_over_http_as_it_does_in_python(server: Server) -> None:
    from grandstand import load_policy

    session_id = server.train(num_episodes=300)
    server.until(session_id, "completed")
    policy = load_policy(server.data / "models" / f"{SCENARIO}_low_agent.pt")
    for cash in (0.0, 3500.0, 40_000.0):
        seen = [3200.0, 1800.0, 800.0, cash, 1000.0, 0.02, 0.55, 60.0]
        told = server.post(f"/api/models/{session_id}/act", {"observation": seen})
        assert told["names"] == ["invest", "save", "consume"]
        assert told["action"] == pytest.approx(policy.act(seen).tolist())
    drawn = {"observation": seen, "greedy": False, "seed": 4}
    once, twice = (server.post(f"/api/models/{SCENARIO}/act", drawn) for _ in range(2))
    assert once == twice
    wrong = server.post(f"/api/models/{session_id}/act", {"observation": [1, 2]}, 422)
    assert "observation should be" in wrong["message"]


@pytest.mark.slow
def test_a_training_ends_early_for_a_reason_that_is_told(server: Server) -> None:
    rules = {"target": {"return": -1e9, "window": 50}, "max_seconds": 1000}
    session_id = server.train(num_episodes=20_000, early_stopping=rules)
    done = server.until(session_id, "completed")
    assert 50 <= done["current_episode"] < 2000
    assert "the mean return of 50 episodes reached" in done["stop_reason"]
    plateau = {"plateau": {"patience_steps": 2000, "min_delta": 1e9}}
    session_id = server.train(num_episodes=20_000, early_stopping=plateau)
    done = server.until(session_id, "completed")
    assert "no better mean return for" in done["stop_reason"]
    assert (server.data / "models" / "sessions" / session_id).is_dir()


@pytest.mark.slow
def test_a_training_that_diverges_says_so_and_names_its_last_good_checkpoint(
    server: Server,
) -> None:
    overrides = {"learning_rate_low": 1e30, "learning_rate_high": 1e30}
    session_id = server.train(num_episodes=20_000, overrides=overrides)
    failed = server.until(session_id, "failed")
    assert failed["error"]["type"] == "Diverged"
    assert "learning rates" in failed["error"]["message"]
    named = failed["error"]["last_checkpoint"]
    assert named is None or named == server.checkpoints(session_id)[-1].name
    assert failed["error"]["versions"]["torch"]


@pytest.mark.slow
def test_two_trainings_run_side_by_side_and_a_third_waits(server: Server) -> None:
    server.environment = {"GRANDSTAND_TRAINING__MAX_CONCURRENT_TRAININGS": "2"}
    server.kill()
    server.start()
    first, second = (server.train(num_episodes=5000, pace=500) for _ in range(2))
    refused = server.post("/api/training/start", {"scenario_name": SCENARIO}, 400)
    assert refused["error"] == "training_already_running"
    third = server.train(num_episodes=200, queue=True)
    for session_id in (first, second):
        server.until_episode(session_id, 100)
    status = server.get("/api/training/status")
    assert [s["session_id"] for s in status["active"]] == [second, first]
    assert status["queue_length"] == 1
    several = server.post("/api/training/stop", {}, 409)
    assert set(several["details"]["session_ids"]) == {first, second}
    # A paused run keeps its place; a stopped one makes room.
    server.post(f"{SESSIONS}/{first}/pause")
    server.until(first, "paused")
    assert server.session(third)["status"] == "queued"
    server.post("/api/training/stop", {"session_id": second})
    server.until(third, "completed")
    server.post(f"{SESSIONS}/{first}/resume")
    assert server.until_episode(first, 600)["status"] == "running"


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_the_memory_of_a_worker_is_flat(server: Server) -> None:
    episodes = count(10_000, 200_000)
    session_id = server.train(num_episodes=episodes)
    server.until_episode(session_id, episodes // 10)
    worker = server.worker()
    sizes: list[float] = []

    def done() -> bool:
        with contextlib.suppress(psutil.Error):
            sizes.append(worker.memory_info().rss / 2**20)
        return bool(server.session(session_id)["status"] == "completed")

    eventually(done, "the end", within=1500)
    begun, ended = max(sizes[: len(sizes) // 4 or 1]), max(sizes[-(len(sizes) // 4 or 1) :])
    told(
        f"a worker over {episodes:,} episodes: {begun:.0f} MiB in the first, {ended:.0f} in the "
        "last quarter"
    )
    assert ended - begun < 16
