"""Every setting, where its value came from, and whether the whole can work.

`fields` holds the settings and a sentence for each, `layers` reads them (defaults < file <
environment < flags), `problems` says what cannot work, `reference` writes docs/settings.md.
"""

from grandstand.settings.fields import (
    DatabaseConfig,
    IntegrationConfig,
    PerformanceConfig,
    RedisConfig,
    RetentionConfig,
    SecurityConfig,
    Settings,
    TrainingConfig,
)
from grandstand.settings.layers import Described, describe, load_settings
from grandstand.settings.problems import Problem, check

__all__ = [
    "DatabaseConfig",
    "Described",
    "IntegrationConfig",
    "PerformanceConfig",
    "Problem",
    "RedisConfig",
    "RetentionConfig",
    "SecurityConfig",
    "Settings",
    "TrainingConfig",
    "check",
    "describe",
    "load_settings",
]
