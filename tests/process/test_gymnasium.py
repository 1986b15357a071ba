"""A Stable-Baselines3 training on a real server: steered, finished, evaluated, asked to act."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Server, assert_each_once, eventually

EPISODES = 120
SMALL = {"parameters": {"policy_kwargs": {"net_arch": [16]}}}


@pytest.mark.slow
def test_cartpole_is_paused_stopped_continued_evaluated_and_acts(server: Server) -> None:
    session_id = server.train(
        scenario_name="cartpole_dqn",
        num_episodes=EPISODES,
        pace=30,
        save_interval=20,
        overrides=SMALL,
    )
    server.until(session_id, "running")
    server.until_episode(session_id, 10)
    for verb, status in (
        ("pause", "paused"),
        ("resume", "running"),
        ("stop", "stopped"),
        ("resume", "completed"),
    ):
        server.post(f"/api/training/sessions/{session_id}/{verb}")
        session = server.until(session_id, status)
    assert session["current_episode"] == EPISODES
    assert_each_once(server, session_id, EPISODES)
    frame = server.api.get(f"/api/training/sessions/{session_id}/frame")
    assert frame.status_code == 200
    assert frame.content[:3] == b"\xff\xd8\xff"

    asked = server.post(f"/api/models/{session_id}/evaluate", {"episodes": 20}, 202)
    found = eventually(lambda: _evaluated(server, asked["evaluation_id"]), "an evaluation")
    assert found["error"] is None
    assert found["return_mean"] == found["length_mean"] > 5
    assert found["score"] is None
    told = server.post(f"/api/models/{session_id}/act", {"observation": [0, 0, 0, 0]})
    assert told["names"] == ["left", "right"]
    assert told["action"] in (0, 1)


def _evaluated(server: Server, evaluation_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = server.get(f"/api/evaluations/{evaluation_id}")
    return found if found["status"] in ("completed", "failed") else None
