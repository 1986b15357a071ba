"""How a session's news reads on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from grandstand.live.flow import Item
from grandstand.model.media import MEDIA
from grandstand.model.telemetry import STATUS, envelope, event_of_media


class Dialect(Protocol):
    """One way of writing messages; everybody who reads it gets the same bytes."""

    def encode(self, session_id: str, item: Item) -> bytes | None:
        """The payload of one message, UTF-8; None where this dialect has no word for it."""

    def notice(self, session_id: str, at: datetime, data: bytes) -> bytes | None:
        """The payload of a `training_status` that is no record, such as presence; or None."""


class Envelopes:
    """``{type, session_id, seq, timestamp, data}``, as `/ws/{session_id}` speaks."""

    def encode(self, session_id: str, item: Item) -> bytes | None:
        if item.type in MEDIA:
            told = event_of_media(item.type, session_id, item.seq, marked(item))
            return envelope(STATUS, session_id, item.seq, item.at, told)
        return envelope(item.type, session_id, item.seq, item.at, marked(item))

    def notice(self, session_id: str, at: datetime, data: bytes) -> bytes | None:
        return envelope(STATUS, session_id, None, at, data)


def marked(item: Item) -> bytes:
    """The item's data, saying what was left out before it."""
    if item.skipped is None:
        return item.data
    opened = item.data.rstrip()[:-1].rstrip()
    comma = b"" if opened.endswith(b"{") else b","
    return b'%b%b"skipped_from":%d,"skipped_to":%d}' % (opened, comma, *item.skipped)


ENVELOPES = Envelopes()
