"""Rooms against a clock that is held: who may join, whose a seat is, when it is free again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from argon2 import PasswordHasher

from grandstand.bus.base import Committed, News
from grandstand.bus.memory import MemoryBus
from grandstand.clock import ManualClock
from grandstand.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    GrandstandError,
    NotFound,
    TooMany,
    Unauthenticated,
    ValidationFailed,
)
from grandstand.model.telemetry import STATUS
from grandstand.service.access import Access
from grandstand.service.accounts import Accounts
from grandstand.service.grants import EVERYBODY, Grant, Scope
from grandstand.service.ledger import Ledger
from grandstand.service.passwords import Passwords
from grandstand.service.rooms import LETTERS, NewRoom, RoomAccess, Rooms, Ticket, normal
from grandstand.service.sessions import NewSession, Sessions
from grandstand.store.database import Database
from grandstand.store.session_list import listing

SECRET = "k" * 48
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
STRANGER = Grant("visitor", frozenset())
PASSWORD = RoomAccess.PASSWORD
PRIVATE = RoomAccess.PRIVATE


class Desk:
    """The services of rooms, who is connected, and what the bus was told."""

    def __init__(self, database: Database, folder: Path, *, enabled: bool = True) -> None:
        self.clock = ManualClock()
        self.bus = MemoryBus()
        self.news: list[News] = []
        self.bus.subscribe(self.news.append)
        self.database = database
        ledger = Ledger(database, self.bus, self.clock)
        self.access = Access(database, self.clock, enabled=enabled, secret=SECRET)
        self.passwords = Passwords(QUICK)
        self.sessions = Sessions(ledger, folder, 5.0)
        self.accounts = Accounts(database, self.access, self.passwords, self.clock)
        self.rooms = Rooms(ledger, self.access, self.passwords)
        self.connected: dict[str, float] = {}
        self.rooms.away = lambda session_id, seat_id: self.connected.get(seat_id)

    async def open(self, session_id: str = "run", **more: Any) -> Any:
        await self.sessions.create(NewSession("DQN", training_session_id=session_id))
        return await self.rooms.open(session_id, EVERYBODY, NewRoom(**more))

    async def join(self, code: str, name: str, grant: Grant = STRANGER, **more: Any) -> Ticket:
        return await self.rooms.join(code, grant, name, **more)

    async def user(self, name: str) -> Grant:
        await self.accounts.add_user(name, "correct horse", ["watch"])
        signed = await self.accounts.sign_in(name, "correct horse")
        return self.access.grant(signed.token)

    def told(self) -> list[dict[str, Any]]:
        """What became of rooms, as watchers were told."""
        bodies = [
            msgspec.json.decode(record.body)
            for news in self.news
            if isinstance(news, Committed)
            for record in news.records
            if record.type == STATUS
        ]
        return [body for body in bodies if body["event"] == "room"]

    async def listed(self) -> list[str]:
        """Sessions that are in lists for somebody without a token."""
        page = await self.database.read(
            lambda c: listing(c, locked=not self.access.everybody.closed)
        )
        return sorted(s.session_id for s in page.sessions)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.open(f"sqlite:///{tmp_path / 'x.db'}")
    desk = Desk(database, tmp_path)
    await desk.access.open()
    yield desk
    desk.passwords.close()
    await database.aclose()


def refused(access: Access, token: str) -> type[GrandstandError] | None:
    try:
        access.grant(token)
    except GrandstandError as error:
        return type(error)
    return None


# Rooms.


async def test_a_room_has_a_code_nobody_mistakes(desk: Desk) -> None:
    opened = await desk.open()
    code = opened.room.code
    assert len(code) == 6
    assert set(code) <= set(LETTERS)
    assert not set(LETTERS) & set("0O1IL2Z5SBAEU")
    assert opened.room.name == f"Room {code}"
    assert opened.password is None
    assert (await desk.sessions.get("run")).room_code == code
    spoken = f" {code[:3].lower()}-{code[3:].lower()}\n"
    assert normal(spoken) == code
    assert (await desk.rooms.get(spoken)).code == code


async def test_a_session_has_one_room_at_a_time(desk: Desk) -> None:
    first = await desk.open()
    with pytest.raises(Conflict) as caught:
        await desk.rooms.open("run", EVERYBODY, NewRoom())
    assert caught.value.code == "room_exists"
    assert caught.value.details["room_code"] == first.room.code
    await desk.rooms.close(first.room.code)
    assert (await desk.sessions.get("run")).room_code is None
    second = await desk.rooms.open("run", EVERYBODY, NewRoom())
    assert second.room.code != first.room.code


async def test_a_session_that_is_to_have_no_spectators_gets_no_room(desk: Desk) -> None:
    await desk.sessions.create(
        NewSession("DQN", training_session_id="shy", enable_spectators=False)
    )
    with pytest.raises(Conflict, match="no spectators"):
        await desk.rooms.open("shy", EVERYBODY, NewRoom())
    with pytest.raises(NotFound):
        await desk.rooms.open("nothing", EVERYBODY, NewRoom())


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewRoom(PASSWORD, password="short"), "password"),
        (NewRoom(password="a long password"), "password"),
        (NewRoom(PRIVATE, password="a long password"), "password"),
        (NewRoom(name=" \u200b "), "name"),
    ],
)
async def test_what_makes_no_sense_is_refused(desk: Desk, new: NewRoom, field: str) -> None:
    await desk.sessions.create(NewSession("DQN", training_session_id="run"))
    with pytest.raises(ValidationFailed) as caught:
        await desk.rooms.open("run", EVERYBODY, new)
    assert caught.value.details["field"] == field
    with pytest.raises(ValidationFailed, match="past"):
        await desk.rooms.open("run", EVERYBODY, NewRoom(expires_at=desk.clock.now()))


async def test_a_password_is_made_told_once_and_kept_as_a_hash(desk: Desk) -> None:
    opened = await desk.open(access=PASSWORD)
    assert opened.password is not None
    assert len(opened.password) == 12
    room = await desk.rooms.get(opened.room.code)
    assert room.password_hash is not None
    assert room.password_hash.startswith("$argon2id$")
    assert opened.password not in room.password_hash
    assert "argon2" not in repr(room)
    for told in (None, "not the one"):
        with pytest.raises(Unauthenticated):
            await desk.join(room.code, "ann", password=told)
    assert (await desk.join(room.code, "ann", password=opened.password)).session_id == "run"


async def test_changing_a_room(desk: Desk) -> None:
    opened = await desk.open()
    code = opened.room.code
    ann = await desk.join(code, "ann")
    room, password = await desk.rooms.change(code, {"access": "password", "max_spectators": 1})
    assert password is not None
    assert desk.access.locked == {"run"}
    assert refused(desk.access, ann.token) is None  # who has a seat keeps it
    room, none = await desk.rooms.change(code, {"name": "Late show"})
    assert (room.name, room.max_spectators, none) == ("Late show", 1, None)
    room, changed = await desk.rooms.change(code, {"password": "another password"})
    assert changed == "another password"
    with pytest.raises(Unauthenticated):
        await desk.join(code, "bo", password=password)
    with pytest.raises(TooMany) as caught:
        await desk.join(code, "bo", password=changed)
    assert (caught.value.code, caught.value.retry_after_seconds) == ("room_full", 30)
    room, _ = await desk.rooms.change(code, {"access": "public"})
    assert room.password_hash is None
    assert desk.access.locked == set()
    with pytest.raises(ValidationFailed):
        await desk.rooms.change(code, {"password": "of a public room"})


async def test_watchers_hear_what_becomes_of_a_room(desk: Desk) -> None:
    opened = await desk.open(access=PASSWORD)
    await desk.rooms.change(opened.room.code, {"name": "Late show"})
    await desk.rooms.close(opened.room.code)
    told = desk.told()
    assert [t["action"] for t in told] == ["opened", "changed", "closed"]
    assert {t["room_code"] for t in told} == {opened.room.code}
    keys = {"event", "action", "room_code", "access", "max_spectators", "expires_at"}
    assert all(t.keys() <= keys for t in told)


# Seats.


async def test_the_same_name_is_the_same_seat(desk: Desk) -> None:
    code = (await desk.open(max_spectators=2)).room.code
    ann = await desk.join(code, "Ann")
    again = await desk.join(code, " ANN ")
    assert again.seat_id == ann.seat_id
    assert desk.rooms.taken(code) == 1
    bo = await desk.join(code, "Bo")
    assert bo.seat_id != ann.seat_id
    grant = desk.access.grant(bo.token)
    assert (grant.subject, grant.session_id, grant.room) == ("Bo", "run", code)
    assert grant.scopes == {Scope.WATCH}
    with pytest.raises(TooMany):
        await desk.join(code, "Cy")
    assert (await desk.join(code, "ann")).seat_id == ann.seat_id  # a full room too
    # A seat's token says whose it is, whatever name comes with it.
    assert (await desk.join(code, "Di", grant)).seat_id == bo.seat_id


async def test_many_joining_at_once_get_as_many_seats_as_there_are(desk: Desk) -> None:
    code = (await desk.open(max_spectators=5)).room.code
    names = [f"viewer {i % 10}" for i in range(30)]
    told = await asyncio.gather(*(desk.join(code, n) for n in names), return_exceptions=True)
    seats = {t.seat_id for t in told if isinstance(t, Ticket)}
    assert len(seats) == 5
    assert all(isinstance(t, (Ticket, TooMany)) for t in told)
    assert desk.rooms.taken(code) == 5


async def test_a_token_holds_at_once_however_many_come_at_once(desk: Desk) -> None:
    code = (await desk.open()).room.code

    async def come(i: int) -> bool:
        ticket = await desk.join(code, f"viewer {i}")
        return refused(desk.access, ticket.token) is None

    assert all(await asyncio.gather(*(come(i) for i in range(40))))


async def test_a_user_has_one_seat_that_is_nobody_elses(desk: Desk) -> None:
    code = (await desk.open()).room.code
    ann = await desk.user("Ann")
    seat = await desk.join(code, "somebody", ann)
    assert desk.access.grant(seat.token).subject == "Ann"
    assert (await desk.join(code, "else", ann)).seat_id == seat.seat_id
    with pytest.raises(Conflict) as caught:
        await desk.join(code, "ann")
    assert caught.value.code == "name_taken"
    with pytest.raises(ValidationFailed):
        await desk.rooms.join(code, STRANGER, None)
    assert (await desk.rooms.join(code, ann, None)).seat_id == seat.seat_id


async def test_who_was_removed_gets_no_seat_again(desk: Desk) -> None:
    code = (await desk.open()).room.code
    bo = await desk.join(code, "Bo")
    ann = await desk.user("Ann")
    hers = await desk.rooms.join(code, ann, None)
    for seat in (bo, hers):
        assert seat.seat_id is not None
        await desk.rooms.kick(code, seat.seat_id)
        await desk.rooms.kick(code, seat.seat_id)
        assert refused(desk.access, seat.token) is Forbidden
    for name, grant in (("bO", STRANGER), ("", ann), ("ann", STRANGER)):
        with pytest.raises(Forbidden) as caught:
            await desk.rooms.join(code, grant, name or None)
        assert caught.value.code == "removed_from_room"
    _, seats = await desk.rooms.seats(code)
    assert {s.name for s in seats if s.removed_at} == {"Bo", "Ann"}
    with pytest.raises(NotFound):
        await desk.rooms.kick(code, "nobody")


async def test_a_seat_that_was_left_is_free_and_its_tokens_are_void(desk: Desk) -> None:
    code = (await desk.open(max_spectators=1)).room.code
    ann = await desk.join(code, "Ann")
    grant = desk.access.grant(ann.token)
    await desk.rooms.leave(code, grant)
    assert refused(desk.access, ann.token) is Forbidden
    again = await desk.join(code, "Ann")
    assert again.seat_id != ann.seat_id
    assert refused(desk.access, ann.token) is Forbidden
    with pytest.raises(Forbidden):
        await desk.rooms.renew(code, grant)


async def test_a_seat_nobody_sits_on_is_free_after_two_minutes(desk: Desk) -> None:
    code = (await desk.open(max_spectators=3)).room.code
    gone, here, left = [await desk.join(code, name) for name in ("gone", "here", "left")]
    assert here.seat_id is not None
    assert left.seat_id is not None
    await desk.clock.advance(119)
    with pytest.raises(TooMany):
        await desk.join(code, "new")
    await desk.clock.advance(2)
    desk.connected = {here.seat_id: 0.0, left.seat_id: 5.0}
    assert desk.rooms.taken(code) == 2
    await desk.join(code, "new")
    assert refused(desk.access, gone.token) is Forbidden
    for ticket in (here, left):
        assert refused(desk.access, ticket.token) is None
    desk.connected = {here.seat_id: 0.0, left.seat_id: 121.0}
    _, seats = await desk.rooms.seats(code)
    assert [s.name for s in seats] == ["here", "new"]
    assert desk.rooms.here(await desk.rooms.get(code), seats[0])
    await desk.clock.advance(100)
    renewed = await desk.rooms.renew(code, desk.access.grant(here.token))
    assert renewed.expires_at > here.expires_at


# Tokens.


async def test_the_host_may_do_everything_about_one_session(desk: Desk) -> None:
    opened = await desk.open()
    await desk.sessions.create(NewSession("DQN", training_session_id="other"))
    host = desk.access.grant(opened.host_token)
    assert host.covers(Scope.OPERATE, "run")
    assert not host.covers(Scope.WATCH, "other")
    renewed = await desk.rooms.renew(opened.room.code, host)
    assert renewed.seat_id is None
    assert desk.access.grant(renewed.token).covers(Scope.OPERATE, "run")
    with pytest.raises(BadRequest):
        await desk.rooms.leave(opened.room.code, host)
    await desk.rooms.close(opened.room.code)
    assert refused(desk.access, renewed.token) is Gone


async def test_a_token_of_another_room_renews_nothing(desk: Desk) -> None:
    one, two = await desk.open("one"), await desk.open("two")
    ann = await desk.join(one.room.code, "Ann")
    with pytest.raises(Forbidden):
        await desk.rooms.renew(two.room.code, desk.access.grant(ann.token))


async def test_invitations(desk: Desk) -> None:
    code = (await desk.open(access=PRIVATE)).room.code
    other = (await desk.open("other", access=PRIVATE)).room.code
    with pytest.raises(Forbidden) as caught:
        await desk.join(code, "ann")
    assert caught.value.code == "invitation_needed"
    assert (await desk.join(code, "boss", EVERYBODY)).seat_id  # who may operate needs none
    _, invitation, _ = await desk.rooms.invite(code, 1)
    assert (await desk.join(code, "ann", invitation=invitation)).seat_id
    assert (await desk.join(code, "bo", invitation=invitation)).seat_id
    with pytest.raises(Unauthenticated, match="not for this room"):
        await desk.join(other, "ann", invitation=invitation)
    assert refused(desk.access, invitation) is Unauthenticated  # it is no token
    token, _, _ = desk.access.mint("x", timedelta(hours=1), scopes=[Scope.WATCH])
    with pytest.raises(Unauthenticated):
        await desk.join(code, "cy", invitation=token)
    await desk.clock.advance(3600 + 30)
    with pytest.raises(Unauthenticated, match="expired"):
        await desk.join(code, "cy", invitation=invitation)


# Ends.


async def test_a_room_that_expires_opens_its_session_again(desk: Desk) -> None:
    opened = await desk.open(access=PASSWORD, expires_at=desk.clock.now() + timedelta(minutes=10))
    ann = await desk.join(opened.room.code, "ann", password=opened.password)
    told: list[None] = []
    desk.access.changed.append(lambda: told.append(None))
    assert await desk.rooms.close_expired() == []
    await desk.clock.advance(600)
    assert refused(desk.access, ann.token) is Gone  # at once
    with pytest.raises(NotFound):
        await desk.join(opened.room.code, "bo", password=opened.password)
    assert await desk.rooms.close_expired() == [opened.room.code]
    assert desk.access.locked == set()
    assert told
    assert (await desk.sessions.get("run")).room_code is None
    page = await desk.database.read(lambda c: listing(c, locked=False))
    assert [s.session_id for s in page.sessions] == ["run"]
    assert (await desk.rooms.open("run", EVERYBODY, NewRoom())).room.code != opened.room.code


async def test_a_room_goes_with_its_session(desk: Desk) -> None:
    opened = await desk.open(access=PRIVATE)
    await desk.sessions.delete("run")
    desk.access.forget_session("run")
    assert desk.access.locked == set()
    assert refused(desk.access, opened.host_token) is Gone
    await desk.sessions.create(NewSession("DQN", training_session_id="run"))
    with pytest.raises(NotFound):
        await desk.rooms.of_session("run")


async def test_everything_is_there_after_a_restart(desk: Desk, tmp_path: Path) -> None:
    opened = await desk.open(access=PASSWORD)
    code = opened.room.code
    ann = await desk.join(code, "Ann", password=opened.password)
    bo = await desk.join(code, "Bo", password=opened.password)
    assert bo.seat_id is not None
    await desk.rooms.kick(code, bo.seat_id)
    await desk.clock.advance(300)
    next_one = Desk(desk.database, tmp_path)
    next_one.clock = desk.clock
    next_one.access = Access(desk.database, desk.clock, enabled=True, secret=SECRET)
    ledger = Ledger(desk.database, desk.bus, desk.clock)
    next_one.rooms = Rooms(ledger, next_one.access, desk.passwords)
    await next_one.access.open()
    assert next_one.access.locked == {"run"}
    assert refused(next_one.access, ann.token) is None
    assert refused(next_one.access, bo.token) is Forbidden
    # Who was connected to the one before has two minutes to come back.
    _, seats = await next_one.rooms.seats(code)
    assert [s.name for s in seats if s.taken] == ["Ann"]
    with pytest.raises(Forbidden):
        await next_one.join(code, "Bo", password=opened.password)
    next_one.passwords.close()


# Without authentication.


async def test_without_authentication_only_the_rooms_token_opens_its_session(
    tmp_path: Path,
) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'y.db'}")
    desk = Desk(database, tmp_path, enabled=False)
    await desk.access.open()
    opened = await desk.open(access=PRIVATE)
    made, _, _ = desk.access.mint("x", timedelta(hours=1), scopes=list(Scope))
    bound, _, _ = desk.access.mint("x", timedelta(hours=1), scopes=list(Scope), session_id="run")
    _, key = await desk.accounts.add_key(EVERYBODY, "k", ["watch", "report"])
    for token in (None, made, bound, key):
        grant = desk.access.grant(token)
        assert not grant.covers(Scope.WATCH, "run")
        assert not grant.covers(Scope.OPERATE, "run")
        assert grant.covers(Scope.REPORT, "run")
    worker = desk.access.worker_token(session_id="run", attempt=1)
    for token in (opened.host_token, worker):
        assert desk.access.grant(token).covers(Scope.WATCH, "run")
    assert await desk.listed() == []
    await desk.rooms.close(opened.room.code)
    assert await desk.listed() == ["run"]
    assert desk.access.grant(made).covers(Scope.WATCH, "run")
    desk.passwords.close()
    await database.aclose()
