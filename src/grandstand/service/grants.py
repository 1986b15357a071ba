"""Scopes, and the grants that tell what a request may do."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from enum import StrEnum

from grandstand.errors import Forbidden, Unauthenticated, ValidationFailed


class Scope(StrEnum):
    """A kind of right. Each route and socket asks for one."""

    WATCH = "watch"
    """Read sessions and follow them live."""
    REPORT = "report"
    """Create external sessions and send records."""
    OPERATE = "operate"
    """Start, stop and steer trainings; change and delete sessions; run rooms."""
    SUPERVISE = "supervise"
    """Take trainings from the queue and run them on another machine."""
    METRICS = "metrics"
    """Read figures about the server itself, for monitoring; none of its sessions."""
    ADMIN = "admin"
    """Everything about the server itself: users, keys, the audit log."""


ALL = frozenset(Scope)
_IMPLIED = {Scope.ADMIN: ALL, Scope.OPERATE: frozenset({Scope.WATCH})}


def scopes_of(names: Iterable[str], field: str = "scopes") -> frozenset[Scope]:
    """The scopes of these names, with those they imply.

    Raises:
        ValidationFailed: there is no such scope, or none is named.
    """
    found: set[Scope] = set()
    for name in names:
        try:
            scope = Scope(name)
        except ValueError:
            raise ValidationFailed(
                f"{field}: there is no scope {name!r}",
                details={"field": field, "allowed": [s.value for s in Scope]},
            ) from None
        found |= {scope} | _IMPLIED.get(scope, frozenset())
    if not found:
        raise ValidationFailed(f"{field}: name at least one", details={"field": field})
    return frozenset(found)


def missing(scope: Scope) -> Forbidden:
    """What is said to who lacks a right."""
    return Forbidden(
        f"this needs the right to {scope.value}",
        code="missing_scope",
        details={"scope": scope.value},
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do.

    Attributes:
        subject: who asks, for logs and for others to see.
        scopes: the rights.
        session_id: if set, they hold for this session alone.
        attempt: a worker's attempt at it.
        evaluation_id: if set, they hold for this evaluation alone.
        expires_at: seconds since 1970 when it ends by itself.
        token_id, user_id, epoch, key_id: what it rests on, and ends with.
        room: the code of the room it comes from; seat: the seat in it, None for the room's host.
        closed: sessions it does not reach, because they want the token of their room.
    """

    subject: str
    scopes: frozenset[Scope]
    session_id: str | None = None
    attempt: int | None = None
    evaluation_id: str | None = None
    expires_at: float | None = None
    token_id: str | None = None
    user_id: str | None = None
    epoch: int = 0
    key_id: str | None = None
    room: str | None = None
    seat: str | None = None
    closed: Set[str] = field(default=frozenset(), compare=False)
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
            Unauthenticated: the session wants the token of its room.
        """
        if scope not in self.scopes:
            raise missing(scope)
        if self.bound and (self.session_id, self.evaluation_id) != (session_id, evaluation_id):
            raise Forbidden(
                "this token is for another session",
                code="other_session",
                details={"session_id": self.session_id},
            )
        # Whoever reports into a session learns nothing of it.
        if session_id in self.closed and scope is not Scope.REPORT:
            raise Unauthenticated(
                f"session {session_id} is watched in a room",
                code="room_token_needed",
                detail="Join its room: POST /api/rooms/CODE/join gives a token. Its host has one.",
            )

    def covers(self, scope: Scope, session_id: str | None = None) -> bool:
        """Whether `check` lets it through."""
        if scope not in self.scopes or (self.bound and self.session_id != session_id):
            return False
        return session_id not in self.closed or scope is Scope.REPORT


EVERYBODY = Grant("anonymous", ALL)
"""The grant of a request without a token while authentication is off and no room is locked."""
