"""/api/rooms and a session's room: opened, found, joined, left, closed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from grandstand.assembly import Assembly
from grandstand.service.access import Grant, Scope
from grandstand.service.rooms import NewRoom, RoomAccess, Ticket
from grandstand.store.rooms import Room, RoomSeat
from grandstand.web.addresses import address_of
from grandstand.web.answers import ANY, answer, gives, listing
from grandstand.web.auth import Authority
from grandstand.web.bodies import RoomChange, RoomCreate, RoomInvite, RoomJoin
from grandstand.web.reports import BASE


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["rooms"])
    operate = authority.require(Scope.OPERATE)
    watch = authority.require(Scope.WATCH)
    host = authority.require_in_room(Scope.OPERATE)
    inside = authority.require_in_room(Scope.WATCH)
    holder = authority.anybody()
    visitor = authority.visitor()
    rooms = house.rooms

    def shown(room: Room, grant: Grant) -> dict[str, Any]:
        return _room(room, rooms.taken(room.code), grant)

    def url_of(request: Request, room: Room) -> str:
        return f"{str(request.base_url).rstrip('/')}/join/{room.code}"

    # A session's room.

    @router.post(BASE + "/{session_id}/room", **gives(ANY, 404, 409, 415, 422, 429, status=201))
    async def open_room(
        session_id: str, request: Request, body: RoomCreate | None = None, grant: Grant = operate
    ) -> Response:
        """Open the session's room. Its host token and password are told this once."""
        new = NewRoom(**(body or RoomCreate()).model_dump())
        opened = await rooms.open(session_id, grant, new)
        return answer(
            {
                "room": _room(opened.room, 0, house.access.grant(opened.host_token)),
                "host_token": opened.host_token,
                "host_token_expires_at": opened.host_token_expires_at,
                "room_password": opened.password,
                "join_url": url_of(request, opened.room),
            },
            201,
        )

    @router.get(BASE + "/{session_id}/room", **gives(ANY, 404))
    async def get_session_room(session_id: str, grant: Grant = watch) -> Response:
        """The session's open room."""
        await house.sessions.get(session_id)
        return answer(shown(await rooms.of_session(session_id), grant))

    # Rooms by their code.

    @router.get("/api/rooms", **gives(listing("rooms", ANY), 401, 403, 410))
    async def list_rooms(grant: Grant = visitor) -> Response:
        """Open rooms, newest first: the public ones, those with a password (whose sessions are told
        only to who may watch them), and the private ones one may operate."""
        found = [
            shown(room, grant)
            for room in await rooms.listing()
            if room.access != RoomAccess.PRIVATE or grant.covers(Scope.OPERATE, room.session_id)
        ]
        return answer({"rooms": found, "total": len(found), "next_cursor": None})

    @router.get("/api/rooms/{code}", **gives(ANY, 401, 403, 404, 410, 429))
    async def get_room(code: str, request: Request, grant: Grant = visitor) -> Response:
        """What whoever has the code may know of a room."""
        found = await authority.room(code, address_of(request.scope))
        return answer(shown(await rooms.get(found.code), grant))

    @router.patch("/api/rooms/{code}", **gives(ANY, 404, 415, 422, 429))
    async def change_room(code: str, body: RoomChange, grant: Grant = host) -> Response:
        """Change a room; whoever has a seat keeps it. A new password is told this once."""
        told = body.model_dump(exclude_unset=True)
        changes = {k: v for k, v in told.items() if v is not None or k == "expires_at"}
        room, password = await rooms.change(code, changes)
        return answer({"room": shown(room, grant), "room_password": password})

    @router.delete("/api/rooms/{code}", **gives(None, 404, status=204))
    async def close_room(code: str, grant: Grant = host) -> Response:
        """Close a room; its sockets close with 4410, the session stays."""
        await rooms.close(code)
        return Response(status_code=204)

    # Seats.

    @router.post("/api/rooms/{code}/join", **gives(ANY, 401, 403, 404, 409, 410, 415, 422, 429))
    async def join_room(
        code: str, body: RoomJoin, request: Request, grant: Grant = visitor
    ) -> Response:
        """Take a seat: a token to watch the room's session with. No account is needed."""
        address = address_of(request.scope)
        found = await authority.room(code, address)
        if body.password is None:
            ticket = await rooms.join(found.code, grant, **body.model_dump())
        else:
            async with authority.limits.guess(address, "wrong_password"):
                ticket = await rooms.join(found.code, grant, **body.model_dump())
        room = await rooms.get(found.code)
        return answer({**_ticket(ticket), "room": shown(room, house.access.grant(ticket.token))})

    @router.post("/api/rooms/{code}/renew", **gives(ANY, 401, 403, 404, 410))
    async def renew_token(code: str, grant: Grant = holder) -> Response:
        """The next token, for the one that was sent: of a seat, or the host's."""
        return answer(_ticket(await rooms.renew(code, grant)))

    @router.post("/api/rooms/{code}/leave", **gives(None, 400, 401, 403, 410, status=204))
    async def leave_room(code: str, grant: Grant = holder) -> Response:
        """Give the seat back whose token was sent; its sockets close."""
        await rooms.leave(code, grant)
        return Response(status_code=204)

    @router.get("/api/rooms/{code}/seats", **gives(listing("seats", ANY), 404))
    async def list_seats(code: str, grant: Grant = inside) -> Response:
        """Who has a seat, in the order of joining; for the host, who was removed as well."""
        room, seats = await rooms.seats(code)
        may_operate = grant.covers(Scope.OPERATE, room.session_id)
        rows = [
            _seat(seat, rooms.here(room, seat))
            for seat in seats
            if seat.removed_at is None or may_operate
        ]
        return answer({"seats": rows, "total": len(rows), "next_cursor": None})

    @router.delete("/api/rooms/{code}/seats/{seat_id}", **gives(None, 404, status=204))
    async def remove_seat(code: str, seat_id: str, grant: Grant = host) -> Response:
        """Remove somebody: their sockets close with 4403, and they get no seat here again."""
        await rooms.kick(code, seat_id)
        return Response(status_code=204)

    @router.post("/api/rooms/{code}/invitations", **gives(ANY, 404, 415, 422, status=201))
    async def invite(
        code: str, request: Request, body: RoomInvite | None = None, grant: Grant = host
    ) -> Response:
        """Make an invitation: whoever has it may join, without the password if there is one."""
        room, invitation, expires_at = await rooms.invite(code, (body or RoomInvite()).hours)
        # Behind the #, which no browser sends and no log sees.
        link = f"{url_of(request, room)}#invitation={invitation}"
        return answer({"invitation": invitation, "expires_at": expires_at, "join_url": link}, 201)

    return router


