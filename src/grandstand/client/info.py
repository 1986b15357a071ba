"""Sessions as the server tells of them, fit to be looked at in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from grandstand.client.notebook import info_html, line_of, page_html
from grandstand.model.session import Session

if TYPE_CHECKING:
    from grandstand.client.transport import Transport


class SessionInfo(Session, kw_only=True, frozen=True, dict=True):
    """A session as the server sees it, at the moment it was asked for."""

    def found_at(self, transport: Transport, url: str | None) -> None:
        """Remember where it came from, to draw its curve and to link to its page."""
        self.__dict__["transport"] = transport
        self.__dict__["server"] = url

    @property
    def url(self) -> str | None:
        """The page on which people watch it; None where it is not known."""
        server = self.__dict__.get("server")
        return f"{server}/sessions/{self.session_id}" if server else None

    def __repr__(self) -> str:
        return f"<{line_of(self)}>"

    def _repr_html_(self) -> str:
        return info_html(self, self.url, self.__dict__.get("transport"))


class SessionPage(msgspec.Struct):
    """Some sessions, how many there are in all, and where the rest begins."""

    sessions: list[SessionInfo]
    total: int
    next_cursor: str | None = None

    def __repr__(self) -> str:
        lines = "".join(f"\n  {line_of(info)}" for info in self.sessions)
        return f"<{len(self.sessions)} of {self.total} sessions{lines}>"

    def _repr_html_(self) -> str:
        return page_html([(info, info.url) for info in self.sessions], self.total)
