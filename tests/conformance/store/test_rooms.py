"""Rooms and seats, alike in every database; and two servers at one room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from argon2 import PasswordHasher

from grandstand.bus.memory import MemoryBus
from grandstand.clock import ManualClock
from grandstand.errors import Conflict, NotFound, TooMany
from grandstand.service.access import Access
from grandstand.service.grants import EVERYBODY, Grant
from grandstand.service.ledger import Ledger
from grandstand.service.passwords import Passwords
from grandstand.service.rooms import NewRoom, RoomAccess, Rooms, Ticket
from grandstand.store import rooms as rows
from grandstand.store.database import Database
from grandstand.store.sessions import find

from .conftest import START, Reporter

STRANGER = Grant("visitor", frozenset())
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def values(pk: int, code: str, **more: Any) -> dict[str, Any]:
    return {
        "code": code,
        "session_pk": pk,
        "name": "a room",
        "access": "private",
        "max_spectators": 2,
        "created_by": "ann",
        "created_at": START,
        **more,
    }


async def test_codes_are_taken_for_good(database: Database, reporter: Reporter) -> None:
    def add(code: str, **more: Any) -> Callable[..., bool]:
        return lambda c: rows.add_room(c, values(reporter.pk, code, **more))

    assert await database.write(add("CCCCCC", closed_at=START))
    assert not await database.write(add("CCCCCC"))
    assert await database.write(add("DDDDDD", expires_at=START + timedelta(hours=1)))
    found = await database.read(lambda c: rows.open_rooms(c, START))
    assert [(room.code, room.session_id) for room in found] == [("DDDDDD", reporter.session_id)]
    assert found[0].locked
    later = START + timedelta(hours=1)
    assert await database.read(lambda c: rows.open_rooms(c, later)) == []
    (expired,) = await database.read(lambda c: rows.expired_rooms(c, later))
    assert expired.code == "DDDDDD"
    for code in ("CCCCCC", "EEEEEE", "\0"):
        with pytest.raises(NotFound):
            await database.read(lambda c, code=code: rows.get_room(c, code, START))


class Server:
    """One of several at the same database."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        ledger = Ledger(database, MemoryBus(), clock)
        self.access = Access(database, clock, enabled=True, secret="k" * 48)
        self.passwords = Passwords(QUICK)
        self.rooms = Rooms(ledger, self.access, self.passwords)


async def test_two_servers_give_out_no_seat_twice(database: Database, reporter: Reporter) -> None:
    clock = ManualClock(START)
    where = database.engine.url.render_as_string(hide_password=False)
    other = Database.open(where, migrate=False)
    one, two = Server(database, clock), Server(other, clock)
    opened = await one.rooms.open(
        reporter.session_id, EVERYBODY, NewRoom(RoomAccess.PASSWORD, max_spectators=5)
    )
    code = opened.room.code
    session = await database.read(lambda c: find(c, reporter.session_id))
    assert session is not None
    assert session.room_code == code
    with pytest.raises(Conflict):
        await two.rooms.open(reporter.session_id, EVERYBODY, NewRoom())

    async def join(server: Server, name: str) -> Ticket:
        return await server.rooms.join(code, STRANGER, name, password=opened.password)

    names = [f"viewer {i}" for i in range(10)]
    told = await asyncio.gather(
        *(join(server, name) for name in names for server in (one, two)), return_exceptions=True
    )
    assert all(isinstance(t, (Ticket, TooMany)) for t in told), told
    assert len({t.seat_id for t in told if isinstance(t, Ticket)}) == 5
    room, seats = await two.rooms.seats(code)
    assert len(seats) == 5
    await two.rooms.kick(code, seats[0].id)
    await one.access.refresh()
    known = one.access.room(room.code)
    assert known is not None
    assert len(known.seats) == 4
    await two.rooms.close(code)
    session = await database.read(lambda c: find(c, reporter.session_id))
    assert session is not None
    assert session.room_code is None
    for server in (one, two):
        server.passwords.close()
    await other.aclose()
