"""Signing in, users, keys and the audit log over HTTP; what happens to sockets that were let in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from grandstand.service.grants import Scope

SECRET = "s" * 48
S = "/api/training/sessions"
PASSWORD = "correct horse"
Headers = dict[str, str]


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def house(make_house: Any) -> Any:
    house = await make_house(
        serving=True, security__enable_auth=True, security__jwt_secret_key=SECRET
    )
    await house.assembly.accounts.add_user("root", PASSWORD, ["admin"])
    return house


@pytest.fixture
async def root(house: Any) -> Headers:
    return await sign_in(house, "root")


async def sign_in(house: Any, name: str, password: str = PASSWORD) -> Headers:
    told = await house.ok("POST", "/api/auth/login", json={"name": name, "password": password})
    return bearer(told["token"])


async def test_from_the_first_admin_to_a_trainer_with_a_key(house: Any, root: Headers) -> None:
    assert await house.ok("GET", "/api/auth") == {"enabled": True, "first_admin_needed": False}
    body = {"name": "ann", "password": "ann's password", "scopes": ["report", "watch"]}
    await house.ok("POST", "/api/auth/users", 201, json=body, headers=root)
    ann = await sign_in(house, "Ann", "ann's password")
    me = await house.ok("GET", "/api/auth/me", headers=ann)
    assert (me["subject"], me["scopes"]) == ("ann", ["report", "watch"])
    made = await house.ok("POST", "/api/auth/keys", 201, json={"name": "cluster"}, headers=ann)
    assert made["key"].startswith("gsk_")
    key = bearer(made["key"])
    session = {"training_session_id": "run", "algorithm": "DQN"}
    await house.ok("POST", S, 201, json=session, headers=key)
    await house.ok("POST", f"{S}/run/metrics", json={"episode": 1}, headers=key)
    listed = await house.ok("GET", "/api/auth/keys", headers=ann)
    assert [(k["name"], "key" in k) for k in listed["keys"]] == [("cluster", False)]
    await house.ok("DELETE", f"/api/auth/keys/{made['key_id']}", headers=ann)
    answer = await house.http.post(f"{S}/run/metrics", json={"episode": 2}, headers=key)
    assert answer.status_code == 401
    await house.ok("POST", "/api/auth/logout", 204, headers=ann)
    assert (await house.http.get(S, headers=ann)).json()["error"] == "token_revoked"


async def test_one_s_own_password(house: Any, root: Headers) -> None:
    body = {"password": "wrong", "new_password": "a new password"}
    answer = await house.http.post("/api/auth/password", json=body, headers=root)
    assert (answer.status_code, answer.json()["error"]) == (401, "wrong_password")
    body["password"] = PASSWORD
    told = await house.ok("POST", "/api/auth/password", json=body, headers=root)
    assert (await house.http.get(S, headers=root)).status_code == 401
    await house.ok("GET", S, headers=bearer(told["token"]))
    await sign_in(house, "root", "a new password")


async def test_users_are_changed_and_removed(house: Any, root: Headers) -> None:
    body = {"name": "ann", "password": "ann's password"}
    ann = await house.ok("POST", "/api/auth/users", 201, json=body, headers=root)
    assert ann["scopes"] == ["watch"]
    assert "password" not in str(ann)
    path = f"/api/auth/users/{ann['user_id']}"
    changed = await house.ok("PATCH", path, json={"scopes": ["operate"]}, headers=root)
    assert changed["scopes"] == ["operate", "watch"]
    names = [u["name"] for u in (await house.ok("GET", "/api/auth/users", headers=root))["users"]]
    assert names == ["ann", "root"]
    await house.ok("DELETE", path, 204, headers=root)
    await house.ok("DELETE", path, 404, headers=root)


async def test_a_minted_token_can_be_taken_back(house: Any, root: Headers) -> None:
    body = {"name": "wall", "session_id": "run", "hours": 1}
    made = await house.ok("POST", "/api/auth/tokens", 201, json=body, headers=root)
    me = await house.ok("GET", "/api/auth/me", headers=bearer(made["token"]))
    assert (me["subject"], me["session_id"], me["scopes"]) == ("token:wall", "run", ["watch"])
    await house.ok("DELETE", f"/api/auth/tokens/{made['token_id']}", 204, headers=root)
    await house.ok("GET", "/api/auth/me", 401, headers=bearer(made["token"]))


async def test_what_people_do_is_written_down(house: Any, root: Headers) -> None:
    session = {"training_session_id": "run", "algorithm": "DQN"}
    await house.ok("POST", S, 201, json=session, headers=root)
    await house.ok("POST", f"{S}/run/checkpoint", 409, headers=root)
    watcher = bearer(house.assembly.access.mint("w", timedelta(1), scopes=[Scope.WATCH])[0])
    await house.ok("DELETE", f"{S}/run", 403, headers=watcher)
    await house.ok("DELETE", f"{S}/run", 204, headers=root)
    await house.ok("DELETE", f"{S}/run", 401)
    key = await house.ok("POST", "/api/auth/keys", 201, json={"name": "k"}, headers=root)
    await house.ok("DELETE", f"/api/auth/keys/{key['key_id']}", headers=root)
    told = await house.ok("GET", "/api/audit", headers=root)
    parts = ("subject", "action", "target", "status", "error")
    lines = [tuple(entry[part] for part in parts) for entry in told["entries"]]
    assert lines == [
        ("root", "DELETE /api/auth/keys/{key_id}", key["key_id"], 200, None),
        ("root", "POST /api/auth/keys", None, 201, None),
        ("root", "DELETE /api/training/sessions/{session_id}", "run", 204, None),
        ("w", "DELETE /api/training/sessions/{session_id}", "run", 403, "missing_scope"),
        (
            "root",
            "POST /api/training/sessions/{session_id}/checkpoint",
            "run",
            409,
            "external_session",
        ),
        ("root", "POST /api/auth/login", None, 200, None),
    ]
    page = await house.ok("GET", "/api/audit?limit=1", headers=root)
    rest = await house.ok("GET", f"/api/audit?cursor={page['next_cursor']}", headers=root)
    assert page["entries"] + rest["entries"] == told["entries"]
    of_run = await house.ok("GET", "/api/audit?target=run", headers=root)
    assert len(of_run["entries"]) == 3


async def guess(http: httpx.AsyncClient, password: str) -> int:
    body = {"name": "root", "password": password}
    return (await http.post("/api/auth/login", json=body)).status_code


def coming_from(house: Any, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=house.app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def test_guessing_is_slowed_for_the_guesser_alone(house: Any) -> None:
    async with coming_from(house, "203.0.113.7") as guesser:
        codes = [await guess(guesser, f"guess {n}") for n in range(12)]
        assert codes == [401] * 5 + [429] * 7
        body = {"name": "root", "password": PASSWORD}
        answer = await guesser.post("/api/auth/login", json=body)
        assert answer.status_code == 429  # the right one too: it would tell
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert answer.json()["error"] == "rate_limited"
    async with coming_from(house, "203.0.113.8") as other:
        assert await guess(other, PASSWORD) == 200


async def test_guesses_at_once_do_not_slip_past_the_count(house: Any) -> None:
    async with coming_from(house, "203.0.113.7") as guesser:
        codes = await asyncio.gather(*(guess(guesser, f"guess {n}") for n in range(30)))
    assert codes.count(401) <= 5
    assert set(codes) == {401, 429}


async def test_an_ipv6_network_is_one_guesser(house: Any) -> None:
    codes = []
    for n in range(8):
        async with coming_from(house, f"2001:db8:1:2::{n}") as guesser:
            codes.append(await guess(guesser, "guess"))
    assert codes == [401] * 5 + [429] * 3
    async with coming_from(house, "2001:db8:1:3::1") as other:
        assert await guess(other, PASSWORD) == 200


async def test_right_passwords_are_not_counted(house: Any) -> None:
    for _ in range(8):
        await sign_in(house, "root")


@asynccontextmanager
async def socket(house: Any, path: str, token: str) -> AsyncIterator[ClientConnection]:
    url = house.url.replace("http", "ws", 1) + path
    async with connect(url, compression=None, additional_headers=bearer(token)) as opened:
        yield opened


async def close_code(opened: ClientConnection) -> int:
    async with asyncio.timeout(15):
        try:
            while True:
                await opened.recv()
        except ConnectionClosed:
            return opened.close_code or 0


@pytest.mark.parametrize("path", ["/ws/run", "/ws/run/ingest"])
async def test_a_socket_closes_when_its_key_is_revoked(
    house: Any, root: Headers, path: str
) -> None:
    session = {"training_session_id": "run", "algorithm": "DQN"}
    await house.ok("POST", S, 201, json=session, headers=root)
    made = await house.ok("POST", "/api/auth/keys", 201, json={"name": "k"}, headers=root)
    async with socket(house, path, made["key"]) as opened:
        if path == "/ws/run":
            await opened.recv()
        else:
            await opened.send('{"type": "training_metrics", "data": {"episode": 1}}')
            await opened.recv()
        await house.ok("DELETE", f"/api/auth/keys/{made['key_id']}", headers=root)
        assert await close_code(opened) == 4403


async def test_a_socket_closes_when_its_user_loses_the_right_and_at_nothing_less(
    house: Any, root: Headers
) -> None:
    session = {"training_session_id": "run", "algorithm": "DQN"}
    await house.ok("POST", S, 201, json=session, headers=root)
    body = {"name": "ann", "password": PASSWORD, "scopes": ["operate", "report"]}
    ann = await house.ok("POST", "/api/auth/users", 201, json=body, headers=root)
    path = f"/api/auth/users/{ann['user_id']}"
    token = (await sign_in(house, "ann"))["Authorization"].removeprefix("Bearer ")
    async with socket(house, "/ws/run", token) as opened:
        await opened.recv()
        await house.ok("PATCH", path, json={"scopes": ["watch"]}, headers=root)
        await opened.send('{"type": "ping", "id": 1}')
        await until(opened, '"pong"')
        await house.ok("PATCH", path, json={"scopes": ["report"]}, headers=root)
        assert await close_code(opened) == 4403


async def test_a_socket_closes_when_its_token_expires_unless_it_brings_another(
    make_house: Any,
) -> None:
    from grandstand.clock import ManualClock

    clock = ManualClock()
    house = await make_house(
        serving=True, clock=clock, security__enable_auth=True, security__jwt_secret_key=SECRET
    )
    access = house.assembly.access

    def token(seconds: float, session_id: str = "run") -> str:
        scopes = [Scope.WATCH, Scope.REPORT]
        made = access.mint("w", timedelta(seconds=seconds), scopes=scopes, session_id=session_id)
        return str(made[0])

    everything = bearer(access.mint("root", timedelta(1), scopes=list(Scope))[0])
    session = {"training_session_id": "run", "algorithm": "DQN"}
    await house.ok("POST", S, 201, json=session, headers=everything)
    async with (
        socket(house, "/ws/run", token(60)) as stays,
        socket(house, "/ws/run", token(60)) as goes,
    ):
        await stays.recv()
        await goes.recv()
        await stays.send(authorize(token(60, "other")))
        assert "other_session" in await until(stays, '"error"')
        await stays.send(authorize(token(3600)))
        assert "expires_at" in await until(stays, '"authorized"')
        await clock.advance(75)  # over the leeway
        assert await close_code(goes) == 4401
        await stays.send('{"type": "ping", "id": 1}')
        await until(stays, '"pong"')


def authorize(token: str) -> str:
    return json.dumps({"type": "authorize", "token": token})


async def until(opened: ClientConnection, part: str) -> str:
    """The next message that holds `part`."""
    async with asyncio.timeout(15):
        while part not in (text := str(await opened.recv())):
            pass
    return text


async def test_requests_are_limited_where_asked_for(make_house: Any) -> None:
    house = await make_house(
        performance__enable_rate_limiting=True,
        limits__requests="5/minute",
        limits__ingest_kib="3/minute",
    )
    await house.open_session("run")
    codes = [(await house.http.get(S)).status_code for _ in range(6)]
    assert codes == [200] * 4 + [429] * 2  # opening the session was one
    async with coming_from(house, "203.0.113.7") as other:
        body = {"episode": 1, "extra": {f"m{n}": n for n in range(200)}}
        answers = [await other.post(f"{S}/run/metrics", json=body) for _ in range(4)]
        assert [a.status_code for a in answers][-1] == 429
        assert answers[-1].json()["details"]["limit"] == "ingest_kib"
    for _ in range(10):
        assert (await house.http.get("/health")).status_code == 200


async def test_connections_are_limited_where_asked_for(make_house: Any) -> None:
    house = await make_house(
        serving=True, performance__enable_rate_limiting=True, limits__connections="2/minute"
    )
    await house.open_session("run")
    url = house.url.replace("http", "ws", 1) + "/ws/run"
    codes = []
    for _ in range(3):
        async with connect(url, compression=None) as opened:
            try:
                await opened.recv()
                codes.append(1000)
            except ConnectionClosed:
                codes.append(opened.close_code or 0)
    assert codes == [1000, 1000, 4429]


async def test_a_reporter_s_socket_is_metered_too(make_house: Any) -> None:
    house = await make_house(
        serving=True, performance__enable_rate_limiting=True, limits__ingest_kib="2/minute"
    )
    await house.open_session("run")
    url = house.url.replace("http", "ws", 1) + "/ws/run/ingest"
    frame = '{"type": "training_metrics", "data": {"episode": 1, "extra": {"x": %s}}}' % ("1" * 200)
    async with connect(url, compression=None) as opened:
        for _ in range(30):
            await opened.send(frame)
        assert await close_code(opened) == 4429


async def test_answers_say_what_a_browser_may_make_of_them(house: Any) -> None:
    for path in ("/health", "/api/auth", "/docs", "/nothing/at/all", "/api/nothing"):
        headers = (await house.http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "unsafe-inline" not in headers["content-security-policy"]


async def test_a_head_without_end_is_cut(house: Any) -> None:
    host, _, port = house.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
    got = b""
    async with asyncio.timeout(15):
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(200):
                writer.write(b"X-Filler: " + b"x" * 2000 + b"\r\n")
                await writer.drain()
            got = await reader.read()
            raise ConnectionError
    writer.close()
    assert b"200" not in got


async def test_a_large_body_is_no_head(house: Any, root: Headers) -> None:
    session = {"training_session_id": "run", "algorithm": "DQN"}
    await house.ok("POST", S, 201, json=session, headers=root)
    records = [
        {"type": "training_metrics", "data": {"episode": n, "extra": {"x" * 200: n}}}
        for n in range(1, 2001)
    ]
    async with httpx.AsyncClient(base_url=house.url) as client:
        for n in range(3):
            body = {"batch_id": str(n), "records": records}
            answer = await client.post(f"{S}/run/records", json=body, headers=root)
            assert answer.status_code == 200, answer.text
