"""A client's bytes cut into WebSocket frames (RFC 6455, section 5.2).

It only finds where frames end. Plain ones (text or binary, in one piece) may be taken out; all
others stay as they are, for a parser that knows every rule.
"""

from __future__ import annotations

from collections.abc import Iterator

try:
    from websockets.speedups import apply_mask
except ImportError:  # a machine without a wheel of its own
    from websockets.utils import apply_mask

_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_PLAIN = (0x81, 0x82)
_MASKED, _SIZE = 0x80, 0x7F
_CONTROL = 0x88
_CONTROL_BYTES = 125


class Stream:
    """The stream of one client, from behind its handshake on.

    Args:
        limit: most bytes of one frame.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # the beginning of a frame
        self._have = 0
        self._need = 0
        self._fragmented = False  # a message in several frames is under way
        self._broken = False

    def cut(self, data: bytes, taking: bool) -> Iterator[list[bytes] | bytes]:
        """What has become whole with `data`, in order.

        Args:
            taking: whether plain frames are taken out.

        Yields:
            lists of payloads of plain frames, unmasked; and bytes for the parser: whole frames,
            and everything from the first that breaks a rule on.
        """
        if self._broken:
            yield data
            return
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts = []
        payloads: list[bytes] = []
        at, end = 0, len(data)
        left = 0  # where the bytes begin that are for the parser
        while True:
            need = 6  # two bytes and a mask
            if end - at < need:
                if end - at >= 2 and data[at + 1] < _MASKED:
                    self._broken = True
                break
            first, second = data[at], data[at + 1]
            size = second & _SIZE
            start = at + need
            if size > _CONTROL_BYTES:
                extended = 2 if size == 126 else 8
                start += extended
                need += extended
                if end < start:
                    break
                size = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
            if (
                first & _RESERVED
                or second < _MASKED
                or size > self._limit
                or (first >= _CONTROL and size > _CONTROL_BYTES)
            ):
                self._broken = True
                break
            stop = start + size
            if stop > end:
                need = stop - at
                break
            if taking and first in _PLAIN and not self._fragmented:
                if left < at:
                    yield data[left:at]
                payloads.append(apply_mask(data[start:stop], data[start - 4 : start]))
                left = stop
            else:
                if payloads:
                    yield payloads
                    payloads = []
                if first & _OPCODE == 0:
                    self._fragmented = not first & _FIN
                elif first < _FIN:
                    self._fragmented = True
            at = stop
        if payloads:
            yield payloads
        if self._broken:
            at = end
        if left < at:
            yield data[left:at]
        if at < end:
            self._parts, self._have, self._need = [data[at:]], end - at, need
