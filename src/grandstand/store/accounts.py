"""Users, API keys and tokens that were taken back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from grandstand.errors import Conflict, NotFound
from grandstand.store.bulk import insert_new
from grandstand.store.tables import api_keys, revoked_tokens, users


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account.

    Attributes:
        epoch: access tokens carry it; those of an older one are void.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    epoch: int
    disabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a trainer identifies itself with.

    Attributes:
        user_id: whose it is; None for one made at the command line, or without authentication.
        digest: the SHA-256 of its secret.
    """

    id: str
    name: str
    user_id: str | None
    digest: bytes
    scopes: tuple[str, ...]
    session_id: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


def all_users(connection: Connection) -> list[User]:
    """Everybody, by name."""
    return [_user(row) for row in connection.execute(select(users).order_by(users.c.key))]


def get_user(connection: Connection, user_id: str) -> User:
    """One user.

    Raises:
        NotFound: no such user.
    """
    row = connection.execute(select(users).where(users.c.id == user_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no user {user_id}", code="user_not_found")
    return _user(row)


def password_of(connection: Connection, key: str) -> tuple[User, str] | None:
    """The user of a name as it is compared, and the hash of their password."""
    row = connection.execute(select(users).where(users.c.key == key)).one_or_none()
    return None if row is None else (_user(row), row.password_hash)


def add_user(connection: Connection, values: Mapping[str, Any]) -> User:
    """Store a new user.

    Raises:
        Conflict: the name is taken.
    """
    taken = select(users.c.id).where(users.c.key == values["key"])
    try:
        if connection.scalar(taken) is None:
            with connection.begin_nested():
                connection.execute(insert(users).values(**values))
            return get_user(connection, values["id"])
    except IntegrityError:
        pass  # another server was a moment earlier
    raise Conflict(f"there is a user {values['name']} already", code="name_taken")


def change_user(connection: Connection, user_id: str, values: Mapping[str, Any]) -> User:
    """Change a user's columns.

    Raises:
        NotFound: no such user.
    """
    get_user(connection, user_id)
    if values:
        connection.execute(update(users).where(users.c.id == user_id).values(**values))
    return get_user(connection, user_id)


def remove_user(connection: Connection, user_id: str) -> None:
    """Remove a user with all their keys."""
    connection.execute(delete(users).where(users.c.id == user_id))


def all_keys(connection: Connection, *, valid_at: datetime | None = None) -> list[ApiKey]:
    """API keys, newest first.

    Args:
        valid_at: only those neither revoked nor expired then.
    """
    wanted = select(api_keys).order_by(api_keys.c.created_at.desc(), api_keys.c.id)
    if valid_at is not None:
        wanted = wanted.where(
            api_keys.c.revoked_at.is_(None),
            api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > valid_at),
        )
    return [_key(row) for row in connection.execute(wanted)]


def get_key(connection: Connection, key_id: str) -> ApiKey:
    """One key.

    Raises:
        NotFound: no such key.
    """
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no key {key_id}", code="key_not_found")
    return _key(row)


def add_key(connection: Connection, values: Mapping[str, Any]) -> ApiKey:
    """Store a new key."""
    connection.execute(insert(api_keys).values(**values))
    return get_key(connection, values["id"])


def revoke_key(connection: Connection, key_id: str, at: datetime) -> ApiKey:
    """Take a key back; again is harmless.

    Raises:
        NotFound: no such key.
    """
    get_key(connection, key_id)
    connection.execute(
        update(api_keys)
        .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=at)
    )
    return get_key(connection, key_id)


def keys_used(connection: Connection, used: Mapping[str, datetime]) -> None:
    """Note when keys were last used."""
    for key_id, at in used.items():
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))


def revoke_token(connection: Connection, token_id: str, expires_at: datetime) -> None:
    """Take an access token back until it would have expired."""
    connection.execute(
        insert_new(connection, revoked_tokens).values(token_id=token_id, expires_at=expires_at)
    )


def revoked(connection: Connection, at: datetime) -> frozenset[str]:
    """Ids of tokens taken back that would still hold."""
    held = select(revoked_tokens.c.token_id).where(revoked_tokens.c.expires_at > at)
    return frozenset(connection.scalars(held))


def any_expired(connection: Connection, at: datetime) -> bool:
    """Whether there is something to forget."""
    some = select(revoked_tokens.c.token_id).where(revoked_tokens.c.expires_at <= at).limit(1)
    return connection.scalar(some) is not None


def forget_expired(connection: Connection, at: datetime) -> int:
    """Drop what was taken back and has expired since; returns how many."""
    return connection.execute(
        delete(revoked_tokens).where(revoked_tokens.c.expires_at <= at)
    ).rowcount


def _user(row: Row[Any]) -> User:
    return User(row.id, row.name, tuple(row.scopes), row.epoch, row.disabled, row.created_at)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        row.id,
        row.name,
        row.user_id,
        bytes(row.digest),
        tuple(row.scopes),
        row.session_id,
        row.created_at,
        row.expires_at,
        row.last_used_at,
        row.revoked_at,
    )
