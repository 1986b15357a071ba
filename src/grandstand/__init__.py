"""Grandstand: train agents, record what they report, watch and steer them live.

The names below are loaded when they are first used, so that `import grandstand` costs nothing::

    import grandstand

    session = grandstand.open_session("my_run", algorithm="DQN", total_episodes=1000)
    session.log({"current_reward": 1.5, "episode": 1})
    session.finish()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grandstand.client.async_client import (
        AsyncClient,
        AsyncSession,
        connect_async,
        open_session_async,
    )
    from grandstand.client.client import Client, connect, open_session
    from grandstand.client.session import Session
    from grandstand.errors import GrandstandError
    from grandstand.model.scenarios import Scenario
    from grandstand.server.config import (
        DatabaseConfig,
        PerformanceConfig,
        RedisConfig,
        SecurityConfig,
        ServerConfig,
        ServerConfiguration,
    )
    from grandstand.server.embedded import TrainingMetricsServer
    from grandstand.server.integration import (
        MetricsCollector,
        SpectatorManagerIntegration,
        TrainingEngineIntegration,
    )
    from grandstand.train.check import check_trainer
    from grandstand.train.policy import load_policy

__version__ = "0.1.0"

_HOMES = {
    "connect": "client.client",
    "open_session": "client.client",
    "Client": "client.client",
    "Session": "client.session",
    "connect_async": "client.async_client",
    "open_session_async": "client.async_client",
    "AsyncClient": "client.async_client",
    "AsyncSession": "client.async_client",
    "GrandstandError": "errors",
    "load_policy": "train.policy",
    "check_trainer": "train.check",
    "Scenario": "model.scenarios",
    "TrainingMetricsServer": "server.embedded",
    "ServerConfig": "server.config",
    "ServerConfiguration": "server.config",
    "DatabaseConfig": "server.config",
    "RedisConfig": "server.config",
    "SecurityConfig": "server.config",
    "PerformanceConfig": "server.config",
    "TrainingEngineIntegration": "server.integration",
    "MetricsCollector": "server.integration",
    "SpectatorManagerIntegration": "server.integration",
}

__all__ = [  # noqa: RUF022  (sorted by what they are for)
    "connect",
    "open_session",
    "Client",
    "Session",
    "connect_async",
    "open_session_async",
    "AsyncClient",
    "AsyncSession",
    "GrandstandError",
    "load_policy",
    "check_trainer",
    "Scenario",
    "TrainingMetricsServer",
    "ServerConfig",
    "ServerConfiguration",
    "DatabaseConfig",
    "RedisConfig",
    "SecurityConfig",
    "PerformanceConfig",
    "TrainingEngineIntegration",
    "MetricsCollector",
    "SpectatorManagerIntegration",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'grandstand' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"grandstand.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
