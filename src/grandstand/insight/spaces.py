"""What the actions of a Gymnasium space are called."""

from __future__ import annotations

import math
from typing import Any

from gymnasium import spaces


def action_names(space: spaces.Space[Any]) -> tuple[str, ...]:
    """Names of the actions; of a continuous or compound action, of its numbers."""
    if isinstance(space, spaces.Discrete):
        return tuple(str(space.start + i) for i in range(int(space.n)))
    return tuple(f"action_{i}" for i in range(math.prod(space.shape or ())))
