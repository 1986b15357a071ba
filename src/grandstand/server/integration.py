"""Helpers for training code: the names live in the SDK, which speaks to any server."""

from __future__ import annotations

from grandstand.client.integration import (
    MetricsCollector,
    SpectatorManager,
    SpectatorManagerIntegration,
    TrainingEngineIntegration,
)

__all__ = [
    "MetricsCollector",
    "SpectatorManager",
    "SpectatorManagerIntegration",
    "TrainingEngineIntegration",
]
