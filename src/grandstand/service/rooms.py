"""Rooms: a session's audience, with a code to join by; who has a seat, and who may have none."""

from __future__ import annotations

import logging
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from grandstand.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GrandstandError,
    NotFound,
    TooMany,
    Unauthenticated,
    ValidationFailed,
)
from grandstand.model.session import new_id
from grandstand.service.access import Access
from grandstand.service.accounts import clean, compared
from grandstand.service.grants import Grant, Scope
from grandstand.service.ledger import Ledger, Unit
from grandstand.service.passwords import LONGEST, Passwords
from grandstand.store import rooms as rows
from grandstand.store import sessions as session_rows
from grandstand.store.rooms import Room, RoomSeat

logger = logging.getLogger("grandstand.rooms")

LETTERS = "CDFGHJKMNPQRTVWXY346789"
"""Of a code: none is taken for another (0 O, 1 I L, 2 Z, 5 S, 8 B), and without vowels no words."""
CODE_LENGTH = 6
SHORTEST_PASSWORD = 6
FREE_SECONDS = 120.0
"""A seat that nobody has sat on for so long is free again."""
COME_BACK_SECONDS = 30.0
HOST_DAYS = 30
USER = "user:"
"""Begins the keys of seats of those who are signed in."""
INVITATION = "grandstand-invitation"
ROUND_SECONDS = 5.0


class RoomAccess(StrEnum):
    """Who may join a room."""

    PUBLIC = "public"
    """Everybody; its session is open to everybody as before."""
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    """Who knows the password."""
    PRIVATE = "private"
    """Who has an invitation. It is in no list."""


