"""Gymnasium: wrappers that report the episodes of an environment, or of many side by side."""

from __future__ import annotations

from grandstand.client.callbacks.gymnasium import GrandstandVectorWrapper, GrandstandWrapper

__all__ = ["GrandstandVectorWrapper", "GrandstandWrapper"]
