"""What the stands count of themselves, for whoever operates the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Measures:
    """Counters of all stands together, since the start.

    Attributes:
        set_aside: how often a spectator had too much waiting and was set aside, to be caught up.
        too_slow: spectators let go because they did not read at all.
        pages_read: pages of missed messages read from the store.
        pages_shared: pages served from what was just read for somebody else.
    """

    set_aside: int = 0
    too_slow: int = 0
    pages_read: int = 0
    pages_shared: int = 0
