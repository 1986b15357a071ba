"""Bytes on the wire, read back by the websockets library."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from grandstand.live.frames import Binary, Parcel, binary_frame, brief, text_frame


def read(data: bytes) -> list[Frame]:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    return [event for event in client.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_a_frame_is_read_back_whole(size: int) -> None:
    (frame,) = read(text_frame(b"x" * size))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, b"x" * size)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 262_144])
def test_a_binary_frame_is_read_back_whole(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (frame,) = read(binary_frame(payload))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, payload)
    binary = Binary(payload)
    assert binary.wire == binary_frame(payload)
    assert binary.wire is binary.wire


def test_a_parcel_is_its_messages_back_to_back() -> None:
    texts = [b"a", "ä€".encode(), b"c" * 70_000, b""]
    parcel = Parcel(texts)
    assert [bytes(f.data) for f in read(parcel.wire)] == texts
    assert parcel.size == sum(map(len, texts))
    assert parcel.wire is parcel.wire


def test_a_reason_fits_a_close_frame_and_stays_text() -> None:
    assert brief("short") == "short"
    assert len(brief("€" * 100).encode()) <= 123
    assert set(brief("€" * 100)) == {"€"}
