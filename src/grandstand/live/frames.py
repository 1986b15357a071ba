"""Messages as bytes: framed once, written many times."""

from __future__ import annotations

from collections.abc import Sequence

_TEXT = 0x81
"""First byte of an unfragmented text frame: FIN and opcode 1 (RFC 6455, section 5.2)."""
_BINARY = 0x82
"""The same of a binary one: opcode 2."""


def text_frame(payload: bytes) -> bytes:
    """`payload` (UTF-8) as one WebSocket text frame from a server, which never masks."""
    return _framed(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """`payload` as one WebSocket binary frame from a server."""
    return _framed(_BINARY, payload)


def _framed(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (first, size.to_bytes(8, "big"), payload)


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


class Binary:
    """One binary message for everybody who wants it.

    Attributes:
        payload: its bytes.
    """

    __slots__ = ("_wire", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """It as a WebSocket frame; built at the first asking."""
        if self._wire is None:
            self._wire = binary_frame(self.payload)
        return self._wire
