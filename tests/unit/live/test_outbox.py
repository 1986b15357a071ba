"""Ways out: bounded, never awaited, closed with a code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from grandstand.live.frames import Binary, Parcel
from grandstand.live.outbox import ROOM_BYTES, SOFT_BYTES, Outbox, QueueOutbox, WireOutbox

from .conftest import settle


class Peer:
    """A connection to write to, directly or by awaiting, whose other side may stop reading."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.pictures: list[bytes] = []
        self.bytes = b""
        self.backlog = 0
        self.closed = False
        self.ended: tuple[int, str] | None = None
        self._reads = asyncio.Event()
        self._reads.set()

    def stall(self) -> None:
        self._reads.clear()

    def read(self) -> None:
        self.backlog = 0
        self._reads.set()

    # As a Wire.

    def write(self, data: bytes, /) -> None:
        self.bytes += data
        if not self._reads.is_set():
            self.backlog += len(data)

    def waiting(self) -> int:
        return self.backlog

    async def drained(self) -> None:
        await self._reads.wait()

    def close(self, code: int, reason: str) -> None:
        self.closed, self.ended = True, (code, reason)

    # As an ASGI server.

    async def send(self, text: str) -> None:
        await self._reads.wait()
        self.texts.append(text)

    async def send_binary(self, payload: bytes) -> None:
        await self._reads.wait()
        self.pictures.append(payload)

    async def end(self, code: int, reason: str) -> None:
        self.ended = (code, reason)


@pytest.fixture
async def peer() -> Peer:
    return Peer()


@pytest.fixture(params=["wire", "queue"])
async def outbox(request: pytest.FixtureRequest, peer: Peer) -> AsyncIterator[Outbox]:
    if request.param == "wire":
        yield WireOutbox(peer)
        return
    queue = QueueOutbox(peer.send, peer.end, peer.send_binary)
    running = asyncio.create_task(queue.run())
    yield queue
    running.cancel()


async def test_what_is_put_in_arrives(outbox: Outbox, peer: Peer) -> None:
    assert outbox.put(Parcel([b"one", b"two"]))
    assert outbox.put(Parcel([]))
    await settle(lambda: outbox.waiting() == 0)
    assert peer.texts == ["one", "two"] or peer.bytes == b"\x81\x03one\x81\x03two"


async def test_a_full_outbox_takes_nothing_until_it_is_read(outbox: Outbox, peer: Peer) -> None:
    peer.stall()
    big = Parcel([b"x" * (SOFT_BYTES + 1)])
    assert outbox.put(big)
    assert not outbox.put(Parcel([b"more"]))
    assert outbox.put(Parcel([b"urgent"]), limit=1 << 20)
    drained = asyncio.create_task(outbox.drained())
    await settle()
    assert not drained.done()
    peer.read()
    await drained
    assert outbox.put(Parcel([b"more"]))
    await settle(lambda: outbox.waiting() == 0)


async def test_a_binary_message_arrives_between_texts(outbox: Outbox, peer: Peer) -> None:
    assert outbox.put(Parcel([b"one"]))
    assert outbox.show(Binary(b"pic"))
    assert outbox.put(Parcel([b"two"]))
    await settle(lambda: outbox.waiting() == 0)
    queued = (peer.texts, peer.pictures) == (["one", "two"], [b"pic"])
    assert queued or peer.bytes == b"\x81\x03one\x82\x03pic\x81\x03two"


async def test_a_large_binary_message_makes_nobody_slow(outbox: Outbox, peer: Peer) -> None:
    peer.stall()
    large = Binary(b"x" * (4 * SOFT_BYTES))
    assert outbox.show(large)
    assert not outbox.show(large)  # one at a time
    for _ in range(4):
        assert outbox.put(Parcel([b"y" * (SOFT_BYTES // 5)]))
    assert outbox.put(Parcel([b"y" * (SOFT_BYTES // 4)]))
    assert not outbox.put(Parcel([b"too much, picture or not"]))
    peer.read()
    await settle(lambda: outbox.waiting() == 0)
    assert outbox.show(large)


async def test_a_binary_message_wants_room(outbox: Outbox, peer: Peer) -> None:
    peer.stall()
    assert outbox.put(Parcel([b"x" * (ROOM_BYTES + 1)]))
    assert not outbox.show(Binary(b"pic"))
    assert outbox.put(Parcel([b"more"]))
    peer.read()
    await settle(lambda: outbox.waiting() == 0)
    outbox.close(1000, "")
    assert not outbox.show(Binary(b"late"))


async def test_a_queue_without_a_way_for_binary_messages_takes_none(peer: Peer) -> None:
    assert not QueueOutbox(peer.send, peer.end).show(Binary(b"pic"))


async def test_closing_says_the_code_once_and_takes_nothing_more(
    outbox: Outbox, peer: Peer
) -> None:
    outbox.close(4410, "deleted")
    outbox.close(1012, "restarting")
    assert outbox.closed
    assert not outbox.put(Parcel([b"late"]))
    await settle(lambda: peer.ended is not None)
    assert peer.ended == (4410, "deleted")
    assert not peer.texts


async def test_what_was_said_before_closing_still_arrives(peer: Peer) -> None:
    queue = QueueOutbox(peer.send, peer.end)
    queue.put(Parcel([b"why"]))
    queue.close(4404, "no session")
    await queue.run()
    assert peer.texts == ["why"]
    assert peer.ended == (4404, "no session")


async def test_a_wire_that_broke_takes_nothing(peer: Peer) -> None:
    outbox = WireOutbox(peer)
    peer.closed = True
    assert not outbox.put(Parcel([b"late"]))
