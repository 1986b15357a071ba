"""Which wire this is: what server and SDK tell each other of what they speak.

The number rises when who speaks the older wire would misunderstand the newer one; a field or an
event more is no such thing (docs/wire.md says to skip what one does not know).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

WIRE: Final = 1
"""The wire that docs/wire.md describes."""
OLDEST: Final = 1
"""The oldest one that is still understood."""
WIRE_HEADER: Final = "Grandstand-Wire"
VERSION_HEADER: Final = "Grandstand-Version"
_TOLD: Final = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")


class Wires(NamedTuple):
    """The wires somebody speaks, from the oldest to the newest."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return f"{self.oldest}" if self.oldest == self.newest else f"{self.oldest}-{self.newest}"

    def meet(self, other: Wires) -> bool:
        """Whether there is one that both speak."""
        return self.oldest <= other.newest and other.oldest <= self.newest


OURS: Final = Wires(OLDEST, WIRE)


def wires_of(header: str) -> Wires | None:
    """What a header says, such as ``2`` or ``1-3``; None where it says something else."""
    found = _TOLD.fullmatch(header.strip())
    return Wires(int(found[1]), int(found[2] or found[1])) if found else None
