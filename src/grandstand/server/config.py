"""A server's settings in Python: nested as in the file, or flat and short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grandstand.settings import (
    DatabaseConfig,
    IntegrationConfig,
    PerformanceConfig,
    RedisConfig,
    SecurityConfig,
    load_settings,
)
from grandstand.settings import Settings as ServerConfiguration

__all__ = [
    "DatabaseConfig",
    "IntegrationConfig",
    "PerformanceConfig",
    "RedisConfig",
    "SecurityConfig",
    "ServerConfig",
    "ServerConfiguration",
]

_PATHS = {
    "database_url": "database.url",
    "redis_url": "redis.url",
    "enable_auth": "security.enable_auth",
    "jwt_secret_key": "security.jwt_secret_key",
    "cors_origins": "security.cors_origins",
    "game_server_url": "integration.game_server_url",
    "enable_spectator_integration": "integration.enable_spectator_integration",
    "max_connections_per_session": "performance.max_connections_per_session",
    "max_total_connections": "performance.max_total_connections",
    "metrics_history_size": "performance.metrics_history_size",
    "cleanup_interval_seconds": "performance.cleanup_interval_seconds",
    "enable_rate_limiting": "performance.enable_rate_limiting",
    "max_concurrent_trainings": "training.max_concurrent_trainings",
}


class ServerConfig:
    """The settings one most often gives in Python, by short names.

    What is not given comes from the configuration file and the environment, as for
    ``grandstand serve``; docs/settings.md says what each means and its bounds. Every other setting
    is given by its dotted path: ``ServerConfig(**{"training.nice": 5})``.

    Raises:
        ValidationFailed: a name nobody knows, or a value out of bounds.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        debug: bool | None = None,
        log_level: str | None = None,
        data_storage_path: str | Path | None = None,
        models_dir: str | Path | None = None,
        database_url: str | None = None,
        redis_url: str | None = None,
        enable_auth: bool | None = None,
        jwt_secret_key: str | None = None,
        cors_origins: Sequence[str] | None = None,
        game_server_url: str | None = None,
        enable_spectator_integration: bool | None = None,
        max_connections_per_session: int | None = None,
        max_total_connections: int | None = None,
        metrics_history_size: int | None = None,
        cleanup_interval_seconds: float | None = None,
        enable_rate_limiting: bool | None = None,
        max_concurrent_trainings: int | None = None,
        config_file: str | Path | None = None,
        **others: Any,
    ) -> None:
        given: dict[str, Any] = {
            "host": host,
            "port": port,
            "debug": debug,
            "log_level": log_level,
            "data_storage_path": data_storage_path,
            "models_dir": models_dir,
            "database_url": database_url,
            "redis_url": redis_url,
            "enable_auth": enable_auth,
            "jwt_secret_key": jwt_secret_key,
            "cors_origins": list(cors_origins) if cors_origins is not None else None,
            "game_server_url": game_server_url,
            "enable_spectator_integration": enable_spectator_integration,
            "max_connections_per_session": max_connections_per_session,
            "max_total_connections": max_total_connections,
            "metrics_history_size": metrics_history_size,
            "cleanup_interval_seconds": cleanup_interval_seconds,
            "enable_rate_limiting": enable_rate_limiting,
            "max_concurrent_trainings": max_concurrent_trainings,
        }
        flags = {_PATHS.get(name, name): value for name, value in given.items()}
        self.settings: ServerConfiguration = load_settings(
            Path(config_file) if config_file is not None else None, flags={**flags, **others}
        )
        """The whole, nested, with everything that was not given."""

    def __repr__(self) -> str:
        return f"ServerConfig({self.settings.host}:{self.settings.port})"

    def __getattr__(self, name: str) -> Any:
        if name == "settings":  # not there yet: __init__ raised
            raise AttributeError(name)
        value: Any = self.settings
        for part in _PATHS.get(name, name).split("."):
            value = getattr(value, part)
        return value
