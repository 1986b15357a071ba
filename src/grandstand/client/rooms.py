"""Rooms from a script: opening one for a session's audience, and taking a seat in one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from grandstand.client.encoding import listed
from grandstand.clock import Clock, SystemClock
from grandstand.errors import Forbidden, NotFound, Unauthenticated

if TYPE_CHECKING:
    from grandstand.client.client import Client
    from grandstand.client.history import Axis, History
    from grandstand.client.info import SessionInfo
    from grandstand.client.watch import Event, Post


class RoomInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A room as the server shows it.

    Attributes:
        access: "public", "password" or "private".
        session_id, session_name, session_status: None for who may not watch it.
        created_by: None for who may not operate it.
    """

    room_code: str
    name: str
    access: str
    max_spectators: int
    seats_taken: int
    created_at: datetime
    expires_at: datetime | None = None
    session_id: str | None = None
    session_name: str | None = None
    session_status: str | None = None
    created_by: str | None = None


class SeatInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's seat in a room.

    Attributes:
        watching: whether they watch now.
        removed_at: when they were removed, for good; only the host sees that.
    """

    seat_id: str
    name: str
    joined_at: datetime
    watching: bool
    removed_at: datetime | None = None


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A room just opened, and what is told this once.

    Attributes:
        host_token: what its host needs for it; the `Client` that opened it remembers it.
        room_password: None where it has none.
        join_url: the page on which to join.
    """

    room: RoomInfo
    host_token: str
    room_password: str | None = None
    join_url: str

    @property
    def room_code(self) -> str:
        """What people join by."""
        return self.room.room_code


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What lets somebody into a room without its password.

    Attributes:
        join_url: the page on which it does.
    """

    invitation: str
    expires_at: datetime
    join_url: str


class _Ticket(msgspec.Struct):
    token: str
    expires_at: datetime
    renew_after_seconds: float
    session_id: str
    seat_id: str | None = None
    room: RoomInfo | None = None


class Place:
    """A seat in a room that was joined: what one sees from there.

    Its token ends after some minutes; it is renewed here, and on the open socket while watching.
    Where the seat was lost meanwhile (two minutes without a connection), it joins again; who was
    removed cannot.

    Attributes:
        room: as it was on joining.
        session_id: the session that is watched there.
    """

    def __init__(
        self,
        client: RoomVerbs,
        code: str,
        asked: Mapping[str, Any],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._path = _of(code)
        self._asked = dict(asked)
        self._clock = clock or SystemClock()
        self._left = False
        ticket = self._join()
        assert ticket.room is not None
        self.room = ticket.room
        self.session_id = ticket.session_id

    @property
    def token(self) -> str:
        """The watch token as it is now."""
        return self._ticket.token

    @property
    def seat_id(self) -> str | None:
        """The seat."""
        return self._ticket.seat_id

    def watch(
        self,
        *,
        since: int | None = None,
        types: Iterable[str] | None = None,
        max_hz: float = 0.0,
        decisions: bool = True,
        follow: bool = False,
    ) -> Generator[Event, None, None]:
        """What the session reports, live; see `Client.watch`.

        Raises:
            Forbidden: while iterating: the host removed this seat.
            Gone: while iterating: the room is closed.
        """
        from grandstand.client.watch import Feed, watching

        feed = Feed(
            self.session_id,
            since=since,
            types=types,
            max_hz=max_hz,
            decisions=decisions,
            follow=follow,
        )
        return watching(self.post(), feed)

    def session(self) -> SessionInfo:
        """The session as the server sees it."""
        return self._bearing().session(self.session_id)

    def history(
        self,
        names: str | Sequence[str] | None = None,
        x: Axis = "episode",
        max_points: int | None = None,
    ) -> History:
        """The session's metrics as columns; see `Client.history`."""
        return self._bearing().history(self.session_id, names, x, max_points)

    def leave(self) -> None:
        """Give the seat back; whatever watches from it ends."""
        self._left = True
        self._bearing().request("POST", f"{self._path}/leave", {})

    def post(self) -> Post:
        """Where to watch from."""
        return self._client.socket_post()._replace(token=self.token, lease=self)

    # What the socket asks, see `watch.Lease`.

    def due_seconds(self) -> float:
        """Seconds until the token should be renewed."""
        return self._renew_at - self._clock.monotonic()

    def renew(self) -> str:
        """The next token.

        Raises:
            Forbidden: the host removed this seat, or it was left here.
            NotFound, Gone: the room is closed.
            Unavailable: no server answers.
        """
        try:
            answer = self._client.bearing(self.token).request("POST", f"{self._path}/renew", {})
        except (Unauthenticated, Forbidden):
            if self._left:
                raise
            return self._join().token
        return self._take(answer).token

    def _join(self) -> _Ticket:
        return self._take(self._client.request("POST", f"{self._path}/join", self._asked))

    def _take(self, answer: Any) -> _Ticket:
        self._ticket = msgspec.convert(answer, _Ticket, strict=False)
        self._renew_at = self._clock.monotonic() + self._ticket.renew_after_seconds
        return self._ticket

    def _bearing(self) -> Client:
        if self.due_seconds() <= 0 and not self._left:
            self.renew()
        return self._client.bearing(self.token)

    def __repr__(self) -> str:
        return f"<a seat in {self.room.name}, session {self.session_id}>"


