"""Rooms and their seats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, update

from grandstand.errors import NotFound
from grandstand.store.bulk import insert_new
from grandstand.store.tables import room_seats, rooms, sessions
from grandstand.store.texts import storable


@dataclass(frozen=True, slots=True)
class Standing:
    """What the doors must know of an open room.

    Attributes:
        locked: its session is closed to whoever has no token of it.
        seats: ids of the seats that are taken.
        seen: when the holder of each joined or renewed last.
    """

    code: str
    session_id: str
    locked: bool
    expires_at: datetime | None
    seats: frozenset[str]
    seen: Mapping[str, datetime] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Room:
    """A room, open or closed.

    Attributes:
        access: public, password or private.
        session_name, session_status: of the session it shows.
    """

    code: str
    session_id: str
    session_name: str
    session_status: str
    name: str
    access: str
    password_hash: str | None = field(repr=False)
    max_spectators: int
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None

    @property
    def locked(self) -> bool:
        """Whether its session is closed to whoever has no token of it."""
        return self.access != "public"

    def open_at(self, at: datetime) -> bool:
        """Whether it can be joined at a moment."""
        return self.closed_at is None and (self.expires_at is None or self.expires_at > at)


@dataclass(frozen=True, slots=True)
class RoomSeat:
    """Who has, had, or may no more have a seat.

    Attributes:
        key: whose it is: a user or a name as it is compared.
        seen_at: when its holder joined or renewed last.
    """

    id: str
    room_code: str
    key: str
    name: str
    joined_at: datetime
    seen_at: datetime
    left_at: datetime | None
    removed_at: datetime | None

    @property
    def taken(self) -> bool:
        """Whether somebody has it."""
        return self.left_at is None and self.removed_at is None


def standing(connection: Connection, at: datetime) -> dict[str, Standing]:
    """Every open room, by code."""
    taken: dict[str, dict[str, datetime]] = {}
    for code, seat, seen_at in connection.execute(
        select(room_seats.c.room_code, room_seats.c.id, room_seats.c.seen_at)
        .join(rooms, rooms.c.code == room_seats.c.room_code)
        .where(_is_open(at), _is_taken())
    ):
        taken.setdefault(code, {})[seat] = seen_at
    found = connection.execute(
        select(rooms.c.code, sessions.c.session_id, rooms.c.access, rooms.c.expires_at)
        .join(sessions, sessions.c.pk == rooms.c.session_pk)
        .where(_is_open(at))
    )
    return {
        code: Standing(code, session_id, access != "public", expires_at, frozenset(seen), seen)
        for code, session_id, access, expires_at in found
        for seen in [taken.get(code, {})]
    }


def add_room(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Store a new room; False when its code is taken, if only by one that is closed."""
    statement = insert_new(connection, rooms).values(**values).returning(rooms.c.code)
    return connection.scalar(statement) is not None


def get_room(connection: Connection, code: str, at: datetime, *, to_change: bool = False) -> Room:
    """An open room.

    Args:
        to_change: hold it until the end of the transaction, so that seats are counted one joiner
            after the other, whichever server they come to.

    Raises:
        NotFound: there is none of that code, or none any more; nobody is told which.
    """
    query = _rooms().where(rooms.c.code == code, _is_open(at))
    if to_change:
        query = query.with_for_update(of=rooms)
    row = connection.execute(query).one_or_none() if storable(code) else None
    if row is None:
        raise no_room(code)
    return _room(row)


def no_room(code: str) -> NotFound:
    """What there is to say of a code that opens nothing."""
    return NotFound(
        f"there is no room {code}",
        code="room_not_found",
        detail="Check the code; the room may also have been closed.",
        details={"room_code": code},
    )


def room_of(connection: Connection, session_id: str, at: datetime) -> Room | None:
    """A session's open room."""
    query = _rooms().where(sessions.c.session_id == session_id, _is_open(at))
    row = connection.execute(query).one_or_none() if storable(session_id) else None
    return _room(row) if row is not None else None


def open_rooms(connection: Connection, at: datetime) -> list[Room]:
    """Every open room, newest first."""
    query = _rooms().where(_is_open(at)).order_by(rooms.c.created_at.desc(), rooms.c.code)
    return [_room(row) for row in connection.execute(query)]


def expired_rooms(connection: Connection, at: datetime) -> list[Room]:
    """Rooms whose time is over and that nobody has closed yet."""
    query = _rooms().where(rooms.c.closed_at.is_(None), rooms.c.expires_at <= at)
    return [_room(row) for row in connection.execute(query)]


def change_room(connection: Connection, code: str, values: Mapping[str, Any]) -> None:
    """Set columns of a room's row."""
    connection.execute(update(rooms).where(rooms.c.code == code).values(**values))


def seats_of(connection: Connection, code: str) -> list[RoomSeat]:
    """Every seat of a room, those left and those taken away too, in the order of joining."""
    query = (
        select(room_seats)
        .where(room_seats.c.room_code == code)
        .order_by(room_seats.c.joined_at, room_seats.c.id)
    )
    return [_seat(row) for row in connection.execute(query)]


def count_taken(connection: Connection, code: str) -> int:
    """How many seats of a room are taken."""
    query = select(func.count()).where(room_seats.c.room_code == code, _is_taken())
    return int(connection.scalar(query) or 0)


def seats_about(
    connection: Connection, code: str, key: str, seat_id: str | None, users: str
) -> list[RoomSeat]:
    """The seats of a room that say whether somebody may join: that of a key, that of an id, and
    those whose key begins with `users`."""
    query = select(room_seats).where(
        room_seats.c.room_code == code,
        (room_seats.c.key == key)
        | (room_seats.c.id == seat_id)
        | room_seats.c.key.startswith(users, autoescape=True),
    )
    return [_seat(row) for row in connection.execute(query)]


def add_seat(connection: Connection, seat: RoomSeat) -> None:
    """Store a new seat."""
    connection.execute(
        room_seats.insert().values(
            id=seat.id,
            room_code=seat.room_code,
            key=seat.key,
            name=seat.name,
            joined_at=seat.joined_at,
            seen_at=seat.seen_at,
        )
    )


def change_seat(connection: Connection, seat_id: str, values: Mapping[str, Any]) -> None:
    """Set columns of a seat's row."""
    connection.execute(update(room_seats).where(room_seats.c.id == seat_id).values(**values))


def _is_open(at: datetime) -> ColumnElement[bool]:
    return rooms.c.closed_at.is_(None) & (rooms.c.expires_at.is_(None) | (rooms.c.expires_at > at))


def _is_taken() -> ColumnElement[bool]:
    return room_seats.c.left_at.is_(None) & room_seats.c.removed_at.is_(None)


def _rooms() -> Select[Any]:
    return select(
        rooms,
        sessions.c.session_id,
        sessions.c.name.label("session_name"),
        sessions.c.status.label("session_status"),
    ).join(sessions, sessions.c.pk == rooms.c.session_pk)


def _room(row: Row[Any]) -> Room:
    return Room(
        row.code,
        row.session_id,
        row.session_name,
        row.session_status,
        row.name,
        row.access,
        row.password_hash,
        row.max_spectators,
        row.created_by,
        row.created_at,
        row.expires_at,
        row.closed_at,
    )


def _seat(row: Row[Any]) -> RoomSeat:
    return RoomSeat(
        row.id,
        row.room_code,
        row.key,
        row.name,
        row.joined_at,
        row.seen_at,
        row.left_at,
        row.removed_at,
    )
