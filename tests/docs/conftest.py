"""The whole server in this process that the flow tests have, for what the docs say of it."""

from __future__ import annotations

from tests.flow.conftest import House, house, make_house, serving

__all__ = ["House", "house", "make_house", "serving"]
