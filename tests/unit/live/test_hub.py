"""Seats: no gap, no double, nobody waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from grandstand.bus.base import Deleted
from grandstand.errors import TooMany, Unavailable
from grandstand.live.group import BUSY_SEATS
from grandstand.live.seat import Seat
from grandstand.live.stand import PAGE

from .conftest import (
    ID,
    MakeWorld,
    Reader,
    World,
    covered,
    decision,
    episodes,
    graph,
    metrics,
    settle,
    status,
)


async def test_everybody_gets_the_same_bytes_encoded_once(world: World) -> None:
    class Counting:
        encoded = 0

        def encode(self, session_id: str, item: Any) -> bytes:
            self.encoded += 1
            return b'{"seq":%d}' % item.seq

        def notice(self, *_: Any) -> None:
            return None

    dialect = Counting()
    readers = [world.sit(dialect=dialect)[1] for _ in range(5)]
    world.commit(metrics(1))  # newcomers are welcomed one by one
    dialect.encoded = 0
    world.commit(status("phase"), status("phase"))
    assert dialect.encoded == 2
    assert all(r.seqs == [1, 2, 3] for r in readers)


async def test_one_who_joins_in_the_middle_of_a_period_gets_nothing_twice(world: World) -> None:
    _, early = world.sit()
    for episode in range(1, 6):
        world.commit(metrics(episode))
    _, late = world.sit()
    world.commit(metrics(6))
    await settle()
    await world.clock.advance(0.1)
    covered(early.messages, 0, 6)
    covered(late.messages, 5, 6)
    assert late.seqs == [6]
    world.commit(status("phase"))
    assert early.seqs[-1] == late.seqs[-1] == 7


async def test_a_snapshot_ahead_of_the_bus_is_not_repeated_by_it(world: World) -> None:
    """The store knows of a commit before its news come round."""
    world.sit()
    first = world.commit(metrics(1), metrics(2), publish=False)
    _, reader = world.sit()
    world.bus.publish(first)
    await settle()
    assert reader.seqs == []
    world.commit(status("phase"))
    assert reader.seqs == [3]
    covered(reader.messages, 2, 3)


@pytest.mark.parametrize("max_hz", [0.0, 10.0])
async def test_a_replay_while_records_arrive_has_no_gap_and_no_double(
    world: World, max_hz: float
) -> None:
    world.commit(*[metrics(i) for i in range(1, 40)], status("phase"), decision(1), graph())
    arrivals = 0

    def arrive() -> None:
        nonlocal arrivals
        if arrivals < 6:
            arrivals += 1
            world.commit(metrics(100 + arrivals), decision(arrivals), status("phase"))

    world.sit()  # a stand that is there already, with a period under way
    world.commit(metrics(41))
    world.during_read = arrive
    seat, reader = world.sit(max_hz=max_hz)
    told: list[tuple[bool, int]] = []
    await seat.stand.resume(seat, 3, lambda whole, last: told.append((whole, last)))
    await settle(lambda: arrivals == 6 and seat.group is not None)
    world.commit(status("phase"))
    covered(reader.messages, 3, world.last_seq)
    assert told[0][0] is True


async def test_a_replay_of_many_pages(world: World) -> None:
    world.commit(episodes(1, 2 * PAGE + 1))
    seat, reader = world.sit(max_hz=0.0, position=0)
    await settle(lambda: seat.group is not None)
    assert reader.seqs == list(range(1, 2 * PAGE + 2))
    assert world.reads == 3


async def test_many_who_come_back_together_share_the_reading(world: World) -> None:
    world.commit(*[metrics(i) for i in range(1, 101)])
    seats = [world.sit(position=0, max_hz=0.0) for _ in range(50)]
    await settle(lambda: all(seat.group is not None for seat, _ in seats))
    assert all(reader.seqs == list(range(1, 101)) for _, reader in seats)
    assert world.reads == 1


async def test_those_who_come_from_elsewhere_share_the_page_read_last(world: World) -> None:
    world.commit(*[metrics(i) for i in range(1, 101)])
    first, _ = world.sit(position=0, max_hz=0.0)
    await settle(lambda: first.group is not None)
    seats = [(since, *world.sit(position=since, max_hz=0.0)) for since in range(1, 40)]
    await settle(lambda: all(seat.group is not None for _, seat, _ in seats))
    assert world.reads == 1
    world.commit(status("phase"))
    for since, _, reader in seats:
        assert reader.seqs == list(range(since + 1, 102))
    # What came after that page is read for itself.
    late, reader = world.sit(position=97, max_hz=0.0)
    await settle(lambda: late.group is not None)
    assert reader.seqs == [98, 99, 100, 101]
    assert world.reads == 2


async def resumed(world: World, seat: Seat, since: int) -> tuple[bool, int]:
    told: list[tuple[bool, int]] = []
    await seat.stand.resume(seat, since, lambda whole, last: told.append((whole, last)))
    await settle(lambda: seat.group is not None)
    return told[0]


async def test_what_is_no_longer_stored_is_said_not_to_be_recovered(world: World) -> None:
    world.commit(*[metrics(i) for i in range(1, 101)])
    del world.rows[:50]
    seat, reader = world.sit()
    assert await resumed(world, seat, 10) == (False, 100)
    assert await resumed(world, seat, 49) == (False, 100)
    assert reader.seqs == []
    assert await resumed(world, seat, 50) == (True, 100)
    assert reader.seqs == list(range(51, 101))
    world.commit(status("phase"))
    assert reader.seqs[-1] == 101


async def test_a_seq_of_another_life_is_said_not_to_be_recovered(world: World) -> None:
    world.commit(metrics(1))
    seat, reader = world.sit()
    assert await resumed(world, seat, 500) == (False, 1)
    world.commit(metrics(2))
    assert reader.seqs == [2]


async def test_more_missed_than_a_thinned_seat_is_replayed(make_world: MakeWorld) -> None:
    world = await make_world(history=100)
    world.commit(episodes(1, 500))
    seat, reader = world.sit()
    assert await resumed(world, seat, 0) == (False, 500)
    assert await resumed(world, seat, 400) == (True, 500)
    assert reader.seqs == list(range(401, 501))
    every, whole = world.sit(max_hz=0.0)
    assert await resumed(world, every, 0) == (True, 500)
    assert whole.seqs == list(range(1, 501))


async def test_a_flood_reaches_who_wants_every_row_from_the_store(world: World) -> None:
    seat, reader = world.sit(max_hz=0.0)
    world.commit(status("phase"))
    world.commit(episodes(1, 3000))
    world.commit(metrics(3001))
    assert reader.seqs == [1]
    await settle(lambda: seat.group is not None)
    world.commit(status("phase"))
    assert reader.seqs == list(range(1, world.last_seq + 1))


async def test_types_and_rate_change_without_gap_or_double(world: World) -> None:
    seat, reader = world.sit()
    for episode in range(1, 8):
        world.commit(metrics(episode))
    seat.stand.tune(seat, max_hz=0.0)
    world.commit(metrics(8))
    await settle(lambda: seat.group is not None)
    for episode in range(9, 12):
        world.commit(metrics(episode))
    covered(reader.messages, 0, 11)
    seat.stand.tune(seat, max_hz=10.0, types=frozenset({"training_status"}))
    world.commit(metrics(12), status("phase"))
    assert reader.messages[-1]["type"] == "training_status"
    assert reader.seqs[-2:] == [11, 13]


async def test_a_slow_reader_is_set_aside_and_repaired(world: World) -> None:
    seat, slow = world.sit(max_hz=0.0)
    _, quick = world.sit(max_hz=0.0)
    slow.reads = False
    big = "x" * 250
    for i in range(1000):
        world.commit(status("phase", text=big, n=i))
    assert quick.seqs == list(range(1, 1001))
    assert 0 < slow.waiting() < 128 * 1024
    await settle()
    assert slow.seqs == []
    slow.reads = True
    slow.read()
    await settle(lambda: seat.group is not None)
    world.commit(status("phase"))
    assert slow.seqs == list(range(1, 1002))


async def test_a_thinned_slow_reader_is_repaired_with_the_newest(world: World) -> None:
    seat, slow = world.sit()
    slow.reads = False
    big = "x" * 1000
    for _ in range(100):
        world.commit(status("phase", text=big))
    assert seat.group is None
    world.commit(episodes(1, 600), decision(1), status("late"))
    slow.reads = True
    slow.read()
    await settle(lambda: seat.group is not None)
    world.commit(status("phase"))
    covered(slow.messages, 0, world.last_seq)
    assert len(slow.seqs) == 100 + 3 + 1


async def test_a_thinned_reader_far_behind_is_told_what_it_does_not_get(
    make_world: MakeWorld,
) -> None:
    world = await make_world(history=100)
    seat, slow = world.sit()
    slow.reads = False
    for _ in range(100):
        world.commit(status("phase", text="x" * 1000))
    world.commit(episodes(1, 5000))
    slow.reads = True
    slow.read()
    await settle(lambda: seat.group is not None)
    covered(slow.messages, 0, world.last_seq)


async def test_one_who_never_reads_is_let_go_within_bounds(world: World) -> None:
    seat, stuck = world.sit(max_hz=0.0)
    _, quick = world.sit(max_hz=0.0)
    stuck.reads = False
    for _ in range(200):
        world.commit(status("phase", text="x" * 1000))
    held = stuck.waiting()
    assert held < 1 << 17
    await settle()
    for _ in range(8):
        await world.clock.advance(1)
        await settle()
    assert stuck.code is None
    for _ in range(4):
        await world.clock.advance(1)
        await settle()
    assert stuck.code is not None
    assert stuck.code[0] == 4508
    assert stuck.waiting() == held
    world.hub.rise(seat)
    world.commit(status("phase"))
    assert quick.seqs[-1] == world.last_seq


async def test_one_who_reads_a_little_is_not_let_go(world: World) -> None:
    _, slow = world.sit(max_hz=0.0)
    slow.reads = False
    for _ in range(200):
        world.commit(status("phase", text="x" * 1000))
    for _ in range(30):
        await settle()
        await world.clock.advance(1)
        slow.read(1)
    assert slow.code is None


async def test_answers_nobody_reads_are_bounded(make_world: MakeWorld) -> None:
    world = await make_world(queue_bytes=100_000)
    seat, stuck = world.sit()
    stuck.reads = False
    for _ in range(3000):
        seat.say(b'{"seq":null,"pad":"%s"}' % (b"x" * 100))
    assert stuck.code is not None
    assert stuck.code[0] == 4508
    assert stuck.waiting() < 101_000


async def test_a_busy_room_is_written_to_a_few_times_with_whole_messages(world: World) -> None:
    seats = [world.sit(max_hz=0.0) for _ in range(2 * BUSY_SEATS)]
    world.commit(status("phase"))  # newcomers are welcomed
    before = [reader.parcels for _, reader in seats]
    for _ in range(200):
        world.commit(status("phase"))
    await settle(lambda: all(reader.seqs[-1] == 201 for _, reader in seats))
    for (_, reader), parcels in zip(seats, before, strict=True):
        assert reader.seqs == list(range(1, 202))
        assert reader.parcels - parcels < 20


async def test_one_who_leaves_while_messages_gather_misses_none_on_coming_back(
    world: World,
) -> None:
    seats = [world.sit(max_hz=0.0) for _ in range(BUSY_SEATS + 1)]
    for _ in range(20):
        world.commit(status("phase"))
    seat, reader = seats[0]
    seat.stand.tune(seat, types=seat.types)
    for _ in range(20):
        world.commit(status("phase"))
    await settle(lambda: all(r.seqs and r.seqs[-1] == 40 for _, r in seats))
    assert reader.seqs == list(range(1, 41))


async def test_a_deleted_session_closes_its_sockets_and_a_new_one_is_another(world: World) -> None:
    seat, reader = world.sit()
    world.bus.publish(Deleted(ID))
    assert reader.code is not None
    assert reader.code[0] == 4410
    world.last_seq, world.rows = 0, []
    _, other = world.sit()
    world.hub.rise(seat)
    world.commit(metrics(1))
    assert other.seqs == [1]
    assert reader.seqs == []


async def test_limits(make_world: MakeWorld) -> None:
    world = await make_world(per_session=2, total=3)
    seats = [world.sit()[0] for _ in range(2)]
    with pytest.raises(TooMany) as refused:
        world.sit()
    assert refused.value.close_code == 4429
    assert refused.value.retry_after_seconds
    assert world.hub.watching(ID) == 2
    world.hub.rise(seats[0])
    world.hub.rise(seats[0])
    assert world.hub.watching(ID) == 1
    world.sit()
    for _ in range(3):
        world.hub.enter()
    with pytest.raises(TooMany):
        world.hub.enter()
    world.hub.leave()
    world.hub.enter()
    assert world.hub.connections == 3


async def test_an_address_has_so_many_connections(make_world: MakeWorld) -> None:
    world = await make_world(per_address=2, total=9)
    for _ in range(2):
        world.hub.enter("10.0.0.1")
    with pytest.raises(TooMany) as refused:
        world.hub.enter("10.0.0.1")
    assert (refused.value.code, refused.value.close_code) == ("address_full", 4429)
    assert "trusted_proxies" in refused.value.detail
    world.hub.enter("10.0.0.2")
    for _ in range(3):
        world.hub.enter()  # nobody knows from where
    world.hub.leave("10.0.0.1")
    world.hub.enter("10.0.0.1")
    assert world.hub.connections == 6


async def test_closing_says_come_back_and_takes_nobody_new(world: World) -> None:
    seat, reader = world.sit()
    closing = asyncio.create_task(world.hub.aclose())
    await settle()
    assert reader.code is not None
    assert reader.code[0] == 1012
    assert not closing.done()
    world.hub.rise(seat)
    await settle(closing.done)
    with pytest.raises(Unavailable):
        world.hub.enter()


async def test_spectators_are_sent_away_a_few_at_a_time(world: World) -> None:
    sat = [world.sit() for _ in range(20)]

    def away() -> int:
        return sum(reader.code is not None for _, reader in sat)

    leaving = asyncio.create_task(world.hub.see_out())
    counts = []
    while not leaving.done():
        await settle()
        counts.append(away())
        await world.clock.advance(0.05)
    assert [*counts, away()] == [5, 10, 15, 20]
    with pytest.raises(Unavailable):
        world.hub.enter()


async def test_closing_does_not_wait_for_ever(world: World) -> None:
    world.sit()
    closing = asyncio.create_task(world.hub.aclose())
    await settle()
    await world.clock.advance(2)
    await settle(closing.done)


async def test_nothing_is_done_for_sessions_nobody_watches(world: World) -> None:
    world.commit(metrics(1))
    seat, _ = world.sit()
    world.hub.rise(seat)
    world.commit(metrics(2))
    assert world.hub.watching(ID) == 0


class Broken(Reader):
    """A connection that is gone, which nobody has noticed yet."""

    def put(self, parcel: Any, limit: int = 0) -> bool:
        self.closed = True
        return False


async def test_a_broken_connection_harms_nobody_else(world: World) -> None:
    world.sit(Broken())
    _, other = world.sit()
    world.commit(status("phase"))
    world.commit(status("phase"))
    await settle()
    assert other.seqs == [1, 2]


async def test_a_replay_that_fails_closes_the_socket_and_is_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.commit(metrics(1))

    def fail() -> None:
        raise OSError("the disk is gone")

    world.during_read = fail
    _, reader = world.sit(position=0)
    await settle(lambda: reader.code is not None)
    assert reader.code == (1011, "the server could not read what was missed")
    assert "the disk is gone" in caplog.text


async def test_presence_is_told_together_and_in_names(world: World) -> None:
    _, ann = world.sit(name="Ann")
    await settle()
    await world.clock.advance(1)
    assert ann.messages[-1]["data"] == {
        "event": "presence",
        "spectator_count": 1,
        "spectators": ["Ann"],
        "joined": ["Ann"],
        "left": [],
        "user_name": "Ann",
        "action": "joined",
    }
    assert ann.messages[-1]["seq"] is None
    others = [world.sit(name=name)[0] for name in ("Bob", "Cy", "")]
    world.hub.rise(others[0])
    await settle()
    await world.clock.advance(1)
    data = ann.messages[-1]["data"]
    assert data["spectator_count"] == 3
    assert (data["joined"], data["left"]) == (["Cy"], [])
    assert "user_name" not in data
    told = len(ann.messages)
    world.hub.rise(world.sit(name="Dee")[0])
    await settle()
    await world.clock.advance(1)
    assert len(ann.messages) == told
