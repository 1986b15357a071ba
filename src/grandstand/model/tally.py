"""Tallies: how many, how much, and how they are spread, for a few nanoseconds each.

One is counted up by one thread and may be read by any.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for durations."""
NUMBERS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Bounds for how many come together."""


class Tally:
    """Numbers sorted into buckets.

    Args:
        bounds: upper bounds, rising; a number equal to one is within it.

    Attributes:
        total: the sum of all numbers.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, number: float) -> None:
        """Count a number in."""
        self._counts[bisect_left(self._bounds, number)] += 1
        self.total += number

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound, the last of them infinite, with how many were at most that."""
        within = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            within += count
            yield bound, within
