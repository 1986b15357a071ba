"""Every route and socket, with every kind of credential: exactly the documented answer.

The table below is what docs/security.md promises. A route that is not in it fails the test.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import socketio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from grandstand.clock import ManualClock
from grandstand.service.grants import Scope

SECRET = "s" * 48
S = "/api/training/sessions"
OPEN, ANY, WATCH, REPORT, OPERATE, ADMIN = "open", "any", "watch", "report", "operate", "admin"
SUPERVISE, METRICS = "supervise", "metrics"
SCOPES: dict[str, str] = {
    "GET /health": OPEN,
    "GET /status": WATCH,
    "GET /metrics": METRICS,
    "GET /api/auth": OPEN,
    "GET /api/auth/me": ANY,
    "POST /api/auth/login": OPEN,
    "POST /api/auth/logout": ANY,
    "POST /api/auth/password": ANY,
    "GET /api/auth/users": ADMIN,
    "POST /api/auth/users": ADMIN,
    "PATCH /api/auth/users/{user_id}": ADMIN,
    "DELETE /api/auth/users/{user_id}": ADMIN,
    "GET /api/auth/keys": WATCH,
    "POST /api/auth/keys": WATCH,
    "DELETE /api/auth/keys/{key_id}": WATCH,
    "POST /api/auth/tokens": ADMIN,
    "DELETE /api/auth/tokens/{token_id}": ADMIN,
    "GET /api/audit": ADMIN,
    f"POST {S}": REPORT,
    f"GET {S}": WATCH,
    f"GET {S}/{{session_id}}": WATCH,
    f"PUT {S}/{{session_id}}": REPORT,
    f"PATCH {S}/{{session_id}}": OPERATE,
    f"DELETE {S}/{{session_id}}": OPERATE,
    f"POST {S}/bulk": OPERATE,
    f"POST {S}/sizes": WATCH,
    f"POST {S}/{{session_id}}/pause": OPERATE,
    f"POST {S}/{{session_id}}/resume": OPERATE,
    f"POST {S}/{{session_id}}/stop": OPERATE,
    f"POST {S}/{{session_id}}/checkpoint": OPERATE,
    f"GET {S}/{{session_id}}/checkpoints": WATCH,
    f"GET {S}/{{session_id}}/checkpoints/{{episode}}": WATCH,
    f"DELETE {S}/{{session_id}}/checkpoints/{{episode}}": OPERATE,
    f"PUT {S}/{{session_id}}/checkpoints/{{episode}}": REPORT,
    f"PUT {S}/{{session_id}}/model": REPORT,
    f"GET {S}/{{session_id}}/order": REPORT,
    f"GET {S}/{{session_id}}/order/checkpoint": REPORT,
    f"POST {S}/{{session_id}}/heartbeat": REPORT,
    f"POST {S}/{{session_id}}/finish": REPORT,
    f"POST {S}/{{session_id}}/metrics": REPORT,
    f"POST {S}/{{session_id}}/bot_decision": REPORT,
    f"POST {S}/{{session_id}}/graph_update": REPORT,
    f"POST {S}/{{session_id}}/records": REPORT,
    f"PUT {S}/{{session_id}}/frame": REPORT,
    f"GET {S}/{{session_id}}/frame": WATCH,
    f"GET {S}/{{session_id}}/history": WATCH,
    f"GET {S}/{{session_id}}/episodes": WATCH,
    f"GET {S}/{{session_id}}/series": WATCH,
    f"GET {S}/{{session_id}}/export": WATCH,
    f"GET {S}/{{session_id}}/media/{{seq}}": WATCH,
    f"POST {S}/{{session_id}}/room": OPERATE,
    f"GET {S}/{{session_id}}/room": WATCH,
    "GET /api/rooms": OPEN,
    "GET /api/rooms/{code}": OPEN,
    "PATCH /api/rooms/{code}": OPERATE,
    "DELETE /api/rooms/{code}": OPERATE,
    "POST /api/rooms/{code}/join": OPEN,
    "POST /api/rooms/{code}/renew": ANY,
    "POST /api/rooms/{code}/leave": ANY,
    "GET /api/rooms/{code}/seats": WATCH,
    "DELETE /api/rooms/{code}/seats/{seat_id}": OPERATE,
    "POST /api/rooms/{code}/invitations": OPERATE,
    "POST /api/training/start": OPERATE,
    "POST /api/training/stop": OPERATE,
    "GET /api/training/status": WATCH,
    "GET /api/training/queue": WATCH,
    "PATCH /api/training/queue/{session_id}": OPERATE,
    "DELETE /api/training/queue/{session_id}": OPERATE,
    "GET /api/supervisors": WATCH,
    "PATCH /api/supervisors/{name}": OPERATE,
    "DELETE /api/supervisors/{name}": SUPERVISE,
    "POST /api/supervisors/{name}/take": SUPERVISE,
    "GET /api/supervisors/{name}/jobs": SUPERVISE,
    "POST /api/supervisors/{name}/jobs/{job_id}/launched": SUPERVISE,
    "POST /api/supervisors/{name}/jobs/{job_id}/gone": SUPERVISE,
    "GET /api/models": WATCH,
    "POST /api/models/compare": WATCH,
    "GET /api/models/{name}": WATCH,
    "GET /api/models/{name}/download": WATCH,
    "DELETE /api/models/{name}": OPERATE,
    "POST /api/models/{name}/act": WATCH,
    "POST /api/models/{name}/evaluate": OPERATE,
    "GET /api/evaluations": WATCH,
    "GET /api/evaluations/{evaluation_id}": WATCH,
    "GET /api/evaluations/{evaluation_id}/order": REPORT,
    "PUT /api/evaluations/{evaluation_id}": REPORT,
    "GET /api/scenarios": WATCH,
    "POST /api/scenarios": OPERATE,
    "POST /api/scenarios/validate": WATCH,
    "GET /api/scenarios/template": WATCH,
    "GET /api/scenarios/{name}": WATCH,
    "PUT /api/scenarios/{name}": OPERATE,
    "DELETE /api/scenarios/{name}": OPERATE,
}
FILLED = {
    "session_id": "run",
    "episode": "1",
    "job_id": "1",
    "seq": "1",
    "user_id": "nobody",
    "key_id": "none",
    "token_id": "0" * 32,
    "name": "nothing",
    "code": "CCCCCC",
    "seat_id": "none",
    "evaluation_id": "none",
}
REPORTS = ("metrics", "bot_decision", "graph_update", "records")


@dataclass
class Ring:
    """A server with authentication, and one credential of every kind."""

    house: Any
    clock: ManualClock

    def token(self, *scopes: Scope, session_id: str | None = None) -> str:
        token, _, _ = self.house.assembly.access.mint(
            "tester", timedelta(hours=1), scopes=scopes, session_id=session_id
        )
        return str(token)

    def right(self, scope: str) -> str:
        return self.token(Scope(scope) if scope != ANY else Scope.WATCH)

    def wrong(self, scope: str) -> str:
        """Everything that does not imply it."""
        return self.token(*(s for s in Scope if s.value != scope and s is not Scope.ADMIN))

    def expired(self, scope: str) -> str:
        token, _, _ = self.house.assembly.access.mint(
            "tester", timedelta(hours=-1), scopes=[Scope(scope) if scope != ANY else Scope.WATCH]
        )
        return str(token)

    async def revoked(self, scope: str) -> str:
        access = self.house.assembly.access
        token, token_id, expires_at = access.mint(
            "tester", timedelta(hours=1), scopes=[Scope(scope) if scope != ANY else Scope.WATCH]
        )
        await self.house.assembly.accounts.revoke_token(token_id, expires_at.timestamp())
        return str(token)


@pytest.fixture
async def ring(make_house: Any) -> Ring:
    house = await make_house(
        serving=True, security__enable_auth=True, security__jwt_secret_key=SECRET
    )
    ring = Ring(house, house.assembly.clock)
    headers = {"Authorization": f"Bearer {ring.token(*Scope)}"}
    for session_id in ("run", "other"):
        body = {"training_session_id": session_id, "algorithm": "DQN"}
        await house.ok("POST", S, 201, json=body, headers=headers)
    return ring


def routes(document: Any) -> dict[str, str]:
    """Every route, and what it asks for."""
    found = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            security = operation.get("security")
            scopes = security[0]["token"] if security else [OPEN]
            found[f"{method.upper()} {path}"] = scopes[0] if scopes else ANY
    return found


async def test_the_description_names_the_scope_of_every_route(ring: Ring) -> None:
    told = routes(await ring.house.ok("GET", "/openapi.json"))
    assert told == SCOPES


async def ask(ring: Ring, route: str, token: str | None, origin: bool = False) -> tuple[int, str]:
    method, _, path = route.partition(" ")
    for name, value in FILLED.items():
        path = path.replace("{" + name + "}", value)
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    if origin:  # a report of a browser does not go the short way
        headers["Origin"] = "http://localhost"
    more = {} if method in ("GET", "DELETE") else {"json": {}}
    answer = await ring.house.http.request(method, path, headers=headers, **more)
    error = "" if answer.status_code < 400 else answer.json().get("error", "")
    return answer.status_code, error


@pytest.mark.parametrize("route", SCOPES)
async def test_a_route(ring: Ring, route: str) -> None:
    scope = SCOPES[route]
    short_too = route.rsplit("/", 1)[-1] in REPORTS
    for origin in (False, True) if short_too else (False,):
        if scope == OPEN:
            assert (await ask(ring, route, None, origin))[0] not in (401, 403)
            continue
        assert await ask(ring, route, None, origin) == (401, "unauthenticated")
        assert await ask(ring, route, "nonsense", origin) == (401, "token_invalid")
        assert await ask(ring, route, "gsk_no_such", origin) == (401, "token_invalid")
        assert await ask(ring, route, ring.expired(scope), origin) == (401, "token_expired")
        assert await ask(ring, route, await ring.revoked(scope), origin) == (401, "token_revoked")
        if scope != ANY:
            assert await ask(ring, route, ring.wrong(scope), origin) == (403, "missing_scope")
            other = ring.token(Scope(scope), session_id="other")
            assert await ask(ring, route, other, origin) == (403, "other_session")
            mine = ring.token(Scope(scope), session_id="run")
            status, error = await ask(ring, route, mine, origin)
            if "{session_id}" in route:
                assert status not in (401, 403), error
                await reopen(ring)
            else:
                assert (status, error) == (403, "other_session")
        status, error = await ask(ring, route, ring.right(scope), origin)
        # The holder of a room's token alone may renew it or leave.
        assert status not in (401, 403) or error == "other_room", error
        await reopen(ring)


async def reopen(ring: Ring) -> None:
    """The session that was perhaps deleted or ended."""
    headers = {"Authorization": f"Bearer {ring.token(*Scope)}"}
    body = {"training_session_id": "run", "algorithm": "DQN", "resume": True}
    await ring.house.http.post(S, json=body, headers=headers)


WAYS = ("header", "subprotocol", "query", "message")


async def socket_answer(ring: Ring, path: str, token: str | None, way: str) -> int:
    """The code a socket is closed with; 1000 when it was let in."""
    url = ring.house.url.replace("http", "ws", 1) + path
    more: dict[str, Any] = {}
    if token is not None and way == "header":
        more["additional_headers"] = {"Authorization": f"Bearer {token}"}
    if token is not None and way == "subprotocol":
        more["subprotocols"] = ["grandstand", f"token.{token}"]
    if token is not None and way == "query":
        url += f"?token={token}"
    async with connect(url, compression=None, **more) as socket:
        try:
            if way == "message":
                said = {"type": "authorize", "token": token} if token else {"type": "ping"}
                await socket.send(json.dumps(said))
            elif token is None:
                await socket.send('{"type": "ping"}')
            if path.endswith("/ingest"):
                await socket.send('{"type": "training_metrics", "data": {"episode": 1}}')
            async with asyncio.timeout(15):
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code or 0
    return 1000


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("path", "scope"), [("/ws/run", WATCH), ("/ws/run/ingest", REPORT)])
async def test_a_socket(ring: Ring, path: str, scope: str, way: str) -> None:
    async def answer(token: str | None) -> int:
        return await socket_answer(ring, path, token, way)

    assert await answer(None) == 4401
    assert await answer("nonsense") == 4401
    assert await answer(ring.expired(scope)) == 4401
    assert await answer(await ring.revoked(scope)) == 4401
    assert await answer(ring.wrong(scope)) == 4403
    assert await answer(ring.token(Scope(scope), session_id="other")) == 4403
    assert await answer(ring.token(Scope(scope), session_id="run")) == 1000
    assert await answer(ring.right(scope)) == 1000


async def refusal(ring: Ring, auth: Any) -> str | None:
    """The code that Socket.IO refuses a connection with; None when it lets it in."""
    client = socketio.AsyncClient(reconnection=False)
    told: list[Any] = []
    client.on("connect_error", told.append)
    try:
        await client.connect(ring.house.url, auth=auth, transports=["websocket"])
    except socketio.exceptions.ConnectionError:
        return str(told[0]["data"]) if told and isinstance(told[0], dict) else str(told)
    await client.disconnect()
    return None


async def test_socketio(ring: Ring) -> None:
    assert await refusal(ring, None) == "unauthenticated"
    assert await refusal(ring, {"token": "nonsense"}) == "token_invalid"
    assert await refusal(ring, {"token": ring.expired(WATCH)}) == "token_expired"
    assert await refusal(ring, {"token": await ring.revoked(WATCH)}) == "token_revoked"
    assert await refusal(ring, {"token": ring.wrong(WATCH)}) == "missing_scope"
    assert await refusal(ring, {"token": ring.right(WATCH)}) is None


@pytest.mark.parametrize(
    ("bound", "wish", "told"),
    [
        ("run", {"session_id": "run"}, {"subscribed": {"session_id": "run"}}),
        ("run", {"session_id": "other"}, "other_session"),
        ("run", None, {"subscribed": {"session_id": "run"}}),
        ("run", {"scenario_name": "balanced"}, {"subscribed": {"session_id": "run"}}),
        (None, {"session_id": "other"}, {"subscribed": {"session_id": "other"}}),
        (None, {"session_id": "nothing"}, "session_not_found"),
        (None, None, {"subscribed": "all"}),
    ],
)
async def test_a_subscription(ring: Ring, bound: str | None, wish: Any, told: Any) -> None:
    client = socketio.AsyncClient(reconnection=False)
    token = ring.token(Scope.WATCH, session_id=bound)
    await client.connect(ring.house.url, auth={"token": token}, transports=["websocket"])
    try:
        answer = await client.call("subscribe_training", wish, timeout=15)
    finally:
        await client.disconnect()
    if isinstance(told, str):
        assert answer["subscribed"] is None
        assert answer["error"] == told
    else:
        assert answer == told
