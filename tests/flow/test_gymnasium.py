"""Scenarios of Gymnasium's environments at the doors."""

from __future__ import annotations

import sys
from typing import Any

import pytest


async def test_they_are_listed_started_and_claimed_like_any_other(house: Any) -> None:
    listed = (await house.ok("GET", "/api/scenarios"))["scenarios"]
    (pole,) = [s for s in listed if s["name"] == "cartpole_dqn"]
    assert pole["environment"]["id"] == "CartPole-v1"
    assert "reward" not in pole
    overrides = {"parameters": {"gamma": 0.9}}
    worker = await house.managed(scenario_name="cartpole_dqn", overrides=overrides)
    session = await house.ok("GET", f"/api/training/sessions/{worker.session_id}")
    assert session["algorithm"] == "sb3:dqn"
    parameters = session["config"]["scenario"]["training"]["parameters"]
    assert (parameters["gamma"], parameters["batch_size"]) == (0.9, 64)


async def test_without_the_library_they_are_listed_and_say_how_to_install_it(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)  # as if it were not there
    listed = (await house.ok("GET", "/api/scenarios"))["scenarios"]
    assert {"cartpole_dqn", "cartpole_ppo", "pendulum_sac"} <= {s["name"] for s in listed}
    body = {"scenario_name": "cartpole_dqn", "queue": True}
    told = await house.ok("POST", "/api/training/start", 503, json=body)
    assert told["error"] == "training_unavailable"
    assert "-m pip install " in told["detail"]
    assert all(package in told["detail"] for package in ("stable-baselines3", "pygame", "pillow"))
    body["scenario_name"] = "balanced"
    await house.ok("POST", "/api/training/start", 202, json=body)


async def test_an_override_that_is_for_households_is_refused(house: Any) -> None:
    body = {"scenario_name": "cartpole_dqn", "overrides": {"high_period": 3}, "queue": True}
    told = await house.ok("POST", "/api/training/start", 422, json=body)
    assert "training.high_period is for households" in told["message"]
