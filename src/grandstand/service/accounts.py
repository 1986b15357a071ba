"""Users and API keys: made, changed, taken back; signing in and out."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from grandstand.clock import Clock
from grandstand.errors import BadRequest, Conflict, Forbidden, Unauthenticated, ValidationFailed
from grandstand.model.session import new_id
from grandstand.service.access import KEY_PREFIX, Access
from grandstand.service.grants import Grant, Scope, scopes_of
from grandstand.service.passwords import Passwords, check_password
from grandstand.store import accounts as rows
from grandstand.store.accounts import ApiKey, User
from grandstand.store.database import Connection, Database

LONGEST_NAME = 64
SECRET_BYTES = 32
LONGEST_TOKEN_DAYS = 366


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What signing in gives."""

    token: str
    expires_at: datetime
    user: User


class Accounts:
    """Everything about users and keys.

    Args:
        token_hours: how long signing in lasts.
    """

    def __init__(
        self,
        database: Database,
        access: Access,
        passwords: Passwords,
        clock: Clock,
        *,
        token_hours: float = 12.0,
    ) -> None:
        self._database = database
        self._access = access
        self._passwords = passwords
        self._clock = clock
        self._lifetime = timedelta(hours=token_hours)

    # Signing in and out.

    async def sign_in(self, name: str, password: str) -> SignedIn:
        """A token for who knows the password.

        Raises:
            Unauthenticated: the name or the password is wrong, or the account is disabled.
            TooMany: too many passwords are being checked.
        """
        key = compared(name)
        found = await self._database.read(lambda c: rows.password_of(c, key))
        right = await self._passwords.verify(found[1] if found else None, password)
        if found is None or not right or found[0].disabled:
            raise Unauthenticated("the name or the password is wrong", code="wrong_password")
        user, kept = found
        if self._passwords.outdated(kept):
            await self._change(user.id, {"password_hash": await self._passwords.hash(password)})
        await self._access.refresh()
        return self._signed_in(user)

    async def sign_out(self, grant: Grant) -> None:
        """Take back the token that was presented; API keys stay."""
        await self.revoke_token(grant.token_id, grant.expires_at)

    async def revoke_token(self, token_id: str | None, expires_at: float | None) -> None:
        """Take an access token back.

        Raises:
            BadRequest: there is none to take back.
        """
        if token_id is None or expires_at is None:
            raise BadRequest(
                "there is no access token to take back",
                code="no_token",
                detail="An API key is revoked with DELETE /api/auth/keys/ID.",
            )
        until = datetime.fromtimestamp(expires_at, self._clock.now().tzinfo) + timedelta(minutes=5)
        await self._database.write(lambda c: rows.revoke_token(c, token_id, until))
        await self._access.refresh()

    async def revoke_token_id(self, token_id: str) -> None:
        """Take an access token back that one does not hold.

        Raises:
            ValidationFailed: that is no token's id.
        """
        if not re.fullmatch(r"[0-9a-f]{32}", token_id):
            raise ValidationFailed("token_id: 32 hexadecimal digits", details={"field": "token_id"})
        latest = self._clock.now() + timedelta(days=LONGEST_TOKEN_DAYS)
        await self.revoke_token(token_id, latest.timestamp())

    async def change_password(self, grant: Grant, old: str, new: str) -> SignedIn:
        """One's own; everything signed in before ends.

        Raises:
            BadRequest: nobody is signed in.
            Unauthenticated: the old one is wrong.
        """
        if grant.user_id is None or grant.key_id is not None:
            raise BadRequest("only somebody who signed in has a password", code="no_user")
        check_password(new, "new_password")
        user_id = grant.user_id
        user = await self._database.read(lambda c: rows.get_user(c, user_id))
        found = await self._database.read(lambda c: rows.password_of(c, compared(user.name)))
        if found is None or not await self._passwords.verify(found[1], old):
            raise Unauthenticated("the old password is wrong", code="wrong_password")
        return self._signed_in(await self.change_user(user_id, password=new))

    def mint(
        self, name: str, scopes: Iterable[str], *, session_id: str | None, hours: float
    ) -> tuple[str, str, datetime]:
        """An access token without an account: the token, its id, when it expires.

        Raises:
            ValidationFailed: an argument makes no sense.
        """
        return self._access.mint(
            f"token:{clean(name)}",
            timedelta(hours=hours),
            scopes=scopes_of(scopes),
            session_id=session_id,
        )

    # Users.

    async def users(self) -> list[User]:
        """Everybody, by name."""
        return await self._database.read(rows.all_users)

    async def add_user(self, name: str, password: str, scopes: Iterable[str]) -> User:
        """A new account.

        Raises:
            ValidationFailed: name, password or scopes make no sense.
            Conflict: the name is taken.
        """
        name = clean(name)
        check_password(password)
        values = {
            "id": new_id(),
            "name": name,
            "key": compared(name),
            "password_hash": await self._passwords.hash(password),
            "scopes": _names(scopes),
            "created_at": self._clock.now(),
        }
        user = await self._database.write(lambda c: rows.add_user(c, values))
        await self._access.refresh()
        return user

    async def change_user(
        self,
        user_id: str,
        *,
        password: str | None = None,
        scopes: Iterable[str] | None = None,
        disabled: bool | None = None,
    ) -> User:
        """Change an account. A new password, or disabling it, ends everything signed in with it.

        Raises:
            NotFound: no such user.
            ValidationFailed: a value makes no sense.
            Conflict: it is the last who may administer.
        """
        values: dict[str, Any] = {}
        if scopes is not None:
            values["scopes"] = _names(scopes)
        if disabled is not None:
            values["disabled"] = disabled
        if password is not None:
            check_password(password)
            values["password_hash"] = await self._passwords.hash(password)
        ends = password is not None or disabled
        return await self._change(user_id, values, ends=bool(ends))

    async def remove_user(self, user_id: str) -> None:
        """Remove an account with its keys.

        Raises:
            NotFound: no such user.
            Conflict: it is the last who may administer.
        """

        def work(connection: Connection) -> None:
            user = rows.get_user(connection, user_id)
            rows.remove_user(connection, user_id)
            _somebody_left(connection, user)

        await self._database.write(work)
        await self._access.refresh()

    async def user_named(self, name: str) -> User:
        """The account of a name.

        Raises:
            NotFound: no such user.
        """
        found = await self._database.read(lambda c: rows.password_of(c, compared(name)))
        if found is None:
            return await self._database.read(lambda c: rows.get_user(c, name))
        return found[0]

    async def _change(self, user_id: str, values: dict[str, Any], *, ends: bool = False) -> User:
        def work(connection: Connection) -> User:
            user = rows.get_user(connection, user_id)
            more = {"epoch": user.epoch + 1} if ends else {}
            changed = rows.change_user(connection, user_id, {**values, **more})
            if "scopes" in values or values.get("disabled"):
                _somebody_left(connection, user)
            return changed

        user = await self._database.write(work)
        await self._access.refresh()
        return user

    # Keys.

    async def keys(self, grant: Grant) -> list[ApiKey]:
        """One's own API keys; for an admin, everybody's."""
        found = await self._database.read(rows.all_keys)
        if Scope.ADMIN in grant.scopes:
            return found
        return [key for key in found if key.user_id == grant.user_id and grant.user_id is not None]

    async def add_key(
        self,
        grant: Grant,
        name: str,
        scopes: Iterable[str],
        *,
        session_id: str | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """A new API key, and its text, which nobody is told again.

        Raises:
            Forbidden: it would be able to do more than whoever makes it.
            ValidationFailed: a value makes no sense.
        """
        wanted = scopes_of(scopes)
        if not wanted <= grant.scopes or (grant.bound and grant.session_id != session_id):
            raise Forbidden(
                "a key may do no more than whoever makes it",
                code="missing_scope",
                details={"scopes": sorted(s.value for s in wanted - grant.scopes)},
            )
        if expires_at is not None and expires_at <= self._clock.now():
            raise ValidationFailed("expires_at: lies in the past", details={"field": "expires_at"})
        secret, key_id = secrets.token_urlsafe(SECRET_BYTES), new_id()
        values = {
            "id": key_id,
            "name": clean(name),
            "user_id": grant.user_id,
            "digest": hashlib.sha256(secret.encode()).digest(),
            "scopes": sorted(s.value for s in wanted),
            "session_id": session_id,
            "created_at": self._clock.now(),
            "expires_at": expires_at,
        }
        key = await self._database.write(lambda c: rows.add_key(c, values))
        await self._access.refresh()
        return key, f"{KEY_PREFIX}{key_id}_{secret}"

    async def revoke_key(self, grant: Grant, key_id: str) -> ApiKey:
        """Take a key back: one's own, or, for an admin, anybody's.

        Raises:
            NotFound: no such key.
            Forbidden: it is somebody else's.
        """

        def work(connection: Connection) -> ApiKey:
            key = rows.get_key(connection, key_id)
            own = key.user_id is not None and key.user_id == grant.user_id
            if not own and Scope.ADMIN not in grant.scopes:
                raise Forbidden("this key is somebody else's", code="other_user")
            return rows.revoke_key(connection, key_id, self._clock.now())

        key = await self._database.write(work)
        await self._access.refresh()
        return key

    def _signed_in(self, user: User) -> SignedIn:
        token, _, expires_at = self._access.mint(user.name, self._lifetime, user=user)
        return SignedIn(token, expires_at, user)


def clean(name: str, field: str = "name") -> str:
    """A name as it is shown: normalised, printable, without spaces at its ends.

    Raises:
        ValidationFailed: nothing, or too much, is left.
    """
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if c.isprintable()).strip()
    if not 1 <= len(shown) <= LONGEST_NAME:
        raise ValidationFailed(
            f"{field}: 1 to {LONGEST_NAME} characters",
            details={"field": field, "min_length": 1, "max_length": LONGEST_NAME},
        )
    return shown


def compared(name: str) -> str:
    """A name as it is compared: without what looks the same (UTS #46 calls it NFKC casefold)."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if c.isprintable()).strip()
    return unicodedata.normalize("NFKC", shown.casefold())[:LONGEST_NAME]


def _names(scopes: Iterable[str]) -> list[str]:
    return sorted(s.value for s in scopes_of(scopes))


def _somebody_left(connection: Connection, was: User) -> None:
    """Hold that somebody may still administer, if `was` might until now.

    Raises:
        Conflict: nobody would.
    """
    if Scope.ADMIN not in was.scopes or was.disabled:
        return
    everybody = rows.all_users(connection)
    if not any(Scope.ADMIN in user.scopes and not user.disabled for user in everybody):
        raise Conflict(
            "nobody would be left who may administer",
            code="last_admin",
            detail="Make somebody else an admin first.",
        )