@dataclass(frozen=True, slots=True)
class NewRoom:
    """What it takes to open a room.

    Attributes:
        password: for `RoomAccess.PASSWORD`; None has one made.
        name: None: its code.
    """

    access: RoomAccess = RoomAccess.PUBLIC
    password: str | None = None
    name: str | None = None
    max_spectators: int = 50
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A room, and what is told this once.

    Attributes:
        password: the one that was made, or given.
    """

    room: Room
    host_token: str
    host_token_expires_at: datetime
    password: str | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """What lets somebody into a room.

    Attributes:
        renew_after_seconds: when to ask for the next token.
    """

    token: str
    expires_at: datetime
    renew_after_seconds: float
    session_id: str
    seat_id: str | None


class Rooms:
    """The verbs of rooms.

    Args:
        enabled: whether new ones may be opened.
        watch_minutes: how long a watch token lasts.

    Attributes:
        away: seconds since somebody was connected with a seat, 0 while somebody is; None where
            that is not known. The stands put themselves here.
    """

    def __init__(
        self,
        ledger: Ledger,
        access: Access,
        passwords: Passwords,
        *,
        enabled: bool = True,
        watch_minutes: float = 15.0,
    ) -> None:
        self._ledger = ledger
        self._clock = ledger.clock
        self._access = access
        self._passwords = passwords
        self._enabled = enabled
        self._lifetime = timedelta(minutes=watch_minutes)
        self._opened_at = self._clock.now()
        self.away: Callable[[str, str], float | None] = lambda session_id, seat_id: None

    # Rooms.

    async def open(self, session_id: str, grant: Grant, new: NewRoom) -> Opened:
        """Open a session's room.

        Raises:
            NotFound: no such session.
            Conflict: it has an open room, is to have no spectators, or rooms are switched off.
            ValidationFailed: an argument makes no sense.
            TooMany: too many passwords are being hashed.
        """
        if not self._enabled:
            raise Conflict(
                "this server has no rooms",
                code="rooms_disabled",
                detail="integration.enable_spectator_integration switches them on.",
            )
        if new.password is not None and new.access is not RoomAccess.PASSWORD:
            raise ValidationFailed(
                f"password: a {new.access.value} room has none", details={"field": "password"}
            )
        self._check_expiry(new.expires_at)
        password, kept = await self._password(new.access, new.password)
        name = clean(new.name) if new.name is not None else None

        def work(unit: Unit) -> Room:
            session = unit.session(session_id)
            if not session.enable_spectators:
                raise Conflict(
                    f"session {session_id} is to have no spectators",
                    code="spectators_disabled",
                    detail="It was opened with enable_spectators false.",
                    details={"session_id": session_id},
                )
            self._expire(unit, rows.expired_rooms(unit.connection, unit.at))
            if (old := rows.room_of(unit.connection, session_id, unit.at)) is not None:
                raise Conflict(
                    f"session {session_id} has a room already",
                    code="room_exists",
                    detail="Change that one, or close it first.",
                    details={"session_id": session_id, "room_code": old.code},
                )
            pk = int(session_rows.row_of(unit.connection, session_id).pk)
            code = _store(unit, pk, new, name, kept, grant.subject)
            room = rows.get_room(unit.connection, code, unit.at)
            _tell(unit, room, "opened", {"room_code": code, "locked": room.locked})
            return room

        room = await self._ledger.write(work)
        await self._access.refresh()
        token, expires_at = self.host_token(room)
        return Opened(room, token, expires_at, password)

    async def change(self, code: str, changes: Mapping[str, Any]) -> tuple[Room, str | None]:
        """Change a room; whoever has a seat keeps it.

        Args:
            changes: any of name, access, password, max_spectators, expires_at (None: never).

        Returns:
            the room, and its password, if it got one.

        Raises:
            NotFound: no such room.
            ValidationFailed: a value makes no sense.
            TooMany: too many passwords are being hashed.
        """
        values = dict(changes)
        told = values.pop("password", None)
        was = await self.get(code)
        access = RoomAccess(values.get("access") or was.access)
        if told is not None and access is not RoomAccess.PASSWORD:
            raise ValidationFailed(
                f"password: a {access.value} room has none", details={"field": "password"}
            )
        self._check_expiry(values.get("expires_at"))
        if values.get("name") is not None:
            values["name"] = clean(values["name"])
        password = None
        values["access"] = access.value
        if told is not None or (access is RoomAccess.PASSWORD and was.password_hash is None):
            password, values["password_hash"] = await self._password(access, told)
        elif access is not RoomAccess.PASSWORD:
            values["password_hash"] = None

        def work(unit: Unit) -> Room:
            room = rows.get_room(unit.connection, was.code, unit.at, to_change=True)
            rows.change_room(unit.connection, room.code, values)
            room = rows.get_room(unit.connection, room.code, unit.at)
            _tell(unit, room, "changed", {"locked": room.locked})
            return room

        room = await self._ledger.write(work)
        await self._access.refresh()
        return room, password

    async def close(self, code: str) -> None:
        """Close a room; its sockets close with 4410, its session stays.

        Raises:
            NotFound: no such room.
        """

        def work(unit: Unit) -> None:
            room = rows.get_room(unit.connection, normal(code), unit.at, to_change=True)
            self._close(unit, room, "closed")

        await self._ledger.write(work)
        await self._access.refresh()

    async def get(self, code: str) -> Room:
        """An open room.

        Raises:
            NotFound: there is none of that code.
        """
        at, code = self._clock.now(), normal(code)
        return await self._ledger.database.read(lambda c: rows.get_room(c, code, at))

    async def of_session(self, session_id: str) -> Room:
        """A session's open room.

        Raises:
            NotFound: it has none.
        """
        at = self._clock.now()
        room = await self._ledger.database.read(lambda c: rows.room_of(c, session_id, at))
        if room is None:
            raise NotFound(
                f"session {session_id} has no room",
                code="room_not_found",
                detail="Open one: POST /api/training/sessions/SESSION/room.",
                details={"session_id": session_id},
            )
        return room

    async def listing(self) -> list[Room]:
        """Every open room, newest first."""
        at = self._clock.now()
        return await self._ledger.database.read(lambda c: rows.open_rooms(c, at))

    def taken(self, code: str) -> int:
        """How many seats of an open room are taken, as far as is known here."""
        room = self._access.room(code)
        if room is None:
            return 0
        at, away = self._clock.now(), self._away_of(code)
        return sum(not self._deserted(seen, at, away.get(i)) for i, seen in room.seen.items())

    # Seats.

    async def join(
        self,
        code: str,
        grant: Grant,
        user_name: str | None,
        *,
        password: str | None = None,
        invitation: str | None = None,
    ) -> Ticket:
        """A seat and a watch token. The same name is the same seat, however often it joins; so is
        the same user, and whoever sends the token of a seat.

        Raises:
            NotFound: no such room.
            Unauthenticated: the password is wrong (code ``wrong_password``) or missing, or the
                invitation does not hold.
            Forbidden: it is private and there is no invitation; or whoever joins was removed.
            Conflict: the name is somebody's who is signed in.
            TooMany: there is no free seat, or too many passwords are being checked.
            ValidationFailed: there is no name.
        """
        room = await self.get(code)
        again = grant.seat if grant.room == room.code else None
        if again is None and not grant.covers(Scope.OPERATE, room.session_id):
            await self._admitted(room, password, invitation)
        user_id = grant.user_id
        name = (self._access.user_name(user_id) if user_id is not None else None) or user_name
        if again is None and name is None:
            raise ValidationFailed("user_name: say who joins", details={"field": "user_name"})
        name = clean(name or grant.subject, "user_name")
        away = self._away_of(room.code)

        def work(unit: Unit) -> str:
            now = rows.get_room(unit.connection, room.code, unit.at, to_change=True)
            key = _key(user_id, name)
            about = rows.seats_about(unit.connection, room.code, key, again, USER)
            mine: RoomSeat | None
            if again is not None:
                mine = _held(about, again)
            else:
                _check_free(about, user_id, name)
                mine = next((s for s in about if s.key == key), None)
            if mine is not None and mine.taken:
                rows.change_seat(unit.connection, mine.id, {"seen_at": unit.at})
                return mine.id
            taken = rows.count_taken(unit.connection, room.code)
            if taken >= now.max_spectators:
                free = self._free(rows.seats_of(unit.connection, room.code), unit.at, away)
                self._leave(unit, free)
                taken -= len(free)
            if taken >= now.max_spectators:
                raise TooMany(
                    f"room {room.code} is full: {now.max_spectators} seats",
                    code="room_full",
                    detail="Come back when somebody has left.",
                    details={"room_code": room.code, "max_spectators": now.max_spectators},
                    retry_after_seconds=COME_BACK_SECONDS,
                )
            # A new id each time: the tokens of whoever left stay void.
            fresh = RoomSeat(new_id(), room.code, key, name, unit.at, unit.at, None, None)
            if mine is None:
                rows.add_seat(unit.connection, fresh)
            else:
                rows.change_seat(
                    unit.connection,
                    mine.id,
                    {
                        "id": fresh.id,
                        "name": name,
                        "joined_at": unit.at,
                        "seen_at": unit.at,
                        "left_at": None,
                    },
                )
            return fresh.id

        seat_id = await self._ledger.write(work)
        await self._access.refresh()
        return self._ticket(room, name, seat_id)

    async def renew(self, code: str, grant: Grant) -> Ticket:
        """The next token, for whoever holds one of this room: a spectator's, or its host's.

        Raises:
            NotFound: no such room.
            Forbidden: the token is not of this room, or its seat is lost.
        """
        _check_holder(code, grant)  # first, so that nobody learns of other codes here
        room = await self.get(code)
        if grant.seat is None:
            token, expires_at = self.host_token(room)
            half = (expires_at - self._clock.now()).total_seconds() / 2
            return Ticket(token, expires_at, half, room.session_id, None)
        seat_id = grant.seat

        def work(unit: Unit) -> RoomSeat:
            found = rows.seats_about(unit.connection, room.code, "", seat_id, USER)
            seat = _held(found, seat_id)
            rows.change_seat(unit.connection, seat_id, {"seen_at": unit.at})
            return seat

        seat = await self._ledger.write(work)
        return self._ticket(room, seat.name, seat.id)

    async def leave(self, code: str, grant: Grant) -> None:
        """Give one's seat back; its sockets close.

        Raises:
            Forbidden: the token is not of this room.
            BadRequest: it is the host's, who has no seat.
        """
        _check_holder(code, grant)
        if grant.seat is None:
            raise BadRequest("a host has no seat to leave", code="no_seat")
        seat_id = grant.seat
        await self._ledger.write(lambda unit: self._leave(unit, [seat_id]))
        await self._access.refresh()

    async def seats(self, code: str) -> tuple[Room, list[RoomSeat]]:
        """A room's seats: those taken, and those taken away; what nobody sits on is freed first.

        Raises:
            NotFound: no such room.
        """
        at, code = self._clock.now(), normal(code)
        room, seats = await self._ledger.database.read(
            lambda c: (rows.get_room(c, code, at), rows.seats_of(c, code))
        )
        away = self._away_of(code)
        free = self._free(seats, at, away)
        if free:
            await self._ledger.write(lambda unit: self._leave(unit, free))
            await self._access.refresh()
        return room, [s for s in seats if s.left_at is None and s.id not in free]

    def here(self, room: Room, seat: RoomSeat) -> bool:
        """Whether the holder of a seat watches now."""
        return self.away(room.session_id, seat.id) == 0

    async def kick(self, code: str, seat_id: str) -> None:
        """Take a seat away; its sockets close with 4403, and its holder gets none here again.

        Raises:
            NotFound: no such room, or no such seat in it.
        """

        def work(unit: Unit) -> None:
            room = rows.get_room(unit.connection, normal(code), unit.at, to_change=True)
            seats = {s.id: s for s in rows.seats_of(unit.connection, room.code)}
            if seat_id not in seats:
                raise NotFound(
                    f"room {room.code} has no seat {seat_id}",
                    code="seat_not_found",
                    details={"room_code": room.code, "seat_id": seat_id},
                )
            if seats[seat_id].removed_at is None:
                rows.change_seat(unit.connection, seat_id, {"removed_at": unit.at})

        await self._ledger.write(work)
        await self._access.refresh()

    async def invite(self, code: str, hours: float) -> tuple[Room, str, datetime]:
        """An invitation: whoever has it may join until it expires, how many they may be.

        Returns:
            the room, the invitation, and when it expires.

        Raises:
            NotFound: no such room.
        """
        room = await self.get(code)
        expires_at = self._clock.now() + timedelta(hours=hours)
        if room.expires_at is not None:
            expires_at = min(expires_at, room.expires_at)
        claims = {
            "aud": INVITATION,
            "sub": f"room:{room.code}",
            "iat": self._clock.now(),
            "exp": expires_at,
        }
        return room, self._access.sign(claims), expires_at

    # Time.

    async def close_expired(self) -> list[str]:
        """Close the rooms whose time is over; returns their codes."""
        at = self._clock.now()
        if not await self._ledger.database.read(lambda c: rows.expired_rooms(c, at)):
            return []

        def work(unit: Unit) -> list[str]:
            return self._expire(unit, rows.expired_rooms(unit.connection, unit.at))

        closed = await self._ledger.write(work)
        await self._access.refresh()
        return closed

    async def rounds(self) -> None:
        """Close what has expired, every few seconds."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            try:
                await self.close_expired()
            except GrandstandError:
                # Its tokens have ended with it all the same; the next round tries again.
                logger.warning("cannot close rooms that have expired", exc_info=True)

    # Pieces.

    def _check_expiry(self, expires_at: datetime | None) -> None:
        if expires_at is not None and expires_at <= self._clock.now():
            raise ValidationFailed("expires_at: lies in the past", details={"field": "expires_at"})

    async def _password(
        self, access: RoomAccess, told: str | None
    ) -> tuple[str | None, str | None]:
        """A room's password and what is kept of it."""
        if access is not RoomAccess.PASSWORD:
            return None, None
        if told is not None and not SHORTEST_PASSWORD <= len(told) <= LONGEST:
            raise ValidationFailed(
                f"password: {SHORTEST_PASSWORD} to {LONGEST} characters",
                details={
                    "field": "password",
                    "min_length": SHORTEST_PASSWORD,
                    "max_length": LONGEST,
                },
            )
        password = new_id() if told is None else told
        return password, await self._passwords.hash(password)

    def _expire(self, unit: Unit, expired: Iterable[Room]) -> list[str]:
        codes = []
        for room in expired:
            self._close(unit, room, "expired")
            codes.append(room.code)
        return codes

    @staticmethod
    def _close(unit: Unit, room: Room, action: str) -> None:
        rows.change_room(unit.connection, room.code, {"closed_at": unit.at})
        _tell(unit, room, action, {"room_code": None, "locked": False})

    async def _admitted(self, room: Room, password: str | None, invitation: str | None) -> None:
        """Hold that somebody may join."""
        if room.access == RoomAccess.PUBLIC:
            return
        if invitation is not None:
            try:
                claims = self._access.read(invitation, INVITATION)
            except Unauthenticated as error:
                claims = {"sub": None, "why": error.code}
            if claims["sub"] == f"room:{room.code}":
                return
            raise Unauthenticated(
                "the invitation has expired"
                if claims.get("why") == "token_expired"
                else "the invitation is not for this room",
                code="invitation_invalid",
                detail="Ask the host for another one.",
            )
        if room.access == RoomAccess.PRIVATE:
            raise Forbidden(
                f"room {room.code} is for whom its host invites",
                code="invitation_needed",
                detail="Open the link the host gave you, or send its invitation.",
            )
        if password is None:
            raise Unauthenticated(
                f"room {room.code} wants its password",
                code="password_needed",
                detail="Send it as password.",
            )
        if not await self._passwords.verify(room.password_hash, password):
            raise Unauthenticated("the room's password is wrong", code="wrong_password")

    def _ticket(self, room: Room, name: str, seat_id: str) -> Ticket:
        token, _, expires_at = self._access.mint(
            name,
            self._lifetime,
            scopes=[Scope.WATCH],
            session_id=room.session_id,
            room=room.code,
            seat=seat_id,
        )
        half = self._lifetime.total_seconds() / 2
        return Ticket(token, expires_at, half, room.session_id, seat_id)

    def host_token(self, room: Room) -> tuple[str, datetime]:
        """A token that may do everything about a room and its session, and when it expires."""
        lifetime = timedelta(days=HOST_DAYS)
        if room.expires_at is not None:
            lifetime = min(lifetime, room.expires_at - self._clock.now())
        token, _, expires_at = self._access.mint(
            f"host:{room.code}",
            lifetime,
            scopes=[Scope.WATCH, Scope.OPERATE],
            session_id=room.session_id,
            room=room.code,
        )
        return token, expires_at

    def _away_of(self, code: str) -> dict[str, float]:
        """Seconds since somebody was connected with each seat of a room, where it is known. Asked
        here, on the loop: the stands are not for other threads."""
        room = self._access.room(code)
        found = {}
        for seat_id in room.seats if room is not None else ():
            if room is not None and (away := self.away(room.session_id, seat_id)) is not None:
                found[seat_id] = away
        return found

    def _free(self, seats: Iterable[RoomSeat], at: datetime, away: Mapping[str, float]) -> set[str]:
        """The seats among these that nobody has sat on for too long."""
        return {s.id for s in seats if s.taken and self._deserted(s.seen_at, at, away.get(s.id))}

    def _deserted(self, seen_at: datetime, at: datetime, away: float | None) -> bool:
        """Whether nobody has sat on a seat for too long."""
        # Whoever was connected to the server before this one may still be on the way back.
        idle = (at - max(seen_at, self._opened_at)).total_seconds()
        return min(idle, idle if away is None else away) > FREE_SECONDS

    @staticmethod
    def _leave(unit: Unit, seat_ids: Iterable[str]) -> None:
        for seat_id in seat_ids:
            rows.change_seat(unit.connection, seat_id, {"left_at": unit.at})


