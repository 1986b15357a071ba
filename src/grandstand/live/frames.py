"""Messages as bytes: framed once, written many times."""

from __future__ import annotations

from collections.abc import Sequence

_TEXT = 0x81
"""First byte of an unfragmented text frame: FIN and opcode 1 (RFC 6455, section 5.2)."""


def text_frame(payload: bytes) -> bytes:
    """`payload` (UTF-8) as one WebSocket text frame from a server, which never masks."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (_TEXT, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (_TEXT, size.to_bytes(8, "big"), payload)


def brief(reason: str) -> str:
    """`reason` cut to what a close frame holds: 123 bytes (RFC 6455, section 5.5)."""
    return reason.encode()[:123].decode(errors="ignore")


class Parcel:
    """Messages that go together to everybody in the same group.

    Attributes:
        texts: each message's payload, UTF-8, in order.
    """

    __slots__ = ("_wire", "texts")

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """All of them as WebSocket frames, back to back; built at the first asking."""
        if self._wire is None:
            self._wire = b"".join(map(text_frame, self.texts))
        return self._wire

    @property
    def size(self) -> int:
        """Bytes of all payloads together."""
        return sum(map(len, self.texts))
