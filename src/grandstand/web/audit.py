"""The audit trail: what needs operate or admin is written down, with what came of it."""

from __future__ import annotations

import logging
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grandstand.clock import Clock
from grandstand.errors import GrandstandError
from grandstand.service.access import Grant
from grandstand.service.access import Scope as Right
from grandstand.store import audit
from grandstand.store.database import Database
from grandstand.web.addresses import address_of

logger = logging.getLogger("grandstand.audit")

ASKED, GRANT, ERROR = "grandstand.asked", "grandstand.grant", "grandstand.error"
NOTED = "grandstand.noted"
"""Where in a request's scope the doors leave what it asks for and what it was given, and the code
of what refused it; and whether it is written down whatever it asks for."""
WRITTEN = frozenset({Right.OPERATE, Right.ADMIN})


class AuditTrail:
    """The ASGI layer right around the application.

    A line is on disk before the answer goes out. If it cannot be written the answer still goes, as
    what it tells of has happened; the log says so.
    """

    def __init__(self, app: ASGIApp, database: Database, clock: Clock) -> None:
        self._app = app
        self._database = database
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            asked = scope.get(NOTED) or scope.get(ASKED) in WRITTEN
            written = asked and isinstance(scope.get(GRANT), Grant)
            if written and message["type"] == "http.response.start":
                await self._write(scope, int(message["status"]), scope.get(ERROR))
            await send(message)

        await self._app(scope, receive, told)

    async def _write(self, scope: Scope, status: int, error: str | None) -> None:
        route = getattr(scope.get("route"), "path", scope["path"])
        await self.note(
            scope[GRANT].subject,
            address_of(scope),
            f"{scope['method']} {route}",
            _target(scope),
            status,
            error,
        )

    async def note(
        self,
        subject: str,
        address: str,
        action: str,
        target: str | None,
        status: int,
        error: str | None = None,
    ) -> None:
        """Write a line."""
        at = self._clock.now()
        try:
            await self._database.write(
                lambda c: audit.write(c, at, subject, address, action, target, status, error)
            )
        except GrandstandError:
            logger.exception("not in the audit log: %s by %s: %s", action, subject, status)


def _target(scope: Scope) -> str | None:
    where: dict[str, Any] = scope.get("path_params") or {}
    for name in ("session_id", "code", "user_id", "key_id", "token_id", "name", "evaluation_id"):
        if name in where:
            return str(where[name])
    return None
