"""Who may do what: scopes, tokens and the grants they give.

With authentication off (the default, on loopback) everybody may do everything; a token that is
presented is checked all the same, because a worker's token also says for which session and which
attempt it reports.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import jwt

from grandstand.clock import Clock
from grandstand.errors import Forbidden, Unauthenticated
from grandstand.store import facts
from grandstand.store.database import Database

ALGORITHM = "HS256"
AUDIENCE = "grandstand"
WORKER_TOKEN_DAYS = 30


class Scope(StrEnum):
    """A kind of right. Each route and socket asks for one."""

    WATCH = "watch"
    """Read sessions and follow them live."""
    REPORT = "report"
    """Create external sessions and send records."""
    OPERATE = "operate"
    """Start, stop and steer trainings; change and delete sessions."""
    ADMIN = "admin"
    """Everything about the server itself."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do.

    Attributes:
        subject: who asks, for logs.
        scopes: the rights.
        session_id: if set, they hold for this session alone.
        attempt: a worker's attempt at it.
        evaluation_id: if set, they hold for this evaluation alone.
    """

    subject: str
    scopes: frozenset[Scope]
    session_id: str | None = None
    attempt: int | None = None
    evaluation_id: str | None = None
    bound: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        bound = self.session_id is not None or self.evaluation_id is not None
        object.__setattr__(self, "bound", bound)

    def check(
        self, scope: Scope, session_id: str | None = None, evaluation_id: str | None = None
    ) -> None:
        """Refuse what the grant does not cover.

        Raises:
            Forbidden: the scope is missing, or it is for another session or evaluation.
        """
        if scope not in self.scopes:
            raise Forbidden(
                f"this needs the right to {scope.value}",
                code="missing_scope",
                details={"scope": scope.value},
            )
        if self.bound and (self.session_id, self.evaluation_id) != (session_id, evaluation_id):
            raise Forbidden(
                "this token is for another session",
                code="other_session",
                details={"session_id": self.session_id},
            )


EVERYBODY = Grant("anonymous", frozenset(Scope))
"""The grant of a request without a token while authentication is off."""


class Access:
    """Mints tokens and reads them."""

    def __init__(self, database: Database, clock: Clock, *, enabled: bool, secret: str | None):
        self._database = database
        self._clock = clock
        self._secret = secret
        self.enabled = enabled

    async def open(self) -> None:
        """Without a configured secret, make one and keep it in the store, so that workers that
        outlive the server are known again by the next one."""
        if self._secret is None:
            self._secret = await self._database.write(
                lambda connection: facts.get_or_make(
                    connection, "token_secret", lambda: secrets.token_urlsafe(48)
                )
            )

    def worker_token(
        self, *, session_id: str | None = None, attempt: int = 0, evaluation_id: str | None = None
    ) -> str:
        """A token for one worker: to report on one session's attempt, or on one evaluation."""
        now = self._clock.now()
        claims = {
            "aud": AUDIENCE,
            "sub": "worker",
            "scopes": [Scope.REPORT.value, Scope.WATCH.value],
            "iat": now,
            "exp": now + timedelta(days=WORKER_TOKEN_DAYS),
            "session_id": session_id,
            "attempt": attempt if session_id is not None else None,
            "evaluation_id": evaluation_id,
        }
        return jwt.encode(claims, self._key(), algorithm=ALGORITHM)

    def grant(self, token: str | None) -> Grant:
        """What the bearer of `token` may do.

        Raises:
            Unauthenticated: no token while authentication is on; or one that is not valid.
        """
        if token is None:
            if self.enabled:
                raise Unauthenticated(
                    "this server wants a token",
                    detail="Send it as “Authorization: Bearer TOKEN”.",
                )
            return EVERYBODY
        try:
            claims = jwt.decode(
                token,
                self._key(),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                options={"require": ["exp", "sub"], "verify_exp": False, "verify_iat": False},
            )
            if claims["exp"] < self._clock.now().timestamp():
                raise Unauthenticated("the token has expired", code="token_expired")
            known = {s.value for s in Scope}
            return Grant(
                str(claims["sub"]),
                frozenset(Scope(s) for s in claims.get("scopes", []) if s in known),
                claims.get("session_id"),
                claims.get("attempt"),
                claims.get("evaluation_id"),
            )
        except jwt.InvalidTokenError:
            raise Unauthenticated("the token is not valid here", code="token_invalid") from None

    def _key(self) -> str:
        if self._secret is None:
            raise RuntimeError("Access.open() was not awaited")
        return self._secret
