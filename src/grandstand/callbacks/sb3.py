"""Stable-Baselines3: a callback for `learn`, and a writer for its logger."""

from __future__ import annotations

from grandstand.client.callbacks.sb3 import GrandstandCallback, GrandstandOutputFormat

__all__ = ["GrandstandCallback", "GrandstandOutputFormat"]
