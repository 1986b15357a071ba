"""What cannot work, said before the server starts."""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grandstand.settings.fields import SAMPLE_SECRETS, Settings
from grandstand.settings.layers import extra, lookup, shown, walk

SHORTEST_SECRET = 32
"""Characters: HMAC-SHA256 wants a key at least as long as its output (RFC 7518, 3.2)."""

DATABASES = ("sqlite", "sqlite+pysqlite", "postgresql", "postgres", "postgresql+psycopg")
"""Schemes of a URL that the store understands."""

_ORIGIN = re.compile(r"^https?://[^/\s]+$")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the settings.

    Attributes:
        severity: an "error" keeps the server from starting, a "warning" does not.
        path: the setting it is about, dotted; empty where it is about none.
        message: a sentence that says what to do.
    """

    severity: Literal["error", "warning"]
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.path + ': ' if self.path else ''}{self.message}"


def check(settings: Settings, *, strict: bool = False) -> list[Problem]:
    """What cannot work (errors) and what may surprise (warnings).

    Args:
        settings: what to judge; nothing is opened, only folders are looked at.
        strict: a variable in the environment that sets nothing is an error, not a warning.
    """
    problems = [problem for rule in _RULES for problem in rule(settings)]
    severity: Literal["error", "warning"] = "error" if strict else "warning"
    problems += [Problem(severity, "", sentence) for sentence in settings._unknown]
    return sorted(problems, key=lambda problem: problem.severity != "error")


def is_loopback(host: str) -> bool:
    """Whether listening on `host` reaches no other machine."""
    if host.lower() in ("localhost", "ip6-localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _auth(settings: Settings) -> Iterator[Problem]:
    security = settings.security
    key = security.jwt_secret_key.get_secret_value() if security.jwt_secret_key else ""
    path = "security.jwt_secret_key"
    make_one = (
        'python -c "import secrets; print(secrets.token_urlsafe(48))" makes one; set it as '
        "JWT_SECRET_KEY."
    )
    if key in SAMPLE_SECRETS:
        if security.enable_auth:
            yield Problem("error", path, f"this key stands in published examples. {make_one}")
        else:
            yield Problem("warning", path, "this key stands in published examples; it is not used.")
    elif security.enable_auth and not key:
        yield Problem("error", path, f"auth is on, but there is no key to sign with. {make_one}")
    elif security.enable_auth and len(key) < SHORTEST_SECRET:
        yield Problem(
            "error",
            path,
            f"this key has {len(key)} characters and needs {SHORTEST_SECRET}. {make_one}",
        )
    exposed = not is_loopback(settings.host) and not security.enable_auth
    if exposed and not security.allow_public_without_auth:
        yield Problem(
            "error",
            "host",
            f"{settings.host} can be reached from other machines while auth is off. Turn "
            "security.enable_auth on, listen on 127.0.0.1, or, in a closed network, set "
            "security.allow_public_without_auth=true.",
        )


def _webhooks(settings: Settings) -> Iterator[Problem]:
    integration = settings.integration
    told = [("integration.webhook_endpoints", url) for url in integration.webhook_endpoints]
    if integration.game_server_url:
        told.append(("integration.game_server_url", integration.game_server_url))
    for path, url in told:
        if not url.startswith(("http://", "https://")):
            yield Problem("error", path, f"{url!r} should begin with http:// or https://.")
    if integration.webhook_secret is None:
        return
    text = integration.webhook_secret.get_secret_value()
    try:
        size = len(base64.b64decode(text.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if not text.startswith("whsec_") or not 24 <= size <= 64:
        yield Problem(
            "error",
            "integration.webhook_secret",
            "it should be whsec_ and the base64 of 24 to 64 random bytes; left out, one is made.",
        )


def _origins(settings: Settings) -> Iterator[Problem]:
    for origin in settings.security.cors_origins:
        if origin != "*" and not _ORIGIN.match(origin):
            yield Problem(
                "error",
                "security.cors_origins",
                f"{origin!r} is no origin: write scheme and host, without a path or a slash at "
                "the end, like https://example.com.",
            )


def _backends(settings: Settings) -> Iterator[Problem]:
    database = settings.database
    if not database.enabled:
        yield Problem(
            "warning",
            "database.enabled",
            "off: records go to a temporary file and are gone when the server ends.",
        )
    elif database.url:
        scheme, understood, _ = database.url.partition("://")
        if scheme not in DATABASES or not understood:
            yield Problem(
                "error",
                "database.url",
                f"{shown(database.url)} is not understood; write sqlite:///path/to/file.db or "
                "postgresql://user:password@host/name.",
            )
        elif scheme.startswith("postgres") and not _installed("psycopg"):
            yield Problem(
                "error",
                "database.url",
                "the driver for PostgreSQL is not installed. Bring it with: pip install "
                "'grandstand[postgres]'.",
            )
    if settings.redis.active:
        yield from _redis(settings)
    elif settings._processes > 1:
        yield Problem(
            "error",
            "",
            f"{settings._processes} server processes are asked for (WEB_CONCURRENCY, --workers), "
            "but without Redis live messages travel inside one process. Set REDIS_URL, and "
            "DATABASE_URL to a PostgreSQL; or leave it at one, which serves thousands of "
            "spectators.",
        )
    if settings.training.launcher == "ray" and not _installed("ray"):
        yield Problem(
            "error",
            "training.launcher",
            'Ray is not installed: pip install "grandstand[ray]", or write local.',
        )


def _redis(settings: Settings) -> Iterator[Problem]:
    field = "redis.url" if settings.redis.url else "redis.enabled"
    url = settings.redis.address or ""
    if not url.startswith(("redis://", "rediss://", "unix://")):
        yield Problem(
            "error",
            field,
            f"{shown(url)} is not understood; write redis://localhost:6379/0, or rediss:// "
            "for TLS.",
        )
    elif not _installed("redis"):
        yield Problem(
            "error",
            field,
            "the library for Redis is not installed. Bring it with: pip install "
            "'grandstand[redis]'.",
        )
    if not settings.resolved_database_url().startswith("postgres"):
        yield Problem(
            "error",
            field,
            "Redis connects several servers on one PostgreSQL; with SQLite there is one, which "
            "needs none. Set DATABASE_URL to a PostgreSQL, or unset REDIS_URL (redis.enabled: "
            "false).",
        )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # taken out of the imports by whoever runs this
        return False


def _folders(settings: Settings) -> Iterator[Problem]:
    folders = {"data_storage_path": settings.data_storage_path}
    if settings.models_dir:
        folders["models_dir"] = settings.models_dir
    if settings.log_file:
        folders["log_file"] = settings.log_file.parent
    for path, folder in folders.items():
        place = _nearest(folder)
        if not place.is_dir():
            yield Problem("error", path, f"{place} is a file, so no folder can be made there.")
        elif not os.access(place, os.W_OK | os.X_OK):
            yield Problem(
                "error", path, f"{place} may not be written to; choose another, or change its mode."
            )
    scenarios = settings.training.scenarios_dir
    if scenarios is not None and not scenarios.is_dir():
        yield Problem("error", "training.scenarios_dir", f"there is no folder {scenarios}.")


def _nearest(folder: Path) -> Path:
    """`folder`, or the closest thing above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _later(settings: Settings) -> Iterator[Problem]:
    plain = Settings()
    for path, field in walk():
        if extra(field).get("later") and lookup(settings, path) != lookup(plain, path):
            yield Problem("warning", path, "is understood, but has no effect in this version yet.")


_RULES: tuple[Callable[[Settings], Iterator[Problem]], ...] = (
    _auth,
    _origins,
    _webhooks,
    _backends,
    _folders,
    _later,
)
