"""Whether SDK and server understand each other, and whether it is a server of ours at all."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from grandstand import __version__
from grandstand.errors import GrandstandError, Unavailable
from grandstand.model.wire import OURS, VERSION_HEADER, WIRE_HEADER, Wires, wires_of

log = logging.getLogger("grandstand.client")

USER_AGENT: Final = f"grandstand/{__version__}"
NOT_OURS: Final = "not_our_server"
MISMATCH: Final = "wire_mismatch"

_said: set[str] = set()


class Headers(Protocol):
    """Of an answer; names in any case."""

    def get(self, name: str, /) -> str | None:
        """The value of a header, or None."""


def greet(headers: Headers, ours: Wires = OURS) -> None:
    """Look at what the server says of its version and wire; a server that says nothing is taken to
    be of this wire. One that speaks a newer or older one as well is warned of, once.

    Raises:
        GrandstandError: there is no wire that both speak (code ``wire_mismatch``).
    """
    told = headers.get(WIRE_HEADER)
    theirs = wires_of(told) if told is not None else None
    if theirs is None or theirs == ours:
        return
    version = headers.get(VERSION_HEADER) or "of another version"
    both = f"the server is Grandstand {version} (wire {theirs}), this SDK {__version__} ({ours})"
    behind = theirs.newest < ours.newest
    remedy = (
        "Install the newer Grandstand on the server, or this version's SDK where the training runs"
        if behind
        else "Install the server's version where the training runs"
    )
    remedy += f": pip install 'grandstand=={__version__ if behind else version}'."
    if not ours.meet(theirs):
        raise GrandstandError(
            f"{both}: they do not understand each other",
            code=MISMATCH,
            detail=f"{remedy} GRANDSTAND_MODE=offline keeps what is reported until then.",
            details={"server": str(theirs), "sdk": str(ours)},
        )
    if theirs.newest != ours.newest and both not in _said:
        _said.add(both)
        log.warning("%s: they understand each other, but not all that is new. %s", both, remedy)


def not_ours(url: str, what: str) -> Unavailable:
    """The failure of a request that something else answered, with `what`."""
    return Unavailable(
        f"what answers at {url} is no Grandstand server: {what}",
        code=NOT_OURS,
        detail="Check the address (GRANDSTAND_URL, with http or https and the port), and whether "
        "a proxy answers in its place.",
        details={"url": url},
    )
