"""A client's bytes cut into frames: whatever way they arrive, the parser agrees."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from grandstand.web.stream import Stream

LIMIT = 100_000
PLAIN = (Opcode.TEXT, Opcode.BINARY)


def wire(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """A frame as a client sends it."""
    size = len(payload)
    head = bytes([opcode | (0x80 if fin else 0)])
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 1 << 16:
        head += bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    mask = secrets.token_bytes(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def read(stream: Stream, pieces: list[bytes], *, taking: bool = True) -> list[bytes | list[bytes]]:
    return [part for piece in pieces for part in stream.cut(piece, taking)]


class Parser:
    """The library's own, which knows every rule."""

    def __init__(self) -> None:
        self._protocol = ServerProtocol(max_size=LIMIT, state=State.OPEN)

    def read(self, data: bytes) -> list[Frame]:
        self._protocol.receive_data(data)
        return [e for e in self._protocol.events_received() if isinstance(e, Frame)]

    @property
    def problem(self) -> Exception | None:
        return self._protocol.parser_exc


PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([125, 126, 127, 65_535, 65_536]).map(lambda n: b"x" * n),
)


@st.composite
def messages(draw: st.DrawFn) -> list[bytes]:
    """Frames of whole messages, some in pieces, with pings anywhere."""
    frames = []
    for _ in range(draw(st.integers(1, 6))):
        opcode = int(draw(st.sampled_from(PLAIN)))
        parts = [draw(PAYLOADS), *draw(st.lists(st.binary(max_size=9), max_size=2))]
        for i, part in enumerate(parts):
            if draw(st.integers(0, 3)) == 0:
                frames.append(wire(Opcode.PING, draw(st.binary(max_size=125))))
            frames.append(wire(opcode if i == 0 else 0, part, fin=i == len(parts) - 1))
    return frames


@settings(max_examples=150)
@given(messages(), st.data())
def test_however_it_arrives_nothing_is_lost_and_the_order_stays(
    frames: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(frames)
    size = data.draw(st.integers(1, max(2, len(whole))))
    if len(whole) > 2000:
        size = max(size, len(whole) // 50)
    pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
    expected = [(f.opcode, bytes(f.data), f.fin) for f in Parser().read(whole)]
    rest = Parser()
    found: list[tuple[int, bytes, bool]] = []
    for part in read(Stream(LIMIT), pieces):
        if isinstance(part, bytes):
            left = rest.read(part)
            assert not any(f.opcode in PLAIN and f.fin for f in left)
            found += [(f.opcode, bytes(f.data), f.fin) for f in left]
        else:
            found += [(-1, payload, True) for payload in part]
    assert rest.problem is None
    plain = [(-1, d, fin) if op in PLAIN and fin else (op, d, fin) for op, d, fin in expected]
    assert found == plain

    untaken = read(Stream(LIMIT), pieces, taking=False)
    assert b"".join(part for part in untaken if isinstance(part, bytes)) == whole
    assert all(isinstance(part, bytes) for part in untaken)


def test_only_whole_frames_are_given_on() -> None:
    stream = Stream(LIMIT)
    text, ping = wire(1, b"abc"), wire(9, b"p")
    assert read(stream, [text[:1], text[1:5], text[5:] + ping[:3]]) == [[b"abc"]]
    assert read(stream, [ping[3:] + text]) == [ping, [b"abc"]]


@pytest.mark.parametrize(
    "bad",
    [
        wire(1, b"abc", masked=False),
        wire(1, b"", masked=False),
        wire(0x41, b"abc"),  # a reserved bit
        wire(9, b"x" * 126),  # a ping that is too long
        wire(1, b"x" * (LIMIT + 1))[:30],  # too large: said before it has arrived
    ],
    ids=["unmasked", "unmasked and empty", "reserved bit", "long ping", "too large"],
)
def test_what_breaks_a_rule_goes_to_the_parser_with_all_that_follows(bad: bytes) -> None:
    stream = Stream(LIMIT)
    good = wire(1, b"abc")
    assert read(stream, [good + bad + good]) == [[b"abc"], bad + good]
    assert read(stream, [good]) == [good]
    parser = Parser()
    parser.read(good + bad + good)
    assert parser.problem is not None


def test_a_message_within_another_is_left_to_the_parser() -> None:
    first, other = wire(1, b"begin", fin=False), wire(1, b"whole")
    assert read(Stream(LIMIT), [first, other]) == [first, other]
    parser = Parser()
    parser.read(first + other)
    assert parser.problem is not None
