"""The documented Python names, used the documented way."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import grandstand
from grandstand import (
    DatabaseConfig,
    MetricsCollector,
    PerformanceConfig,
    RedisConfig,
    SecurityConfig,
    ServerConfig,
    ServerConfiguration,
    TrainingEngineIntegration,
    TrainingMetricsServer,
)
from grandstand.errors import Unavailable, ValidationFailed
from grandstand.server.config import ServerConfiguration as SameConfiguration
from grandstand.server.integration import MetricsCollector as SameCollector


async def test_the_quick_start(tmp_path: Path) -> None:
    config = ServerConfig(
        host="localhost",
        port=0,
        cors_origins=["http://localhost:3000"],
        max_connections_per_session=50,
        data_storage_path=tmp_path,
    )
    assert config.cors_origins == ["http://localhost:3000"]
    server = TrainingMetricsServer(config)

    integration = TrainingEngineIntegration(server)
    collector = MetricsCollector(integration)
    session_id = await integration.register_training_session(
        training_id="my_training_001", model_generation=2, algorithm="DQN", total_episodes=1000
    )
    await collector.record_episode_end(
        training_id="my_training_001",
        reward=15.5,
        episode_length=200,
        won=True,
        total_episodes=1000,
    )
    assert server.running
    await integration.session("my_training_001").flush()
    async with grandstand.connect_async(server) as client:
        seen = await client.session(session_id)
        assert seen.model_generation == 2
        assert seen.latest is not None
        assert seen.latest["win_rate"] == 100
        assert seen.latest["best_reward"] == 15.5
    await integration.aclose()
    await server.aclose()
    assert not server.running


async def test_a_training_engine_of_ones_own(tmp_path: Path) -> None:
    class Engine:
        def __init__(self, metrics_server: Any) -> None:
            self.metrics_integration = TrainingEngineIntegration(metrics_server)

        async def start_training(self, episodes: int) -> str:
            session_id = await self.metrics_integration.register_training_session(
                training_id="t", model_generation=1, algorithm="PPO", total_episodes=episodes
            )
            for episode in range(episodes):
                await self.metrics_integration.update_training_metrics(
                    training_id="t", episode=episode, current_reward=1.0, episode_length=10
                )
            await self.metrics_integration.finish_training_session("t")
            return session_id

    config = ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path)
    async with TrainingMetricsServer(config) as server:
        engine = Engine(server)
        session_id = await engine.start_training(20)
        async with grandstand.connect_async(server) as client:
            seen = await client.session(session_id)
        await engine.metrics_integration.aclose()
    assert seen.current_episode == 19
    assert seen.status == "completed"


RUN = """
import sys
from grandstand import ServerConfig, TrainingMetricsServer

class Server(TrainingMetricsServer):
    def _ready(self, url):
        super()._ready(url)
        print(url, flush=True)

server = Server(ServerConfig(host="localhost", port=0, data_storage_path=sys.argv[1]))
server.run()
print("ended", server.running)
"""


def test_run_serves_until_told_to_stop(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with grandstand.connect(url) as client:
                assert client.status()["status"] == "idle"
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert rest.splitlines()[-1] == "ended False"


async def test_a_server_that_does_not_run_says_so(tmp_path: Path) -> None:
    server = TrainingMetricsServer(ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path))
    with pytest.raises(Unavailable, match="not running"):
        grandstand.connect(server)


def test_the_production_configuration() -> None:
    config = ServerConfiguration(
        host="0.0.0.0",
        port=8000,
        debug=False,
        database=DatabaseConfig(
            enabled=True, url="postgresql://user:pass@db:5432/training_metrics"
        ),
        redis=RedisConfig(enabled=True, host="redis", port=6379),
        security=SecurityConfig(
            enable_auth=True,
            jwt_secret_key="production-secret-key",
            cors_origins=["https://yourdomain.com"],
        ),
        performance=PerformanceConfig(
            max_connections_per_session=100, max_total_connections=1000, enable_rate_limiting=True
        ),
    )
    assert config.performance.max_connections_per_session == 100
    # The sample secret is known to everybody, and refused.
    with pytest.raises(ValidationFailed) as caught:
        TrainingMetricsServer(config)
    assert "jwt_secret_key" in caught.value.message


def test_debug_mode(tmp_path: Path) -> None:
    config = ServerConfig(debug=True, log_level="DEBUG", data_storage_path=tmp_path)
    server = TrainingMetricsServer(config)
    assert server.settings.resolved_log_level() == "DEBUG"


def test_short_names_reach_the_nested_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_CONNECTIONS_PER_SESSION", "7")
    monkeypatch.setenv("TRAINING_METRICS_PORT", "9001")
    config = ServerConfig(port=9002, **{"training.nice": 5})
    assert config.settings.performance.max_connections_per_session == 7
    assert config.port == 9002
    assert config.settings.training.nice == 5
    with pytest.raises(ValidationFailed, match="prot"):
        ServerConfig(prot=1)


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    one = TrainingMetricsServer(ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path / "a"))
    await one.start()
    assert one.url is not None
    port = int(one.url.rsplit(":", 1)[1])
    two = TrainingMetricsServer(ServerConfig("127.0.0.1", port, data_storage_path=tmp_path / "b"))
    with pytest.raises(Unavailable, match="in use"):
        await two.start()
    await asyncio.wait_for(one.aclose(), 20)


def test_the_names_are_the_same_wherever_they_are_imported_from() -> None:
    assert SameConfiguration is ServerConfiguration
    assert SameCollector is MetricsCollector
