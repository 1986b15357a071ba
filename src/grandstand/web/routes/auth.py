"""/api/auth and /api/audit: signing in, users, API keys, tokens, and who did what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from grandstand.assembly import Assembly
from grandstand.errors import GrandstandError
from grandstand.service.accounts import SignedIn
from grandstand.service.grants import Grant, Scope
from grandstand.store import audit
from grandstand.store.accounts import ApiKey, User
from grandstand.web.addresses import address_of
from grandstand.web.answers import ANY, answer, gives, listing
from grandstand.web.audit import AuditTrail
from grandstand.web.auth import Authority
from grandstand.web.bodies import Body, Moment
from grandstand.web.websocket import moment

WRONG = "wrong_password"
Name = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[str, Field(min_length=1, max_length=1024)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]


class SignIn(Body):
    """Sign in."""

    name: Name
    password: Password


class NewPassword(Body):
    """Change one's own password."""

    password: Password
    new_password: Password


class NewUser(Body):
    """Make an account."""

    name: Name
    password: Password
    scopes: Scopes = Field(default_factory=lambda: [Scope.WATCH])


class UserChange(Body):
    """Change an account; what is left out stays."""

    password: Password | None = None
    scopes: Scopes | None = None
    disabled: bool | None = None


class NewKey(Body):
    """Make an API key."""

    name: Name
    scopes: Scopes = Field(default_factory=lambda: [Scope.REPORT, Scope.WATCH])
    session_id: str | None = Field(None, min_length=1, max_length=128)
    """The one session it is for."""
    expires_at: Moment | None = None


class NewToken(Body):
    """Make an access token without an account."""

    name: Name
    scopes: Scopes = Field(default_factory=lambda: [Scope.WATCH])
    session_id: str | None = Field(None, min_length=1, max_length=128)
    hours: float = Field(12, gt=0, le=24 * 366)


