"""Helpers for training code, against a server that keeps what it hears."""

from __future__ import annotations

from typing import Any

import pytest

from grandstand.client.integration import (
    MetricsCollector,
    SpectatorManagerIntegration,
    TrainingEngineIntegration,
)
from grandstand.clock import ManualClock
from grandstand.errors import Conflict, NotFound

from .conftest import RecordingServer


async def test_a_training_by_its_own_name(server: RecordingServer) -> None:
    integration = TrainingEngineIntegration(server.url)
    session_id = await integration.register_training_session(
        training_id="t1", model_generation=2, algorithm="DQN", total_episodes=10
    )
    await integration.update_training_metrics("t1", episode=3, current_reward=1.0, episode_length=5)
    await integration.update_bot_decision("t1", {"left": 1.0}, selected_action="left")
    await integration.update_performance_graph("t1", "g", {"m": [1.0]})
    assert await integration.finish_training_session("t1")
    await integration.aclose()
    assert session_id == "t1"
    assert server.rows()[0]["episode"] == 3
    assert server.posted("/finish") == [{"status": "completed"}]
    with pytest.raises(NotFound, match="t1"):
        await integration.update_training_metrics("t1", episode=4)


async def test_running_figures(server: RecordingServer) -> None:
    integration = TrainingEngineIntegration(server.url)
    await integration.register_training_session("t", algorithm="DQN")
    clock = ManualClock()
    collector = MetricsCollector(integration, clock)
    first = await collector.record_episode_end(
        training_id="t", reward=-5, episode_length=200, won=False, total_episodes=1000
    )
    assert first == {
        "episode": 1,
        "current_reward": -5.0,
        "average_reward": -5.0,
        "best_reward": -5.0,
        "training_time_elapsed": 0.0,
        "win_rate": 0.0,
        "episode_length": 200,
        "total_episodes": 1000,
    }
    clock.wait(2.0)
    told: dict[str, Any] = {}
    for i in range(100):
        told = await collector.record_episode_end("t", reward=i, won=i % 4 == 0, loss_value=0.5)
    assert told["average_reward"] == pytest.approx(49.5)  # the first one is out of the window
    assert told["win_rate"] == pytest.approx(25)
    assert told["best_reward"] == 99
    assert told["training_time_elapsed"] == 2.0
    collector.reset("t")
    assert (await collector.record_episode_end("t", reward=1))["episode"] == 1
    await integration.aclose()
    assert len(server.rows()) == 102
    assert server.posted("/finish")[0]["status"] == "stopped"


class Rooms:
    """Another system's rooms; half its methods are async."""

    def __init__(self) -> None:
        self.open: dict[str, dict[str, Any]] = {}

    async def create_room(self, session_id: str, **options: Any) -> dict[str, Any]:
        self.open["ABC"] = options
        return {"room_code": "ABC", "room_password": "p" if options["password_protected"] else None}

    def close_room(self, room_code: str) -> None:
        del self.open[room_code]

    def list_spectators(self, room_code: str) -> list[str]:
        return ["ann"]


async def test_a_session_with_a_room(server: RecordingServer) -> None:
    rooms = Rooms()
    integration = SpectatorManagerIntegration(server.url, rooms)
    told = await integration.create_integrated_session(
        training_session_id="t",
        model_generation=2,
        algorithm="PPO",
        total_episodes=1000,
        max_spectators=20,
        password_protected=True,
    )
    assert told["room_code"] == "ABC"
    assert told["room_password"] == "p"
    assert rooms.open["ABC"] == {"max_spectators": 20, "password_protected": True}
    assert server.posted("/sessions")[0]["room_code"] == "ABC"
    assert await integration.list_spectators(told["session_id"]) == ["ann"]
    await integration.close_integrated_session(told["session_id"])
    assert rooms.open == {}
    assert server.posted("/finish")[0]["status"] == "completed"
    with pytest.raises(NotFound):
        await integration.close_integrated_session(told["session_id"])
    await integration.training.aclose()


async def test_a_room_without_a_session_is_closed_again(server: RecordingServer) -> None:
    server.script = lambda method, path, body: (409, {"error": "session_exists", "message": "no"})
    rooms = Rooms()
    integration = SpectatorManagerIntegration(server.url, rooms)
    with pytest.raises(Conflict):
        await integration.create_integrated_session("t", password_protected=False)
    assert rooms.open == {}
    await integration.training.aclose()
