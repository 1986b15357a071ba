"""Parts of the reporting that cost time: done now and then, and given up where they fail."""

from __future__ import annotations

import logging
from math import inf
from time import perf_counter
from types import TracebackType

log = logging.getLogger("grandstand.client")

SHARE = 0.005
"""Of the training's time that one such part may take, unless it says otherwise."""


class Part:
    """A part of the reporting, in whose ``with`` block an exception harms nobody: it is told once,
    with its traceback, on the logger ``grandstand.client``, and the part is left out from then on.

    Args:
        what: it is, for people: "decisions".
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.works = True

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False  # nothing, or Ctrl-C
        self.works = False
        log.warning("%s: left out from here on", self._what, exc_info=error)
        return True


class Sample(Part):
    """A part done so often a second, and more seldom where it would take more than its share of
    the time.

    Args:
        what: see `Part`.
        hz: times a second; 0 for never.
        share: of the time, above 0 and up to 1.

    Attributes:
        next: when it is due, as `perf_counter` counts.
    """

    def __init__(self, what: str, hz: float, *, share: float = SHARE) -> None:
        super().__init__(what)
        self._pause = 1.0 / hz if hz > 0 else inf
        self._share = share
        self._began = 0.0
        self.next = 0.0 if hz > 0 else inf

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        harmless = super().__exit__(kind, error, trace)
        ended = perf_counter()
        self.next = max(self._began + self._pause, ended + (ended - self._began) / self._share)
        if not self.works:
            self.next = inf
        return harmless