class RoomVerbs(ABC):
    """What a `Client` does about rooms.

    What the host alone may do is done with the host token where this client opened the room, else
    with the client's own.
    """

    _hosts: dict[str, str]
    """Tokens of the rooms opened here, by code."""

    @abstractmethod
    def request(self, method: str, path: str, json: Any = None, *, timeout: float = 30.0) -> Any:
        """Any route of the API."""

    @abstractmethod
    def bearing(self, token: str | None) -> Client:
        """The same server, asked with another token."""

    @abstractmethod
    def socket_post(self) -> Post:
        """Where the server's sockets are."""

    @abstractmethod
    def _shown_at(self) -> str | None:
        """The server's URL as it is reached from here, where it has one."""

    def create_room(
        self,
        session_id: str,
        *,
        access: str = "public",
        password: str | None = None,
        name: str | None = None,
        max_spectators: int = 50,
        expires_at: datetime | None = None,
    ) -> Opened:
        """Open a session's room, for people without an account to watch it from.

        Args:
            session_id: whose.
            access: "public": who likes may join; "password"; "private": who is invited.
            password: of a password room; left out, one is made.
            name: for people.
            max_spectators: how many seats it has, 1 to 10,000.
            expires_at: when it closes by itself.

        Raises:
            Conflict: the session has a room, or is to have no spectators.
            NotFound: no such session.
        """
        body: dict[str, Any] = {"access": access, "max_spectators": max_spectators}
        more = {"password": password, "name": name, "expires_at": expires_at}
        body |= listed({key: value for key, value in more.items() if value is not None})
        path = f"/api/training/sessions/{quote(session_id, safe='')}/room"
        answer = self.request("POST", path, body)
        code = answer["room"]["room_code"]
        self._hosts[code] = answer["host_token"]
        if (url := self._shown_at()) is not None:
            answer["join_url"] = f"{url}/join/{code}"
        return msgspec.convert(answer, Opened, strict=False)

    def rooms(self) -> list[RoomInfo]:
        """Open rooms, newest first; private ones only for who may operate them."""
        answer = self.request("GET", "/api/rooms")["rooms"]
        return msgspec.convert(answer, list[RoomInfo], strict=False)

    def room(self, code: str) -> RoomInfo:
        """A room, by its code, however it is spelled.

        Raises:
            NotFound: there is none.
        """
        answer = self._as_host(code).request("GET", _of(code))
        return msgspec.convert(answer, RoomInfo, strict=False)

    def change_room(self, code: str, **changes: Any) -> tuple[RoomInfo, str | None]:
        """Change access, password, name, max_spectators or expires_at (None: never).

        Returns:
            the room, and its password, if it got a new one.
        """
        answer = self._as_host(code).request("PATCH", _of(code), listed(changes))
        room = msgspec.convert(answer["room"], RoomInfo, strict=False)
        return room, answer["room_password"]

    def close_room(self, code: str) -> None:
        """Close a room; the session goes on without it."""
        self._as_host(code).request("DELETE", _of(code))
        self._hosts.pop(_spelled(code), None)

    def join_room(
        self,
        code: str,
        user_name: str | None = None,
        *,
        password: str | None = None,
        invitation: str | None = None,
    ) -> Place:
        """Take a seat in a room; the same name is the same seat.

        Args:
            code: the room's.
            user_name: for the others to see; who is signed in may leave it out.
            password: of a password room.
            invitation: to a private room.

        Raises:
            NotFound: no such room.
            Unauthenticated: it wants a password, or another one.
            Forbidden: it wants an invitation, or you were removed from it.
            TooMany: it is full, or there were too many wrong passwords.
        """
        asked = {"user_name": user_name, "password": password, "invitation": invitation}
        return Place(self, code, {k: v for k, v in asked.items() if v is not None})

    def seats(self, code: str) -> list[SeatInfo]:
        """Who has a seat in a room and, for its host, who was removed."""
        answer = self._as_host(code).request("GET", f"{_of(code)}/seats")["seats"]
        return msgspec.convert(answer, list[SeatInfo], strict=False)

    def kick(self, code: str, who: str) -> None:
        """Remove somebody from a room, for good.

        Args:
            code: the room's.
            who: their name, or their seat's id.

        Raises:
            NotFound: nobody there is called that.
        """
        found = [seat for seat in self.seats(code) if seat.removed_at is None]
        name = who.strip().casefold()
        for seat in found:
            if seat.seat_id == who or seat.name.casefold() == name:
                path = f"{_of(code)}/seats/{quote(seat.seat_id, safe='')}"
                self._as_host(code).request("DELETE", path)
                return
        raise NotFound(
            f"nobody called {who!r} has a seat in room {code}",
            code="seat_not_found",
            detail="There are: " + (", ".join(seat.name for seat in found) or "none") + ".",
        )

    def invite(self, code: str, hours: float = 24.0) -> Invitation:
        """An invitation to a room: whoever has it may join, for so many hours."""
        answer = self._as_host(code).request("POST", f"{_of(code)}/invitations", {"hours": hours})
        if (url := self._shown_at()) is not None:
            _, _, behind = answer["join_url"].partition("#")
            answer["join_url"] = f"{url}/join/{_spelled(code)}#{behind}"
        return msgspec.convert(answer, Invitation, strict=False)

    def _as_host(self, code: str) -> RoomVerbs:
        token = self._hosts.get(_spelled(code))
        return self.bearing(token) if token is not None else self


def _of(code: str) -> str:
    return f"/api/rooms/{quote(_spelled(code), safe='')}"


def _spelled(code: str) -> str:
    """A code as the server spells it."""
    return "".join(c for c in code.upper() if c.isalnum()) or code