def normal(code: str) -> str:
    """A code as it is compared: case, spaces and dashes do not matter."""
    shown = unicodedata.normalize("NFKC", code).upper()
    return "".join(c for c in shown if c.isalnum())[:32]


def _store(
    unit: Unit, session_pk: int, new: NewRoom, name: str | None, kept: str | None, by: str
) -> str:
    """Store a new room; returns its code."""
    while True:
        code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
        values = {
            "code": code,
            "session_pk": session_pk,
            "name": name or f"Room {code}",
            "access": new.access.value,
            "password_hash": kept,
            "max_spectators": new.max_spectators,
            "created_by": by,
            "created_at": unit.at,
            "expires_at": new.expires_at,
        }
        if rows.add_room(unit.connection, values):
            return code


def _tell(unit: Unit, room: Room, action: str, changes: dict[str, Any]) -> None:
    """Let watchers hear what became of a session's room."""
    data = {
        "action": action,
        "room_code": room.code,
        "access": room.access,
        "max_spectators": room.max_spectators,
        "expires_at": room.expires_at,
    }
    unit.event(room.session_id, "room", data, changes)


def _key(user_id: str | None, name: str) -> str:
    """Whose a seat is."""
    return f"{USER}{user_id}" if user_id is not None else f"name:{compared(name)}"


