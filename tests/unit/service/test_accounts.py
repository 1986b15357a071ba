"""Users, API keys and tokens: what holds, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import jwt
import pytest
from argon2 import PasswordHasher

from grandstand.clock import ManualClock
from grandstand.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    Unauthenticated,
    ValidationFailed,
)
from grandstand.service.access import AUDIENCE, Access
from grandstand.service.accounts import Accounts, compared
from grandstand.service.grants import EVERYBODY, Grant, Scope, scopes_of
from grandstand.service.passwords import Passwords
from grandstand.store.database import Database

SECRET = "k" * 48
PASSWORD = "correct horse"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Desk:
    database: Database
    clock: ManualClock
    access: Access
    accounts: Accounts

    async def another(self) -> Access:
        """What another process knows."""
        access = Access(self.database, self.clock, enabled=True, secret=SECRET)
        await access.open()
        return access


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock()
    database = Database.open(f"sqlite:///{tmp_path / 'x.db'}")
    access = Access(database, clock, enabled=True, secret=SECRET)
    passwords = Passwords(QUICK)
    await access.open()
    yield Desk(database, clock, access, Accounts(database, access, passwords, clock))
    passwords.close()
    await database.aclose()


def refused(access: Access, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        access.grant(token)
    return caught.value.code


def test_scopes_bring_what_they_imply() -> None:
    assert scopes_of(["operate"]) == {Scope.OPERATE, Scope.WATCH}
    assert scopes_of(["admin"]) == set(Scope)
    assert scopes_of(["report"]) == {Scope.REPORT}
    for names in ([], ["everything"]):
        with pytest.raises(ValidationFailed):
            scopes_of(names)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ann", "ANN"), ("Ａnn", "ann"), ("Straße", "STRASSE"), (" ann\u200b", "ann")],
)
def test_names_that_look_alike_are_one(one: str, other: str) -> None:
    assert compared(one) == compared(other)


async def test_signing_in_gives_what_the_account_may(desk: Desk) -> None:
    await desk.accounts.add_user("Ann", PASSWORD, ["operate"])
    signed = await desk.accounts.sign_in("ann", PASSWORD)
    grant = desk.access.grant(signed.token)
    assert grant.subject == "Ann"
    assert grant.scopes == {Scope.OPERATE, Scope.WATCH}
    await desk.accounts.change_user(signed.user.id, scopes=["watch"])
    assert desk.access.grant(signed.token).scopes == {Scope.WATCH}


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong one"), ("bob", PASSWORD)])
async def test_a_wrong_password_and_a_wrong_name_are_told_alike(
    desk: Desk, name: str, password: str
) -> None:
    await desk.accounts.add_user("ann", PASSWORD, ["watch"])
    with pytest.raises(Unauthenticated) as caught:
        await desk.accounts.sign_in(name, password)
    assert caught.value.code == "wrong_password"
    assert caught.value.message == "the name or the password is wrong"


@pytest.mark.parametrize("how", ["out", "password", "disable", "remove", "own password"])
async def test_what_ends_a_token(desk: Desk, how: str) -> None:
    await desk.accounts.add_user("root", PASSWORD, ["admin"])
    user = await desk.accounts.add_user("ann", PASSWORD, ["watch"])
    other = await desk.another()
    token = (await desk.accounts.sign_in("ann", PASSWORD)).token
    grant = desk.access.grant(token)
    again = ""
    if how == "out":
        await desk.accounts.sign_out(grant)
    elif how == "password":
        await desk.accounts.change_user(user.id, password="another one")
    elif how == "own password":
        again = (await desk.accounts.change_password(grant, PASSWORD, "another one")).token
    elif how == "disable":
        await desk.accounts.change_user(user.id, disabled=True)
    else:
        await desk.accounts.remove_user(user.id)
    assert refused(desk.access, token) == "token_revoked"
    await other.refresh()
    assert refused(other, token) == "token_revoked"
    if again:
        assert desk.access.grant(again).subject == "ann"


async def test_a_disabled_account_cannot_sign_in(desk: Desk) -> None:
    user = await desk.accounts.add_user("ann", PASSWORD, ["watch"])
    await desk.accounts.change_user(user.id, disabled=True)
    with pytest.raises(Unauthenticated):
        await desk.accounts.sign_in("ann", PASSWORD)
    await desk.accounts.change_user(user.id, disabled=False)
    await desk.accounts.sign_in("ann", PASSWORD)


async def test_tokens_expire_with_leeway(desk: Desk) -> None:
    token, _, _ = desk.access.mint("ann", timedelta(minutes=1), scopes=[Scope.WATCH])
    await desk.clock.advance(69)
    desk.access.grant(token)
    await desk.clock.advance(2)
    assert refused(desk.access, token) == "token_expired"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"exp": None},
        {"sub": None},
        {"iat": 10**10},
        {"exp": "soon"},
    ],
)
async def test_tokens_that_are_not_ours(desk: Desk, claims: dict[str, object]) -> None:
    now = desk.clock.now().timestamp()
    whole = {"aud": AUDIENCE, "sub": "x", "exp": now + 60, "iat": now, "scopes": ["admin"]}
    whole = {k: v for k, v in {**whole, **claims}.items() if v is not None}
    assert refused(desk.access, jwt.encode(whole, SECRET, algorithm="HS256")) == "token_invalid"
    good = {"aud": AUDIENCE, "sub": "x", "exp": now + 60, "scopes": ["watch", "unheard of"]}
    assert desk.access.grant(jwt.encode(good, SECRET, algorithm="HS256")).scopes == {Scope.WATCH}
    for text in (
        jwt.encode(good, "another secret of some length, 32 bytes", algorithm="HS256"),
        jwt.encode(good, SECRET, algorithm="HS384"),
        jwt.encode(good, None, algorithm="none"),
        "",
        "é",
    ):
        assert refused(desk.access, text) == "token_invalid"


async def test_an_api_key_is_told_once_and_kept_hashed(desk: Desk) -> None:
    key, text = await desk.accounts.add_key(EVERYBODY, "cluster", ["report"], session_id="run")
    grant = desk.access.grant(text)
    assert (grant.scopes, grant.session_id) == ({Scope.REPORT}, "run")
    # Behind prefix and id; it may hold underscores itself.
    secret = text.split("_", 2)[-1].encode()
    assert len(secret) > 40
    kept = await desk.database.read(
        lambda c: c.exec_driver_sql("SELECT * FROM api_keys").mappings().all()
    )
    assert secret not in str(kept).encode()
    assert refused(desk.access, text[:-1] + ("a" if text[-1] != "a" else "b")) == "token_invalid"
    await desk.accounts.revoke_key(EVERYBODY, key.id)
    assert refused(desk.access, text) == "token_invalid"
    with pytest.raises(NotFound):
        await desk.accounts.revoke_key(EVERYBODY, "none")


async def test_an_open_grant_of_a_revoked_key_is_found_out(desk: Desk) -> None:
    told: list[str] = []
    key, text = await desk.accounts.add_key(EVERYBODY, "cluster", ["report"])
    grant = desk.access.grant(text)
    desk.access.changed.append(lambda: told.append("changed"))
    await desk.accounts.revoke_key(EVERYBODY, key.id)
    assert told == ["changed"]
    with pytest.raises(Unauthenticated):
        desk.access.still(grant)


async def test_keys_expire(desk: Desk) -> None:
    at = desk.clock.now() + timedelta(days=1)
    _, text = await desk.accounts.add_key(EVERYBODY, "cluster", ["report"], expires_at=at)
    desk.access.grant(text)
    await desk.clock.advance(24 * 3600 + 60)
    assert refused(desk.access, text) == "token_expired"
    with pytest.raises(ValidationFailed):
        await desk.accounts.add_key(EVERYBODY, "late", ["report"], expires_at=at)


async def test_a_key_may_do_no_more_than_whoever_made_it(desk: Desk) -> None:
    user = await desk.accounts.add_user("ann", PASSWORD, ["watch", "report"])
    grant = desk.access.grant((await desk.accounts.sign_in("ann", PASSWORD)).token)
    with pytest.raises(Forbidden):
        await desk.accounts.add_key(grant, "more", ["operate"])
    with pytest.raises(Forbidden):
        await desk.accounts.add_key(replace(grant, session_id="a"), "wider", ["watch"])
    key, text = await desk.accounts.add_key(grant, "mine", ["report", "watch"])
    assert [k.id for k in await desk.accounts.keys(grant)] == [key.id]
    await desk.accounts.change_user(user.id, scopes=["watch"])
    assert desk.access.grant(text).scopes == {Scope.WATCH}
    stranger = Grant("bob", frozenset({Scope.WATCH}), user_id="bob")
    assert await desk.accounts.keys(stranger) == []
    with pytest.raises(Forbidden):
        await desk.accounts.revoke_key(stranger, key.id)
    await desk.accounts.change_user(user.id, disabled=True)
    assert refused(desk.access, text) == "token_revoked"


async def test_when_a_key_was_used_is_noted_seldom(desk: Desk) -> None:
    key, text = await desk.accounts.add_key(EVERYBODY, "cluster", ["report"])
    desk.access.grant(text)
    await desk.access.refresh()
    assert (await desk.accounts.keys(EVERYBODY))[0].last_used_at is None
    await desk.clock.advance(61)
    used = desk.clock.now()
    desk.access.grant(text)
    await desk.access.refresh()
    ((found),) = await desk.accounts.keys(EVERYBODY)
    assert (found.id, found.last_used_at) == (key.id, used)


async def test_another_process_hears_of_what_is_new(desk: Desk) -> None:
    other = await desk.another()
    _, text = await desk.accounts.add_key(EVERYBODY, "cluster", ["report"])
    assert refused(other, text) == "token_invalid"
    assert await other.learn() is False  # it has read a moment ago
    await desk.clock.advance(2)
    assert await other.learn() is True
    assert other.grant(text).key_id


async def test_somebody_stays_who_may_administer(desk: Desk) -> None:
    root = await desk.accounts.add_user("root", PASSWORD, ["admin"])
    for change in ({"scopes": ["watch"]}, {"disabled": True}):
        with pytest.raises(Conflict):
            await desk.accounts.change_user(root.id, **change)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        await desk.accounts.remove_user(root.id)
    ann = await desk.accounts.add_user("ann", PASSWORD, ["admin"])
    await desk.accounts.remove_user(root.id)
    assert [u.id for u in await desk.accounts.users()] == [ann.id]


async def test_the_first_admin_is_missed(desk: Desk) -> None:
    assert desk.access.nobody_yet
    await desk.accounts.add_user("ann", PASSWORD, ["watch"])
    assert desk.access.nobody_yet
    await desk.accounts.add_user("root", PASSWORD, ["admin"])
    assert not desk.access.nobody_yet


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [("", PASSWORD, "name"), ("x" * 65, PASSWORD, "name"), ("ann", "short", "password")],
)
async def test_accounts_that_cannot_be(desk: Desk, name: str, password: str, problem: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        await desk.accounts.add_user(name, password, ["watch"])
    assert caught.value.details["field"] == problem


async def test_a_name_is_taken_once(desk: Desk) -> None:
    await desk.accounts.add_user("Ann", PASSWORD, ["watch"])
    with pytest.raises(Conflict):
        await desk.accounts.add_user("ANN", PASSWORD, ["watch"])


async def test_an_old_hash_is_made_anew(desk: Desk, tmp_path: Path) -> None:
    await desk.accounts.add_user("ann", PASSWORD, ["watch"])
    stronger = Passwords(PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    accounts = Accounts(desk.database, desk.access, stronger, desk.clock)
    await accounts.sign_in("ann", PASSWORD)
    await accounts.sign_in("ann", PASSWORD)
    found = await desk.database.read(
        lambda c: c.exec_driver_sql("SELECT password_hash FROM users").scalar_one()
    )
    assert "t=2" in found
    stronger.close()


async def test_nobody_changes_the_password_of_a_key(desk: Desk) -> None:
    _, text = await desk.accounts.add_key(EVERYBODY, "cluster", ["report"])
    with pytest.raises(BadRequest):
        await desk.accounts.change_password(desk.access.grant(text), PASSWORD, PASSWORD)
    with pytest.raises(BadRequest):
        await desk.accounts.sign_out(desk.access.grant(text))


async def test_housekeeping_forgets_what_no_longer_matters(desk: Desk) -> None:
    from grandstand.store import accounts as rows
    from grandstand.store import audit

    _, token_id, expires_at = desk.access.mint("a", timedelta(hours=1), scopes=[Scope.WATCH])
    await desk.accounts.revoke_token(token_id, expires_at.timestamp())
    now = desk.clock.now()
    await desk.database.write(lambda c: audit.write(c, now, "a", "", "POST /x", None, 200, None))
    assert not await desk.database.read(lambda c: rows.any_expired(c, now))
    later = now + timedelta(hours=2)
    assert await desk.database.write(lambda c: rows.forget_expired(c, later)) == 1
    assert await desk.database.write(lambda c: audit.drop_before(c, now)) == 0
    assert await desk.database.write(lambda c: audit.drop_before(c, later)) == 1
