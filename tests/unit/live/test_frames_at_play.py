"""Frames of the agent at play: beside the messages, the newest for everybody, none waited for."""

from __future__ import annotations

import json

from grandstand.bus.base import Deleted
from grandstand.clock import ManualClock
from grandstand.live.frames import Parcel
from grandstand.live.outbox import SOFT_BYTES
from grandstand.live.stand import LATE_SECONDS
from grandstand.model.frames import Frame

from .conftest import ID, Reader, World, metrics, settle


def picture(name: str, episode: int = 1) -> Frame:
    return Frame(name.encode(), "image/jpeg", episode, None, None, ManualClock().now())


def images(reader: Reader) -> list[bytes]:
    return [shown[4 + int.from_bytes(shown[:4], "big") :] for shown in reader.shown]


async def test_frames_go_to_those_who_want_them(world: World) -> None:
    (ann, hers), (_, his) = world.sit(), world.sit()
    world.hub.show_frames(ann, True)
    assert world.hub.show(ID, picture("a"))
    assert (images(hers), images(his)) == ([b"a"], [])
    assert world.hub.show("nobody watches", picture("b"))
    world.hub.show_frames(ann, False)
    world.hub.show(ID, picture("c"))
    assert images(hers) == [b"a"]
    header = json.loads(hers.shown[0][4 : 4 + int.from_bytes(hers.shown[0][:4], "big")])
    assert header["type"] == "frame"
    assert (header["session_id"], header["episode"], header["media_type"]) == (ID, 1, "image/jpeg")


async def test_who_comes_later_gets_the_newest_at_once_and_once(world: World) -> None:
    world.hub.show(ID, picture("a"))
    world.hub.show(ID, picture("b"))
    seat, reader = world.sit()
    world.hub.show_frames(seat, True)
    world.hub.show_frames(seat, True)
    assert images(reader) == [b"b"]


async def test_a_slow_one_gets_the_newest_when_there_is_room(world: World) -> None:
    seat, reader = world.sit()
    world.hub.show_frames(seat, True)
    reader.reads = False
    reader.put(Parcel([b'{"seq": null, "x": "' + b"x" * SOFT_BYTES + b'"}']))
    for name in "abc":
        world.hub.show(ID, picture(name))
    for _ in range(5):
        await world.clock.advance(LATE_SECONDS)
    assert images(reader) == []
    reader.read()
    await world.clock.advance(LATE_SECONDS)
    assert images(reader) == [b"c"]
    await world.clock.advance(10 * LATE_SECONDS)
    assert images(reader) == [b"c"]


async def test_one_who_is_caught_up_with_gets_frames_only_afterwards(world: World) -> None:
    for episode in range(5):
        world.commit(metrics(episode))
    seat, reader = world.sit(position=0, max_hz=0.0)
    world.hub.show_frames(seat, True)
    world.hub.show(ID, picture("a"))
    assert images(reader) == []
    await settle(lambda: reader.seqs == [1, 2, 3, 4, 5])
    await settle(lambda: seat.following is None)
    await world.clock.advance(LATE_SECONDS)
    assert images(reader) == [b"a"]


async def test_one_who_leaves_or_is_closed_is_offered_nothing_more(world: World) -> None:
    (gone, left), (cut, closed) = world.sit(), world.sit()
    for seat, reader in ((gone, left), (cut, closed)):
        world.hub.show_frames(seat, True)
        reader.reads = False
        reader.put(Parcel([b'{"seq": null, "x": "' + b"x" * SOFT_BYTES + b'"}']))
    world.hub.show(ID, picture("a"))
    world.hub.rise(gone)
    closed.close(1000, "")
    await world.clock.advance(3 * LATE_SECONDS)
    left.read()
    await world.clock.advance(3 * LATE_SECONDS)
    assert images(left) == images(closed) == []


async def test_a_deleted_session_takes_its_frames_along(world: World) -> None:
    world.hub.show(ID, picture("a"))
    world.bus.publish(Deleted(ID))
    await settle()
    assert world.hub.gallery.newest(ID) is None