def _room(room: Room, taken: int, grant: Grant) -> dict[str, Any]:
    """A room as whoever asks may see it."""
    seen = room.access == RoomAccess.PUBLIC or grant.covers(Scope.WATCH, room.session_id)
    return {
        "room_code": room.code,
        "name": room.name,
        "access": room.access,
        "max_spectators": room.max_spectators,
        "seats_taken": taken,
        "created_at": room.created_at,
        "expires_at": room.expires_at,
        "session_id": room.session_id if seen else None,
        "session_name": room.session_name if seen else None,
        "session_status": room.session_status if seen else None,
        "created_by": room.created_by if grant.covers(Scope.OPERATE, room.session_id) else None,
    }


def _seat(seat: RoomSeat, watching: bool) -> dict[str, Any]:
    return {
        "seat_id": seat.id,
        "name": seat.name,
        "joined_at": seat.joined_at,
        "watching": watching,
        "removed_at": seat.removed_at,
    }


def _ticket(ticket: Ticket) -> dict[str, Any]:
    return {
        "token": ticket.token,
        "token_type": "bearer",
        "expires_at": ticket.expires_at,
        "renew_after_seconds": ticket.renew_after_seconds,
        "session_id": ticket.session_id,
        "seat_id": ticket.seat_id,
    }
