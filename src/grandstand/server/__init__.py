"""The server as an object, its settings as classes, and helpers for training code.

Everything is loaded when first used; the same names are importable from `grandstand` itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grandstand.server.config import (
        DatabaseConfig,
        IntegrationConfig,
        PerformanceConfig,
        RedisConfig,
        SecurityConfig,
        ServerConfig,
        ServerConfiguration,
    )
    from grandstand.server.embedded import TrainingMetricsServer
    from grandstand.server.integration import (
        MetricsCollector,
        SpectatorManager,
        SpectatorManagerIntegration,
        TrainingEngineIntegration,
    )

_HOMES = {
    "TrainingMetricsServer": "embedded",
    "ServerConfig": "config",
    "ServerConfiguration": "config",
    "DatabaseConfig": "config",
    "RedisConfig": "config",
    "SecurityConfig": "config",
    "PerformanceConfig": "config",
    "IntegrationConfig": "config",
    "TrainingEngineIntegration": "integration",
    "MetricsCollector": "integration",
    "SpectatorManager": "integration",
    "SpectatorManagerIntegration": "integration",
}

__all__ = [
    "DatabaseConfig",
    "IntegrationConfig",
    "MetricsCollector",
    "PerformanceConfig",
    "RedisConfig",
    "SecurityConfig",
    "ServerConfig",
    "ServerConfiguration",
    "SpectatorManager",
    "SpectatorManagerIntegration",
    "TrainingEngineIntegration",
    "TrainingMetricsServer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'grandstand.server' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"grandstand.server.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