def _check_free(seats: Iterable[RoomSeat], user_id: str | None, name: str) -> None:
    """Hold that a name may have a seat.

    Raises:
        Forbidden: it was removed.
        Conflict: it is that of somebody who is signed in.
    """
    mine = _key(user_id, name)
    for seat in seats:
        same = seat.key == mine
        alike = user_id is None and compared(seat.name) == compared(name)
        if seat.removed_at is not None and (same or alike):
            raise Forbidden("you were removed from this room", code="removed_from_room")
        if seat.taken and alike and not same:
            raise Conflict(
                f"{seat.name} is in this room, signed in",
                code="name_taken",
                detail="Join by another name, or sign in.",
            )


def _held(seats: Iterable[RoomSeat], seat_id: str) -> RoomSeat:
    """The seat a token is of.

    Raises:
        Forbidden: it is nobody's any more.
    """
    for seat in seats:
        if seat.id == seat_id and seat.taken:
            return seat
    raise Forbidden("this seat is no longer yours", code="seat_lost", detail="Join the room again.")


def _check_holder(code: str, grant: Grant) -> None:
    """Hold that a grant is of a room.

    Raises:
        Forbidden: it is not.
    """
    if grant.room != normal(code):
        raise Forbidden(
            "this token is not of this room", code="other_room", detail="Join the room first."
        )