def routes(house: Assembly, authority: Authority, trail: AuditTrail) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/api", tags=["doors"])
    anybody = authority.anybody()
    watch = authority.require(Scope.WATCH)
    noted = authority.require(Scope.WATCH, noted=True)
    admin = authority.require(Scope.ADMIN)
    accounts = house.accounts

    @router.get("/auth", **gives(ANY))
    async def get_auth() -> Response:
        """Whether this server wants a token, and whether somebody could sign in yet."""
        return answer(house.access.told())

    @router.get("/auth/me", **gives(ANY, 401))
    async def get_me(grant: Grant = anybody) -> Response:
        """What the token that was sent may do."""
        return answer(
            {
                "subject": grant.subject,
                "user_id": grant.user_id,
                "scopes": sorted(grant.scopes),
                "session_id": grant.session_id,
                "room_code": grant.room,
                "expires_at": moment(grant.expires_at),
            }
        )

    @router.post("/auth/login", **gives(ANY, 401, 415, 422, 429))
    async def sign_in(body: SignIn, request: Request) -> Response:
        """Sign in; wrong passwords are counted by address."""
        address = address_of(request.scope)
        try:
            async with authority.limits.guess(address, WRONG):
                signed = await accounts.sign_in(body.name, body.password)
        except GrandstandError as error:
            if error.code == WRONG:
                await trail.note(
                    body.name, address, "POST /api/auth/login", None, error.http_status, error.code
                )
            raise
        await trail.note(signed.user.name, address, "POST /api/auth/login", None, 200)
        return answer(_signed(signed))

    @router.post("/auth/logout", **gives(None, 400, 401, status=204))
    async def sign_out(grant: Grant = anybody) -> Response:
        """Take back the token that was sent."""
        await accounts.sign_out(grant)
        return Response(status_code=204)

    @router.post("/auth/password", **gives(ANY, 400, 401, 415, 422, 429))
    async def change_password(
        body: NewPassword, request: Request, grant: Grant = anybody
    ) -> Response:
        """Change one's own password; everything signed in before ends, a new token is given."""
        async with authority.limits.guess(address_of(request.scope), WRONG):
            signed = await accounts.change_password(grant, body.password, body.new_password)
        return answer(_signed(signed))

    # Users.

    @router.get("/auth/users", **gives(listing("users", ANY), 401, 403))
    async def list_users(grant: Grant = admin) -> Response:
        """Everybody with an account, by name."""
        rows = [_user(user) for user in await accounts.users()]
        return answer({"users": rows, "total": len(rows), "next_cursor": None})

    @router.post("/auth/users", **gives(ANY, 401, 403, 409, 415, 422, 429, status=201))
    async def add_user(body: NewUser, grant: Grant = admin) -> Response:
        """Make an account."""
        return answer(_user(await accounts.add_user(body.name, body.password, body.scopes)), 201)

    @router.patch("/auth/users/{user_id}", **gives(ANY, 401, 403, 404, 409, 415, 422, 429))
    async def change_user(user_id: str, body: UserChange, grant: Grant = admin) -> Response:
        """Change an account; a new password, or disabling it, ends what is signed in with it."""
        return answer(_user(await accounts.change_user(user_id, **body.model_dump())))

    @router.delete("/auth/users/{user_id}", **gives(None, 401, 403, 404, 409, status=204))
    async def remove_user(user_id: str, grant: Grant = admin) -> Response:
        """Remove an account with its API keys."""
        await accounts.remove_user(user_id)
        return Response(status_code=204)

    # API keys and tokens.

    @router.get("/auth/keys", **gives(listing("keys", ANY), 401, 403))
    async def list_keys(grant: Grant = watch) -> Response:
        """One's own API keys, newest first; for an admin, everybody's."""
        rows = [_key(key) for key in await accounts.keys(grant)]
        return answer({"keys": rows, "total": len(rows), "next_cursor": None})

    @router.post("/auth/keys", **gives(ANY, 401, 403, 415, 422, status=201))
    async def add_key(body: NewKey, grant: Grant = noted) -> Response:
        """Make an API key that may do no more than oneself; its text is told this once."""
        key, text = await accounts.add_key(
            grant,
            body.name,
            body.scopes,
            session_id=body.session_id,
            expires_at=body.expires_at,
        )
        return answer({**_key(key), "key": text}, 201)

    @router.delete("/auth/keys/{key_id}", **gives(ANY, 401, 403, 404))
    async def revoke_key(key_id: str, grant: Grant = noted) -> Response:
        """Take an API key back, for good."""
        return answer(_key(await accounts.revoke_key(grant, key_id)))

    @router.post("/auth/tokens", **gives(ANY, 401, 403, 415, 422, status=201))
    async def add_token(body: NewToken, grant: Grant = admin) -> Response:
        """Make an access token without an account."""
        token, token_id, expires_at = accounts.mint(
            body.name, body.scopes, session_id=body.session_id, hours=body.hours
        )
        return answer({"token": token, "token_id": token_id, "expires_at": expires_at}, 201)

    @router.delete("/auth/tokens/{token_id}", **gives(None, 401, 403, 422, status=204))
    async def revoke_token(token_id: str, grant: Grant = admin) -> Response:
        """Take an access token back."""
        await accounts.revoke_token_id(token_id)
        return Response(status_code=204)

    @router.get("/audit", **gives(listing("entries", ANY), 401, 403, 422))
    async def get_audit(
        grant: Grant = admin,
        target: Annotated[
            str | None, Query(max_length=200, description="A session, room, user or key.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cursor: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    ) -> Response:
        """Who asked for what that needs operate or admin, newest first, and what came of it."""
        rows = await house.database.read(
            lambda c: audit.read(c, before=cursor, limit=limit + 1, target=target)
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return answer(
            {
                "entries": [_entry(row) for row in rows],
                "total": len(rows),
                "next_cursor": str(rows[-1].id) if more else None,
            }
        )

    return router


def _signed(signed: SignedIn) -> dict[str, Any]:
    return {
        "token": signed.token,
        "token_type": "bearer",
        "expires_at": signed.expires_at,
        "user": _user(signed.user),
    }


def _user(user: User) -> dict[str, Any]:
    return {
        "user_id": user.id,
        "name": user.name,
        "scopes": list(user.scopes),
        "disabled": user.disabled,
        "created_at": user.created_at,
    }


def _key(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.id,
        "name": key.name,
        "user_id": key.user_id,
        "scopes": list(key.scopes),
        "session_id": key.session_id,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


def _entry(row: audit.Entry) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": row.at,
        "subject": row.subject,
        "address": row.address,
        "action": row.action,
        "target": row.target,
        "status": row.status,
        "error": row.error,
    }
