"""What stands beside the server: its database, Redis, and whoever listens at its address."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import unquote, urlsplit

from grandstand import __version__
from grandstand.clock import SystemClock
from grandstand.doctor.finding import Finding, size
from grandstand.errors import GrandstandError
from grandstand.model.wire import OURS, VERSION_HEADER, WIRE_HEADER, wires_of
from grandstand.settings import Settings
from grandstand.store.examine import HEAD, examine

ANSWER_SECONDS = 5.0
APART_SECONDS = 5.0
"""How far a database's clock may be from ours before somebody is told."""


def examine_neighbours(settings: Settings) -> Iterator[Finding]:
    """Everything that is asked of other programs; a file of SQLite counts as one."""
    yield from _database(settings)
    yield from _redis(settings)
    yield from _address(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    if not settings.database.enabled:
        return
    url = settings.resolved_database_url()
    try:
        found = examine(url)
    except GrandstandError as error:
        yield Finding("database", "fail", error.message, error.detail)
        return
    if found is None or (found.schema is None and found.wrong is None):
        yield Finding("database", "ok", "none yet; the first start makes it")
        return
    if found.wrong is not None:
        advice = "Stop the server and put a backup back: grandstand restore FILE --force."
        yield Finding("database", "fail", f"it is damaged: {found.wrong}", advice)
    elif found.schema is not None and found.schema > HEAD:
        yield Finding(
            "database",
            "fail",
            f"{found.server}, tables {found.schema}: newer than this version, which knows {HEAD}",
            "Install the Grandstand that made them, or a newer one.",
        )
    elif found.schema != HEAD:
        told = f"{found.server}, tables {found.schema}: the next start brings them to {HEAD}"
        yield Finding("database", "warn", told, "Take a backup first: grandstand backup FILE.")
    else:
        told = f"{found.server}, tables {found.schema}, {size(found.size_bytes)}, "
        yield Finding("database", "ok", f"{told}{found.sessions:,} sessions; whole")
    if settings.security.enable_auth and found.users == 0:
        yield Finding(
            "accounts", "warn", "nobody can sign in yet", "grandstand users add NAME --admin"
        )
    if found.now is not None:
        yield from _clock(found.now)
        if shutil.which("pg_dump") is None:
            yield Finding(
                "backup",
                "warn",
                "pg_dump is not on the PATH, and grandstand backup needs it",
                "Install PostgreSQL's client programs (Debian: postgresql-client).",
            )


def _clock(theirs: datetime) -> Iterator[Finding]:
    apart = (SystemClock().now() - theirs).total_seconds()
    told = f"{abs(apart):.1f} s apart from the database's"
    if abs(apart) > APART_SECONDS:
        yield Finding("clock", "warn", told, "Let both machines keep time by NTP.")
    else:
        yield Finding("clock", "ok", told)


def _redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis.active:
        return
    url = settings.redis.url or f"redis://{settings.redis.host}:{settings.redis.port}"
    parts = urlsplit(url)
    where = f"{parts.hostname}:{parts.port or 6379}"
    try:
        answer = _ping(url)
    except OSError as error:
        advice = "Is it running, and may this machine reach it?"
        yield Finding("redis", "fail", f"{where} is not reached: {error}", advice)
        return
    if answer.startswith("+PONG"):
        yield Finding("redis", "ok", f"{where} answers")
    else:
        told = f"{where} answers {answer.strip()[:80]!r}"
        yield Finding("redis", "fail", told, "Check user and password in REDIS_URL.")


def _ping(url: str) -> str:
    """What a Redis answers to PING, in its own protocol: the library may not be installed."""
    parts = urlsplit(url)
    words: list[list[str]] = []
    if parts.password:
        user = [unquote(parts.username)] if parts.username else []
        words.append(["AUTH", *user, unquote(parts.password)])
    words.append(["PING"])
    host = parts.hostname or "localhost"
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(
            socket.create_connection((host, parts.port or 6379), ANSWER_SECONDS)
        )
        line: socket.socket = plain
        if parts.scheme == "rediss":
            context = ssl.create_default_context()
            line = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
        answers = stack.enter_context(line.makefile("rb"))
        said = ""
        for command in words:
            encoded = "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in command)
            line.sendall(f"*{len(command)}\r\n{encoded}".encode())
            said = answers.readline().decode("utf-8", "replace")
            if said.startswith("-"):
                break
        return said


def _address(settings: Settings) -> Iterator[Finding]:
    """Whether the server could listen, or which one does."""
    where = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(
            settings.host or None,
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except OSError as error:
        yield Finding("address", "fail", f"{settings.host} is no address: {error}", "See host.")
        return
    family, kind, protocol, _, address = min(found, key=lambda f: f[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except PermissionError as error:
            yield Finding("address", "fail", f"{where}: {error.strerror}", "Choose a higher port.")
            return
        except OSError:
            yield _taken(settings, where)
            return
    yield Finding("address", "ok", f"{where} is free; no server runs there now")


def _taken(settings: Settings, where: str) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(  # noqa: S104 - recognised
        settings.host, settings.host
    )
    connection = http.client.HTTPConnection(host, settings.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", f"{settings.root_path}/health")
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        told = f"{where} is taken, and does not answer HTTP ({error})"
        return Finding("address", "fail", told, "Stop what is there, or choose another port.")
    finally:
        connection.close()
    version, wire = answer.headers.get(VERSION_HEADER), answer.headers.get(WIRE_HEADER)
    if version is None:
        told = f"{where} is taken by something that is no Grandstand"
        return Finding("address", "fail", told, "Stop what is there, or choose another port.")
    theirs = wires_of(wire or "")
    told = f"Grandstand {version} runs at {where}"
    if answer.status != 200:
        return Finding("address", "fail", f"{told} and answers {answer.status}", "See its log.")
    if version != __version__:
        meets = theirs is not None and OURS.meet(theirs)
        how = "understands" if meets else "does not understand"
        advice = "Restart it, if it should be this version."
        return Finding("address", "warn", f"{told}, which {how} this one ({__version__})", advice)
    return Finding("address", "ok", f"{told} and is well")
