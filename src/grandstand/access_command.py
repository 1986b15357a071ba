"""`grandstand users`, `keys` and `token`: who may do what, at the database itself.

They need no server and no token: whoever can read the settings and the database may do everything
anyway, and the first admin has to come from somewhere. A running server hears of it within seconds.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from grandstand.errors import ValidationFailed

T = TypeVar("T")
users = typer.Typer(no_args_is_help=True, help="People who may sign in.")
keys = typer.Typer(no_args_is_help=True, help="API keys, for trainers.")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file: .json, .yaml or .toml."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder for everything the server writes.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Their name.")]
ScopeNames = Annotated[
    list[str] | None,
    typer.Option("--scope", help="watch, report, operate, supervise, metrics or admin."),
]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@users.command("add")
def add_user(
    name: Name,
    scope: ScopeNames = None,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything.")] = False,
    password_stdin: FromStdin = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make an account; asks for its password."""
    password = _password(password_stdin)
    scopes = ["admin"] if admin else scope or ["watch"]
    user = at_desk(config, data_dir, lambda desk: desk.accounts.add_user(name, password, scopes))
    typer.echo(f"{user.name} may {', '.join(user.scopes)}")


@users.command("list")
def list_users(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """List accounts."""
    found = at_desk(config, data_dir, lambda desk: desk.accounts.users())
    for user in found:
        off = "  disabled" if user.disabled else ""
        typer.echo(f"{user.name}  {', '.join(user.scopes)}{off}")
    if not found:
        typer.echo("Nobody yet: grandstand users add NAME --admin")


@users.command("change")
def change_user(
    name: Name,
    scope: ScopeNames = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new one.")] = False,
    password_stdin: FromStdin = False,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether they may sign in.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Change an account; a new password ends what is signed in with the old one."""
    new = _password(password_stdin) if password or password_stdin else None

    async def work(desk: Desk) -> str:
        user = await desk.accounts.user_named(name)
        changed = await desk.accounts.change_user(
            user.id, password=new, scopes=scope, disabled=disable
        )
        off = ", but is disabled" if changed.disabled else ""
        return f"{changed.name} may {', '.join(changed.scopes)}{off}"

    typer.echo(at_desk(config, data_dir, work))


@users.command("remove")
def remove_user(name: Name, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Remove an account with its API keys."""

    async def work(desk: Desk) -> None:
        user = await desk.accounts.user_named(name)
        await desk.accounts.remove_user(user.id)

    at_desk(config, data_dir, work)


@keys.command("add")
def add_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: ScopeNames = None,
    session: Annotated[str | None, typer.Option(help="The one session it is for.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make an API key and print it, this once."""
    from grandstand.service.grants import EVERYBODY

    async def work(desk: Desk) -> str:
        _, text = await desk.accounts.add_key(
            EVERYBODY,
            name,
            scope or ["report", "watch"],
            session_id=session,
            expires_at=None if days is None else desk.now() + timedelta(days=days),
        )
        return text

    typer.echo(at_desk(config, data_dir, work))


@keys.command("list")
def list_keys(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """List API keys."""
    from grandstand.service.grants import EVERYBODY

    found = at_desk(config, data_dir, lambda desk: desk.accounts.keys(EVERYBODY))
    for key in found:
        parts = [key.id, key.name, ", ".join(key.scopes)]
        if key.session_id:
            parts.append(f"session {key.session_id}")
        if key.revoked_at:
            parts.append("revoked")
        elif key.expires_at:
            parts.append(f"expires {key.expires_at:%Y-%m-%d}")
        parts.append(f"used {key.last_used_at:%Y-%m-%d}" if key.last_used_at else "never used")
        typer.echo("  ".join(parts))
    if not found:
        typer.echo("There are none.")


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `grandstand keys list` shows.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Take an API key back, for good."""
    from grandstand.service.grants import EVERYBODY

    at_desk(config, data_dir, lambda desk: desk.accounts.revoke_key(EVERYBODY, key_id))


def token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who it is for, for the logs.")],
    scope: ScopeNames = None,
    session: Annotated[str | None, typer.Option(help="The one session it is for.")] = None,
    hours: Annotated[float, typer.Option(min=0.01, help="Hours until it expires.")] = 12.0,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Make an access token without an account, and print it."""

    async def work(desk: Desk) -> str:
        made, _, _ = desk.accounts.mint(name, scope or ["watch"], session_id=session, hours=hours)
        return made

    typer.echo(at_desk(config, data_dir, work))


class Desk:
    """What these commands work with: one database, without a server around."""

    def __init__(self, config: Path | None, data_dir: Path | None) -> None:
        from grandstand.bus.memory import MemoryBus
        from grandstand.clock import SystemClock
        from grandstand.service.access import Access
        from grandstand.service.accounts import Accounts
        from grandstand.service.ledger import Ledger
        from grandstand.service.passwords import Passwords
        from grandstand.service.rooms import Rooms
        from grandstand.settings import load_settings
        from grandstand.store.database import Database

        settings = load_settings(config, flags={"data_storage_path": data_dir})
        clock = SystemClock()
        self.now = clock.now
        self.database = Database.open(settings.resolved_database_url())
        self.access = Access(
            self.database,
            clock,
            enabled=settings.security.enable_auth,
            secret=settings.security.secret(),
        )
        self.passwords = Passwords()
        self.accounts = Accounts(self.database, self.access, self.passwords, clock)
        self.rooms = Rooms(Ledger(self.database, MemoryBus(), clock), self.access, self.passwords)


def at_desk(config: Path | None, data_dir: Path | None, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do some `work` at the database that the settings name."""

    async def run() -> T:
        desk = Desk(config, data_dir)
        try:
            await desk.access.open()
            return await work(desk)
        finally:
            desk.passwords.close()
            await desk.database.aclose()

    return asyncio.run(run())


def _password(from_stdin: bool) -> str:
    """A new password, asked for twice or read.

    Raises:
        ValidationFailed: there is nobody to ask.
    """
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise ValidationFailed(
            "there is no terminal to ask for the password at",
            detail="Send it to standard input, with --password-stdin.",
        )
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
