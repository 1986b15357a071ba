"""Who may do what: reads credentials and gives grants, mints tokens, and knows what was taken back.

With authentication off (the default, on loopback) everybody may do everything; a token that is
presented is checked all the same, because a worker's token also says for which session and which
attempt it reports.

Every request passes here, so nothing here waits for the database: users, keys, open rooms and what
was taken back lie in memory. `refresh` reads them again, for what other processes did.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import jwt

from grandstand.clock import Clock
from grandstand.errors import Forbidden, Gone, Unauthenticated
from grandstand.service.grants import ALL, EVERYBODY, Grant, Scope, missing, scopes_of
from grandstand.store import accounts, facts
from grandstand.store.accounts import ApiKey, User
from grandstand.store.database import Connection, Database
from grandstand.store.rooms import Standing, standing

__all__ = ["ALL", "EVERYBODY", "Access", "Grant", "Scope", "scopes_of"]

ALGORITHM = "HS256"
AUDIENCE = "grandstand"
WORKER_TOKEN_DAYS = 30
KEY_PREFIX = "gsk_"
MOST_CACHED = 4096
LEARN_SECONDS = 1.0
"""How often an unknown credential may have the database read again."""
NOTE_SECONDS = 60.0
"""How often it is noted when keys were last used."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What credentials rest on, as last read."""

    users: dict[str, User] = field(default_factory=dict)
    keys: dict[str, ApiKey] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()
    rooms: dict[str, Standing] = field(default_factory=dict)


