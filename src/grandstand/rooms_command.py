"""`grandstand rooms`: a session's audience, from the terminal."""

from __future__ import annotations

import contextlib
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grandstand.errors import GrandstandError, Unauthenticated

if TYPE_CHECKING:
    from grandstand.client.client import Client
    from grandstand.client.rooms import Place

rooms = typer.Typer(no_args_is_help=True, help="Rooms to watch sessions in.")

ServerUrl = Annotated[
    str | None, typer.Option("--server", envvar="GRANDSTAND_URL", help="The server's address.")
]
Token = Annotated[
    str | None,
    typer.Option(envvar="GRANDSTAND_TOKEN", help="The room's host token, or one that may operate."),
]
Code = Annotated[str, typer.Argument(metavar="CODE", help="The room's code.")]


@rooms.command("open")
def open_room(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")],
    access: Annotated[
        str, typer.Option(help="public; password: who knows it; private: who is invited.")
    ] = "public",
    password: Annotated[
        str | None, typer.Option(help="Of a password room; left out, one is made.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="For people.")] = None,
    seats: Annotated[int, typer.Option(min=1, max=10_000, help="How many it has.")] = 50,
    hours: Annotated[
        float | None, typer.Option(min=0.01, help="Until it closes by itself.")
    ] = None,
    server: ServerUrl = None,
    token: Token = None,
) -> None:
    """Open a session's room, and print what its host needs, this once."""
    from grandstand.clock import SystemClock

    ends = None if hours is None else SystemClock().now() + timedelta(hours=hours)
    with _client(server, token) as client:
        opened = client.create_room(
            session,
            access=access,
            password=password,
            name=name,
            max_spectators=seats,
            expires_at=ends,
        )
        link = opened.join_url
        if access == "private":
            link = client.invite(opened.room_code).join_url
    typer.echo(f"code        {opened.room_code}")
    if opened.room_password is not None:
        typer.echo(f"password    {opened.room_password}")
    typer.echo(f"join at     {link}")
    typer.echo(f"host token  {opened.host_token}")


@rooms.command("list")
def list_rooms(server: ServerUrl = None, token: Token = None) -> None:
    """List open rooms, newest first."""
    with _client(server, token) as client:
        found = client.rooms()
    for room in found:
        shows = f"  {room.session_id}" if room.session_id else ""
        seats = f"{room.seats_taken}/{room.max_spectators} seats"
        typer.echo(f"{room.room_code}  {room.access}  {seats}  {room.name}{shows}")
    if not found:
        typer.echo("There are none.")


@rooms.command("seats")
def list_seats(code: Code, server: ServerUrl = None, token: Token = None) -> None:
    """List who has a seat in a room."""
    with _client(server, token) as client:
        found = client.seats(code)
    for seat in found:
        state = "removed" if seat.removed_at else "watches" if seat.watching else "away"
        typer.echo(f"{seat.name}  {state}  since {seat.joined_at:%H:%M}")
    if not found:
        typer.echo("Nobody.")


@rooms.command("kick")
def kick(
    code: Code,
    who: Annotated[str, typer.Argument(metavar="NAME", help="Their name, or their seat's id.")],
    server: ServerUrl = None,
    token: Token = None,
) -> None:
    """Remove somebody from a room, for good."""
    with _client(server, token) as client:
        client.kick(code, who)
    typer.echo(f"{who} was removed")


@rooms.command("invite")
def invite(
    code: Code,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="Until it ends.")] = 24.0,
    server: ServerUrl = None,
    token: Token = None,
) -> None:
    """Make an invitation, and print its link."""
    with _client(server, token) as client:
        typer.echo(client.invite(code, hours).join_url)


@rooms.command("close")
def close(code: Code, server: ServerUrl = None, token: Token = None) -> None:
    """Close a room; its session goes on."""
    with _client(server, token) as client:
        client.close_room(code)
    typer.echo(f"room {code} is closed")


@rooms.command("watch")
def watch(
    code: Code,
    name: Annotated[str, typer.Option(help="Yours, for the others to see.")] = "",
    password: Annotated[str | None, typer.Option(help="Of a password room.")] = None,
    invitation: Annotated[str | None, typer.Option(help="To a private room.")] = None,
    server: ServerUrl = None,
    token: Token = None,
    plain: Annotated[bool, typer.Option("--plain", help="A line for each record.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
) -> None:
    """Join a room and watch its session until it has ended. Ctrl-C leaves."""
    import getpass

    from grandstand import watching_command

    with _client(server, token) as client:
        place = _joined(client, code, name or getpass.getuser(), password, invitation)
        try:
            watching_command.watch_from(place, plain=plain, as_json=as_json)
        finally:
            _leave(place)


@rooms.command("host")
def host(
    code: Code,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Settings file: .json, .yaml or .toml."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Folder for everything the server writes.")
    ] = None,
) -> None:
    """Print another host token of a room, for one that was lost; on the server's machine."""
    from grandstand.access_command import Desk, at_desk

    async def work(desk: Desk) -> str:
        token, _ = desk.rooms.host_token(await desk.rooms.get(code))
        return token

    typer.echo(at_desk(config, data_dir, work))


def _client(server: str | None, token: str | None) -> Client:
    from grandstand.client.client import Client

    return Client(server, token, mode="online")


def _joined(
    client: Client, code: str, name: str, password: str | None, invitation: str | None
) -> Place:
    """A seat; where the room wants a password and there is a terminal, it is asked for."""
    try:
        return client.join_room(code, name, password=password, invitation=invitation)
    except Unauthenticated as error:
        if error.code != "password_needed" or not sys.stdin.isatty():
            raise
    return client.join_room(code, name, password=str(typer.prompt("Password", hide_input=True)))


def _leave(place: Place) -> None:
    # The room may be closed, or the server away: either way there is no seat any more.
    with contextlib.suppress(GrandstandError):
        place.leave()