class Access:
    """Mints tokens and reads credentials.

    Args:
        enabled: whether a request must bring one.
        secret: signs tokens; None: one is made and kept in the store.
        leeway_seconds: clocks of different machines may differ by so much.

    Attributes:
        locked: sessions that are closed to whoever has no token of their room.
        changed: called whenever something may have been taken back.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        enabled: bool,
        secret: str | None,
        leeway_seconds: float = 10.0,
    ):
        self._database = database
        self._clock = clock
        self._secret = secret
        self._leeway = leeway_seconds
        self._known = _Known()
        self._cache: dict[str, Grant] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._noted_at = clock.monotonic()
        self._used: dict[str, datetime] = {}
        self.enabled = enabled
        self.locked: set[str] = set()
        self.everybody = replace(EVERYBODY, closed=self.locked)
        self.changed: list[Callable[[], None]] = []

    async def open(self) -> None:
        """Without a configured secret, make one and keep it in the store, so that workers that
        outlive the server are known again by the next one."""
        if self._secret is None:
            self._secret = await self._database.write(
                lambda connection: facts.get_or_make(
                    connection, "token_secret", lambda: secrets.token_urlsafe(48)
                )
            )
        await self.refresh()

    @property
    def nobody_yet(self) -> bool:
        """Whether authentication is on and there is no user who could sign in."""
        return self.enabled and not any(
            Scope.ADMIN in user.scopes and not user.disabled for user in self._known.users.values()
        )

    def told(self) -> dict[str, bool]:
        """What anybody may know: whether a token is wanted, whether somebody could sign in yet."""
        return {"enabled": self.enabled, "first_admin_needed": self.nobody_yet}

    # What credentials rest on.

    async def refresh(self) -> None:
        """Read everything credentials rest on, and note when keys were last used. Whoever asks
        while it is being read shares the next time with whoever else does."""
        if self._next is None:
            self._next = asyncio.create_task(self._refresh())
        await asyncio.shield(self._next)

    async def _refresh(self) -> None:
        async with self._reading:
            self._next = None  # who asks from here on wants what is written from here on
            now = self._clock.now()
            self._read_at = self._clock.monotonic()

            def read(connection: Connection) -> _Known:
                return _Known(
                    {user.id: user for user in accounts.all_users(connection)},
                    {key.id: key for key in accounts.all_keys(connection, valid_at=now)},
                    accounts.revoked(connection, now),
                    standing(connection, now),
                )

            self._learned(await self._database.read(read))
        await self._note_used()

    async def learn(self) -> bool:
        """Look whether a credential nobody knows is a new one; seldom, whoever asks.

        Returns:
            False when it was looked a moment ago.
        """
        if self._read_at is not None and self._clock.monotonic() - self._read_at < LEARN_SECONDS:
            return False
        await self.refresh()
        return True

    def _learned(self, known: _Known) -> None:
        bare = {i: replace(key, last_used_at=None) for i, key in known.keys.items()}
        known = replace(known, keys=bare)
        same, self._known = known == self._known, known
        if same:
            return
        self._cache.clear()
        self.locked.clear()
        self.locked.update(room.session_id for room in known.rooms.values() if room.locked)
        for tell in self.changed:
            tell()

    def room(self, code: str) -> Standing | None:
        """What is known of an open room."""
        room = self._known.rooms.get(code)
        if room is None or (room.expires_at is not None and room.expires_at <= self._clock.now()):
            return None
        return room

    def user_name(self, user_id: str) -> str | None:
        """The name of somebody with an account."""
        user = self._known.users.get(user_id)
        return user.name if user is not None else None

    def forget_session(self, session_id: str) -> None:
        """Its rooms went with a session: whoever takes its id next has none of them."""
        rooms = {c: r for c, r in self._known.rooms.items() if r.session_id != session_id}
        if len(rooms) < len(self._known.rooms):
            self._learned(replace(self._known, rooms=rooms))

    async def _note_used(self) -> None:
        now = self._clock.monotonic()
        if not self._used or now - self._noted_at < NOTE_SECONDS:
            return
        used, self._used, self._noted_at = self._used, {}, now
        await self._database.write(lambda c: accounts.keys_used(c, used))

    # Minting.

    def mint(
        self,
        subject: str,
        lifetime: timedelta,
        *,
        scopes: Iterable[Scope] | None = None,
        user: User | None = None,
        session_id: str | None = None,
        attempt: int | None = None,
        evaluation_id: str | None = None,
        room: str | None = None,
        seat: str | None = None,
    ) -> tuple[str, str, datetime]:
        """A signed access token.

        Args:
            scopes: its rights; None, for a user: theirs, whatever they become.
            user: who signed in.
            session_id: the one session it is for; attempt: a worker's attempt at it.
            evaluation_id: the one evaluation it is for.
            room, seat: where it comes from.

        Returns:
            the token, its id, and when it expires.
        """
        now = self._clock.now()
        token_id, expires_at = secrets.token_hex(16), now + lifetime
        claims: dict[str, Any] = {
            "aud": AUDIENCE,
            "sub": subject,
            "jti": token_id,
            "iat": now,
            "exp": expires_at,
            "scopes": None if scopes is None else sorted(s.value for s in scopes),
            "user_id": user.id if user else None,
            "epoch": user.epoch if user else None,
            "session_id": session_id,
            "attempt": attempt,
            "evaluation_id": evaluation_id,
            "room": room,
            "seat": seat,
        }
        return self.sign(claims), token_id, expires_at

    def worker_token(
        self, *, session_id: str | None = None, attempt: int = 0, evaluation_id: str | None = None
    ) -> str:
        """A token for one worker: to report on one session's attempt, or on one evaluation."""
        token, _, _ = self.mint(
            "worker",
            timedelta(days=WORKER_TOKEN_DAYS),
            scopes=(Scope.REPORT, Scope.WATCH),
            session_id=session_id,
            attempt=attempt if session_id is not None else None,
            evaluation_id=evaluation_id,
        )
        return token

    def sign(self, claims: dict[str, Any]) -> str:
        """A signed statement for another purpose than access; `claims["aud"]` says which."""
        return jwt.encode(claims, self._key(), algorithm=ALGORITHM)

    def read(self, text: str, audience: str) -> dict[str, Any]:
        """The claims of a statement of ours.

        Raises:
            Unauthenticated: it is not ours, not for this purpose, or has expired.
        """
        return self._decode(text, audience)

    # Reading.

    def grant(self, token: str | None) -> Grant:
        """What the bearer of `token` may do.

        Raises:
            Unauthenticated: no token while authentication is on; or one that does not hold.
            Forbidden, Gone: its seat or room is no more.
        """
        if token is None:
            if self.enabled:
                raise Unauthenticated(
                    "this server wants a token",
                    detail="Send it as “Authorization: Bearer TOKEN”.",
                )
            return self.everybody
        grant = self._cache.get(token)
        if grant is None:
            made = self._of_key(token) if token.startswith(KEY_PREFIX) else self._of_token(token)
            self.still(made)
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            grant = self._cache[token] = made
        else:
            self.still(grant)
        if grant.key_id is not None:
            self._used[grant.key_id] = self._clock.now()
        return grant

    def still(self, grant: Grant, scope: Scope | None = None) -> None:
        """Hold that a grant has not ended.

        Args:
            scope: a right that whoever it rests on must have still.

        Raises:
            Unauthenticated: it has expired or was taken back.
            Forbidden: its seat is no more, or its user has lost the right.
            Gone: its room is no more.
        """
        now = self._clock.now()
        if grant.expires_at is not None and grant.expires_at + self._leeway < now.timestamp():
            raise Unauthenticated(
                "the token has expired", code="token_expired", detail="Get a new one."
            )
        if grant.token_id is not None and grant.token_id in self._known.revoked:
            raise _taken_back()
        if grant.user_id is not None:
            user = self._known.users.get(grant.user_id)
            if user is None or user.disabled or (user.epoch != grant.epoch and not grant.key_id):
                raise _taken_back()
            if scope is not None and scope not in scopes_of(user.scopes):
                raise missing(scope)
        if grant.key_id is not None and grant.key_id not in self._known.keys:
            raise _taken_back()
        if grant.room is not None:
            self._still_seated(grant)

    def _still_seated(self, grant: Grant) -> None:
        room = self.room(grant.room or "")
        if room is None:
            raise Gone(f"room {grant.room} is closed", code="room_closed")
        if grant.seat is not None and grant.seat not in room.seats:
            raise Forbidden(
                "this seat is no longer yours", code="seat_lost", detail="Join the room again."
            )

    def _of_key(self, text: str) -> Grant:
        key_id, _, secret = text.removeprefix(KEY_PREFIX).partition("_")
        key = self._known.keys.get(key_id)
        digest = hashlib.sha256(secret.encode()).digest()
        if not hmac.compare_digest(digest, key.digest if key else bytes(32)) or key is None:
            raise Unauthenticated("the API key is not valid here", code="token_invalid")
        scopes = frozenset(Scope(s) for s in key.scopes)
        if key.user_id is not None and (owner := self._known.users.get(key.user_id)) is not None:
            scopes &= scopes_of(owner.scopes)  # never more than whoever made it may do now
        return Grant(
            f"key:{key.name}",
            scopes,
            key.session_id,
            expires_at=key.expires_at.timestamp() if key.expires_at else None,
            user_id=key.user_id,
            key_id=key.id,
            closed=self._closed,
        )

    def _of_token(self, token: str) -> Grant:
        claims = self._decode(token, AUDIENCE)
        user_id = claims.get("user_id")
        user = self._known.users.get(user_id) if user_id is not None else None
        known = {s.value for s in Scope}
        told = claims.get("scopes")
        if told is not None:
            scopes = frozenset(Scope(s) for s in told if s in known)
        else:
            scopes = scopes_of(user.scopes) if user is not None else frozenset()
        worker = claims.get("attempt") is not None or claims.get("evaluation_id") is not None
        return Grant(
            str(claims["sub"]),
            scopes,
            claims.get("session_id"),
            claims.get("attempt"),
            claims.get("evaluation_id"),
            expires_at=float(claims["exp"]),
            token_id=claims.get("jti"),
            user_id=user_id,
            epoch=claims.get("epoch") or 0,
            room=claims.get("room"),
            seat=claims.get("seat"),
            closed=frozenset() if worker or claims.get("room") is not None else self._closed,
        )

    @property
    def _closed(self) -> Set[str]:
        """The sessions that an account, a key or a token of somebody's does not reach: without
        authentication anybody can make those, so they open no room."""
        return frozenset() if self.enabled else self.locked

    def _decode(self, text: str, audience: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                self._key(),
                algorithms=[ALGORITHM],
                audience=audience,
                # Ours is the clock that counts; see below.
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            now = self._clock.now().timestamp()
            if float(claims["exp"]) + self._leeway < now:
                raise Unauthenticated(
                    "the token has expired", code="token_expired", detail="Get a new one."
                )
            if max(float(claims.get(c) or 0) for c in ("iat", "nbf")) - self._leeway > now:
                raise Unauthenticated("the token does not hold yet", code="token_invalid")
        except (jwt.InvalidTokenError, TypeError, ValueError, UnicodeError):
            raise Unauthenticated("the token is not valid here", code="token_invalid") from None
        return claims

    def _key(self) -> str:
        if self._secret is None:
            raise RuntimeError("Access.open() was not awaited")
        return self._secret


def _taken_back() -> Unauthenticated:
    return Unauthenticated(
        "the token was taken back", code="token_revoked", detail="Sign in again."
    )
