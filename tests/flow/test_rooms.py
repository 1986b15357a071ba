"""Rooms, from opening one to its end, through every door; and what must not show through any."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import socketio
from websockets.asyncio.client import connect

from grandstand.clock import ManualClock

from .conftest import SESSIONS, House, MakeHouse, Spectator, until
from .test_socketio_events import Training, listen

__all__ = ["listen"]

SECRET = "s" * 48
ROOMS = "/api/rooms"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def open_room(house: House, session_id: str = "run", **more: Any) -> Any:
    return await house.ok("POST", f"{SESSIONS}/{session_id}/room", 201, json=more)


async def join(house: House, code: str, name: str, status: int = 200, **more: Any) -> Any:
    body = {"user_name": name, **more}
    headers = body.pop("headers", {})
    return await house.ok("POST", f"{ROOMS}/{code}/join", status, json=body, headers=headers)


def watching(house: House, session_id: str, token: str | None = None) -> Any:
    headers = bearer(token) if token else {}
    address = house.url.replace("http", "ws", 1) + f"/ws/{session_id}"
    return connect(address, compression=None, additional_headers=headers)


async def test_a_room_from_opening_to_closing(serving: House) -> None:
    await serving.open_session()
    opened = await open_room(serving, access="password", max_spectators=2, name="The show")
    room, host = opened["room"], bearer(opened["host_token"])
    code, password = room["room_code"], opened["room_password"]
    assert room["access"] == "password"
    assert room["session_id"] == "run"
    assert opened["join_url"].endswith(f"/join/{code}")
    assert password not in opened["join_url"]

    spoken = f"{code[:3].lower()}-{code[3:]}"
    seen = await serving.ok("GET", f"{ROOMS}/{spoken}")
    assert (seen["name"], seen["access"], seen["seats_taken"]) == ("The show", "password", 0)
    assert seen["session_id"] is seen["session_name"] is seen["created_by"] is None
    assert (await join(serving, code, "ann", 401))["error"] == "password_needed"
    wrong = await join(serving, code, "ann", 401, password="not that one")
    assert wrong["error"] == "wrong_password"
    ann = await join(serving, code, "Ann", password=password)
    bo = await join(serving, code, "Bo", password=password)
    assert ann["room"]["session_id"] == "run"
    assert ann["renew_after_seconds"] == 450
    full = await serving.http.post(
        f"{ROOMS}/{code}/join", json={"user_name": "Cy", "password": password}
    )
    assert (full.status_code, full.json()["error"]) == (429, "room_full")
    assert int(full.headers["Retry-After"]) > 0

    async with (
        watching(serving, "run", ann["token"]) as first,
        watching(serving, "run", ann["token"]) as second,
        watching(serving, "run", bo["token"]) as third,
    ):
        told = await Spectator(first).until(lambda m: m["data"].get("spectators") == ["Ann", "Bo"])
        assert told["data"]["spectator_count"] == 2  # two sockets of one seat count once
        seats = await serving.ok("GET", f"{ROOMS}/{code}/seats", headers=host)
        assert [(s["name"], s["watching"]) for s in seats["seats"]] == [("Ann", True), ("Bo", True)]
        await serving.log("run", 1)
        assert (await Spectator(third).until(lambda m: m["type"] == "training_metrics"))["seq"]

        removed = f"{ROOMS}/{code}/seats/{bo['seat_id']}"
        await serving.ok("DELETE", removed, 204, headers=host)
        assert (await Spectator(third).closed())[0] == 4403
        again = await join(serving, code, "bo", 403, password=password)
        assert again["error"] == "removed_from_room"
        refused = await serving.ok("GET", f"{SESSIONS}/run", 403, headers=bearer(bo["token"]))
        assert refused["error"] == "seat_lost"

        await serving.ok("DELETE", f"{ROOMS}/{code}", 204, headers=host)
        for socket in (first, second):
            assert (await Spectator(socket).closed())[0] == 4410
    gone = await serving.ok("GET", f"{SESSIONS}/run", 410, headers=bearer(ann["token"]))
    assert gone["error"] == "room_closed"
    session = await serving.ok("GET", f"{SESSIONS}/run")
    assert session["room_code"] is None
    closed, unknown = [await serving.http.get(f"{ROOMS}/{c}") for c in (code, code[::-1])]
    assert closed.status_code == unknown.status_code == 404
    assert closed.json()["error"] == unknown.json()["error"] == "room_not_found"


async def test_a_watcher_stays_by_a_renewed_token(make_house: MakeHouse) -> None:
    clock = ManualClock(datetime.now(UTC).replace(microsecond=0))
    house = await make_house(serving=True, clock=clock)
    await house.open_session()
    opened = await open_room(house, access="private")
    code = opened["room"]["room_code"]
    ann = await join(house, code, "Ann", headers=bearer(opened["host_token"]))
    bo = await join(house, code, "Bo", headers=bearer(opened["host_token"]))
    async with (
        watching(house, "run", ann["token"]) as stays,
        watching(house, "run", bo["token"]) as forgets,
    ):
        await Spectator(stays).event("snapshot")
        await Spectator(forgets).event("snapshot")
        await clock.advance(14 * 60)
        path = f"{ROOMS}/{code}/renew"
        renewed = await house.ok("POST", path, headers=bearer(ann["token"]))
        assert renewed["seat_id"] == ann["seat_id"]
        await Spectator(stays).say(type="authorize", token=renewed["token"])
        told = await Spectator(stays).event("authorized")
        assert told["expires_at"] == renewed["expires_at"]
        await clock.advance(2 * 60)
        assert (await Spectator(forgets).closed())[0] == 4401
        await Spectator(stays).say(type="ping")
        assert await Spectator(stays).event("pong")
    expired = await house.ok("POST", path, 401, headers=bearer(bo["token"]))
    assert expired["error"] == "token_expired"


async def test_expiry_opens_the_session_again(make_house: MakeHouse) -> None:
    clock = ManualClock()
    house = await make_house(serving=True, clock=clock)
    await house.open_session()
    until_then = (clock.now() + timedelta(minutes=5)).isoformat()
    opened = await open_room(house, access="password", expires_at=until_then)
    code = opened["room"]["room_code"]
    ann = await join(house, code, "Ann", password=opened["room_password"])
    assert (await house.ok("GET", SESSIONS))["sessions"] == []
    async with watching(house, "run", ann["token"]) as socket:
        await Spectator(socket).event("snapshot")
        await clock.advance(299)

        async def over() -> bool:
            await clock.advance(1)
            return bool((await house.ok("GET", SESSIONS))["sessions"])

        await until(over)
        assert (await Spectator(socket).closed())[0] == 4410

    async def told() -> bool:
        await clock.advance(1)
        return (await house.ok("GET", f"{SESSIONS}/run"))["room_code"] is None

    await until(told)
    assert house.assembly.access.locked == set()


async def test_deleting_a_session_closes_its_room(serving: House) -> None:
    await serving.open_session()
    opened = await open_room(serving, access="private")
    host = bearer(opened["host_token"])
    ann = await join(serving, opened["room"]["room_code"], "Ann", headers=host)
    async with watching(serving, "run", ann["token"]) as socket:
        await Spectator(socket).event("snapshot")
        await serving.ok("DELETE", f"{SESSIONS}/run", 204, headers=host)
        assert (await Spectator(socket).closed())[0] == 4410
    await serving.open_session()
    assert (await serving.ok("GET", f"{SESSIONS}/run"))["room_code"] is None
    await serving.ok("GET", f"{SESSIONS}/run", 410, headers=bearer(ann["token"]))


# What must not show.


@pytest.fixture
async def locked(serving: House) -> tuple[House, str, str]:
    """A server without authentication whose session `run` is watched in a private room; its code
    and host token."""
    await serving.open_session("open")
    await serving.open_session(tags=["secret"], config={"lr": 0.1})
    await serving.log("run", 1, 2)
    opened = await open_room(serving, access="private")
    return serving, opened["room"]["room_code"], opened["host_token"]


WATCHED = (
    ("GET", ""),
    ("GET", "/room"),
    ("GET", "/history"),
    ("GET", "/series"),
    ("GET", "/export"),
    ("GET", "/export?format=ndjson"),
    ("GET", "/frame"),
    ("GET", "/checkpoints"),
    ("GET", "/checkpoints/1"),
    ("DELETE", "/checkpoints/1"),
    ("DELETE", ""),
    ("POST", "/pause"),
    ("POST", "/resume"),
    ("POST", "/stop"),
    ("POST", "/checkpoint"),
    ("POST", "/room"),
    ("GET", "/order"),
)


async def test_a_session_in_a_room_is_closed(locked: tuple[House, str, str]) -> None:
    house, code, host = locked
    other = await open_room(house, "open")
    stranger = await join(house, other["room"]["room_code"], "ann")
    tokens = [None, stranger["token"], other["host_token"]]
    # Anybody can make these while authentication is off.
    for more in ({}, {"session_id": "run"}):
        body = {"name": "x", "scopes": ["watch", "report", "operate"], **more}
        tokens.append((await house.ok("POST", "/api/auth/tokens", 201, json=body))["token"])
        tokens.append((await house.ok("POST", "/api/auth/keys", 201, json=body))["key"])
    for method, path in WATCHED:
        for token in tokens:
            headers = bearer(token) if token else {}
            answer = await house.http.request(method, f"{SESSIONS}/run{path}", headers=headers)
            assert answer.status_code in (401, 403), (method, path, token)
            told = answer.json()["error"]
            assert told in ("room_token_needed", "other_session", "missing_scope")
        if method == "GET" and path != "/order":
            answer = await house.http.request(method, f"{SESSIONS}/run{path}", headers=bearer(host))
            assert answer.status_code not in (401, 403), path
    assert (await house.ok("GET", f"{ROOMS}/{code}"))["session_id"] is None


async def test_it_is_in_no_list(locked: tuple[House, str, str]) -> None:
    house, code, host = locked
    for path in (
        SESSIONS,
        f"{SESSIONS}?status=all",
        f"{SESSIONS}?status=all&q=run",
        f"{SESSIONS}?status=all&tag=secret",
        ROOMS,
        "/status",
        "/api/training/status",
        "/api/training/queue",
        "/api/models",
        "/api/evaluations",
    ):
        answer = await house.http.get(path)
        assert answer.status_code == 200
        assert '"run"' not in answer.text, path
        assert code not in answer.text, path
    assert (await house.ok("GET", SESSIONS))["total"] == 1
    assert (await house.ok("GET", "/status"))["sessions"] == {"active": 1, "total": 1}
    assert [
        r["room_code"] for r in (await house.ok("GET", ROOMS, headers=bearer(host)))["rooms"]
    ] == [code]


async def test_its_reporter_goes_on_and_learns_nothing(locked: tuple[House, str, str]) -> None:
    house, code, host = locked
    assert await house.log("run", 3) > 0
    for method, path, body in (
        ("POST", "", {"training_session_id": "run", "algorithm": "DQN", "resume": True}),
        ("PUT", "/run", {"total_episodes": 9}),
        ("POST", "/run/heartbeat", {}),
        ("POST", "/run/finish", {"status": "completed"}),
    ):
        status = 201 if not path else 200
        told = await house.ok(method, SESSIONS + path, status, json=body)
        text = str(told)
        assert "lr" not in text, path
        assert "secret" not in text, path
        assert code not in text, path
        assert not told.get("latest"), path
    session = await house.ok("GET", f"{SESSIONS}/run", headers=bearer(host))
    assert (session["total_episodes"], session["status"]) == (9, "completed")
    assert session["current_episode"] == 3


async def test_a_managed_session_obeys_no_stranger(house: House) -> None:
    worker = await house.managed()
    await open_room(house, worker.session_id, access="private")
    where = f"{SESSIONS}/{worker.session_id}"
    for method, path, body in (
        ("PUT", "", {"status": "stopped"}),
        ("POST", "/finish", {"status": "completed"}),
        ("GET", "/order", None),
    ):
        told = await house.ok(method, where + path, 401, json=body)
        assert told["error"] == "room_token_needed"
    assert (await house.ok("GET", "/api/training/status"))["is_training"] is False
    busy = await house.ok("POST", "/api/training/stop", 400)
    assert busy["error"] == "no_active_training"
    await house.ok("POST", "/api/training/stop", 401, json={"session_id": worker.session_id})
    source = {"session_id": worker.session_id}
    body = {"scenario_name": "balanced", "queue": True, "resume_from": source}
    await house.ok("POST", "/api/training/start", 401, json=body)
    await house.ok("GET", where + "/order", headers=worker.headers)
    told = await house.ok("PUT", where, headers=worker.headers, json={"current_episode": 3})
    assert told["current_episode"] == 3


async def test_its_queue_place_and_model_do_not_show(house: House) -> None:
    body = {"scenario_name": "balanced", "queue": True}
    ids = [
        (await house.ok("POST", "/api/training/start", 202, json=body))["session_id"]
        for _ in range(2)
    ]
    await open_room(house, ids[0], access="password")
    told = await house.ok("GET", "/api/training/queue")
    assert ids[0] not in str(told)
    await house.ok("PATCH", f"/api/training/queue/{ids[0]}", 401, json={"priority": 5})
    await house.ok("DELETE", f"/api/training/queue/{ids[0]}", 401)


async def test_no_socket_hears_it(locked: tuple[House, str, str]) -> None:
    house, _, host = locked
    assert (await stranger_closed(house, None)) == 4401
    minted = {"name": "x", "scopes": ["watch"]}
    token = (await house.ok("POST", "/api/auth/tokens", 201, json=minted))["token"]
    assert (await stranger_closed(house, token)) == 4401
    async with watching(house, "run", host) as socket:
        assert (await Spectator(socket).event("snapshot"))["session_id"] == "run"

    client = socketio.AsyncClient(reconnection=False)
    await client.connect(house.url, transports=["websocket"])
    try:
        told = await client.call("subscribe_training", {"session_id": "run"}, timeout=15)
        assert told["error"] == "room_token_needed"
    finally:
        await client.disconnect()
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(house.url, auth={"token": host}, transports=["websocket"])
    try:
        told = await client.call("subscribe_training", {"session_id": "run"}, timeout=15)
        assert told == {"subscribed": {"session_id": "run"}}
    finally:
        await client.disconnect()


async def stranger_closed(house: House, token: str | None) -> int:
    async with watching(house, "run", token) as socket:
        if token is None:
            await socket.send('{"type": "ping"}')
        return (await Spectator(socket).closed())[0]


async def test_who_watched_before_is_shown_out(serving: House, listen: Any) -> None:
    training = Training(serving, await serving.managed())
    listener = await listen()
    async with serving.watch(training.session_id) as watcher:
        await watcher.event("snapshot")
        await training.begin()
        await training.progress(1)
        await listener.event("training_progress")
        opened = await open_room(serving, training.session_id, access="private")
        assert (await watcher.closed())[0] == 4401
    await training.progress(2)
    host = bearer(opened["host_token"])
    await serving.ok("DELETE", f"{ROOMS}/{opened['room']['room_code']}", 204, headers=host)
    await training.progress(3)
    await listener.until(lambda event, data: data.get("episode") == 3)
    assert [t["episode"] for t in listener.named("training_progress")] == [1, 3]


async def test_a_seat_is_sat_on_over_socketio_too(serving: House) -> None:
    worker = await serving.managed()
    opened = await open_room(serving, worker.session_id, access="private")
    code, host = opened["room"]["room_code"], bearer(opened["host_token"])
    ann = await join(serving, code, "Ann", headers=host)
    bo = await join(serving, code, "Bo", headers=host)
    client = socketio.AsyncClient(reconnection=False)
    gone = asyncio.Event()
    client.on("disconnect", lambda *_: gone.set())
    await client.connect(serving.url, auth={"token": ann["token"]}, transports=["websocket"])
    try:

        async def sits() -> bool:
            told = await serving.ok("GET", f"{ROOMS}/{code}/seats", headers=host)
            return [s["watching"] for s in told["seats"]] == [True, False]

        await until(sits)
        renewed = await serving.ok("POST", f"{ROOMS}/{code}/renew", headers=bearer(ann["token"]))
        told = await client.call("authorize", {"token": renewed["token"]}, timeout=15)
        assert told["authorized"]
        assert told["expires_at"][:19] == renewed["expires_at"][:19]
        told = await client.call("authorize", {"token": bo["token"]}, timeout=15)
        assert (told["authorized"], told["error"]) == (False, "other_seat")
        assert (await client.call("authorize", None, timeout=15))["error"] == "bad_token"
        await serving.ok("DELETE", f"{ROOMS}/{code}/seats/{ann['seat_id']}", 204, headers=host)
        await asyncio.wait_for(gone.wait(), 15)
    finally:
        await client.disconnect()


async def test_nobody_goes_on_with_anothers_seat(serving: House) -> None:
    await serving.open_session()
    opened = await open_room(serving)
    code = opened["room"]["room_code"]
    ann, bo = await join(serving, code, "Ann"), await join(serving, code, "Bo")
    async with watching(serving, "run", ann["token"]) as socket:
        spectator = Spectator(socket)
        await spectator.event("snapshot")
        for token in (bo["token"], opened["host_token"]):
            await spectator.say(type="authorize", token=token)
            told = await spectator.until(lambda m: m["type"] == "error")
            assert told["data"]["error"] == "other_seat"


async def test_a_token_tells_nothing_of_other_rooms(serving: House) -> None:
    await serving.open_session("one")
    await serving.open_session("two")
    mine = (await open_room(serving, "one"))["room"]["room_code"]
    other = (await open_room(serving, "two", access="private"))["room"]["room_code"]
    ann = await join(serving, mine, "Ann")
    headers = bearer(ann["token"])
    for method, path, status in (
        ("POST", "/renew", 403),
        ("POST", "/leave", 403),
        ("GET", "/seats", 403),
        ("DELETE", "", 403),
        ("POST", "/invitations", 403),
    ):
        told = [
            await serving.ok(method, f"{ROOMS}/{code}{path}", status, headers=headers)
            for code in (other, "CCCCCC")
        ]
        assert told[0]["error"] == told[1]["error"]


# Listing, codes, limits.


async def test_the_list_of_rooms(make_house: MakeHouse) -> None:
    house = await make_house(security__enable_auth=True, security__jwt_secret_key=SECRET)
    access = house.assembly.access
    from grandstand.service.grants import Scope

    operator, _, _ = access.mint("op", timedelta(hours=1), scopes=[Scope.OPERATE, Scope.WATCH])
    boss = bearer(operator)
    await house.assembly.accounts.add_user("ann", "correct horse", ["watch"])
    codes = {}
    for kind in ("public", "password", "private"):
        await house.assembly.sessions.create(_session(kind))
        opened = await house.ok(
            "POST", f"{SESSIONS}/{kind}/room", 201, json={"access": kind}, headers=boss
        )
        codes[kind] = opened["room"]["room_code"]
    told = {r["access"]: r for r in (await house.ok("GET", ROOMS))["rooms"]}
    assert told.keys() == {"public", "password"}
    assert told["public"]["session_name"] == "public"
    assert told["password"]["session_name"] is told["password"]["session_id"] is None
    told = {r["access"]: r for r in (await house.ok("GET", ROOMS, headers=boss))["rooms"]}
    assert told.keys() == {"public", "password", "private"}
    assert told["private"]["session_name"] == "private"
    assert told["private"]["created_by"] == "op"
    # No account is needed to join; with one, the seat is the account's.
    assert (await join(house, codes["public"], "zoe"))["session_id"] == "public"
    body = {"name": "ann", "password": "correct horse"}
    signed = await house.ok("POST", "/api/auth/login", json=body)
    ann = bearer(signed["token"])
    seat = await join(house, codes["public"], "whoever", headers=ann)
    seats = await house.ok("GET", f"{ROOMS}/{codes['public']}/seats", headers=boss)
    assert [s["name"] for s in seats["seats"] if s["seat_id"] == seat["seat_id"]] == ["ann"]
    assert (await join(house, codes["public"], "Ann", 409))["error"] == "name_taken"
    # What a spectator may not.
    token = bearer(seat["token"])
    await house.ok("DELETE", f"{ROOMS}/{codes['public']}", 403, headers=token)
    await house.ok("DELETE", f"{ROOMS}/{codes['public']}/seats/x", 403, headers=token)
    await house.ok("POST", f"{ROOMS}/{codes['public']}/invitations", 403, headers=token)
    await house.ok("GET", f"{ROOMS}/{codes['password']}/seats", 403, headers=token)
    audit = await house.ok("GET", "/api/audit", headers=bearer(_admin(house)))
    assert {e["action"] for e in audit["entries"]} >= {
        f"POST {SESSIONS}/{{session_id}}/room",
        "DELETE /api/rooms/{code}",
        "DELETE /api/rooms/{code}/seats/{seat_id}",
    }


def _session(session_id: str) -> Any:
    from grandstand.service.sessions import NewSession

    return NewSession("DQN", training_session_id=session_id)


def _admin(house: House) -> str:
    from grandstand.service.grants import Scope

    token, _, _ = house.assembly.access.mint("root", timedelta(hours=1), scopes=[Scope.ADMIN])
    return str(token)


async def test_an_invitation_opens_a_private_room(house: House) -> None:
    await house.open_session()
    opened = await open_room(house, access="private")
    code, host = opened["room"]["room_code"], bearer(opened["host_token"])
    assert (await join(house, code, "Ann", 403))["error"] == "invitation_needed"
    made = await house.ok("POST", f"{ROOMS}/{code}/invitations", 201, headers=host)
    link, _, invitation = made["join_url"].partition("#invitation=")
    assert link.endswith(f"/join/{code}")
    assert invitation == made["invitation"]
    assert (await join(house, code, "Ann", invitation=invitation))["seat_id"]
    wrong = await join(house, code, "Bo", 401, invitation=invitation[:-3])
    assert wrong["error"] == "invitation_invalid"


@pytest.mark.parametrize("path", ["", "/join", "/seats", "/invitations"])
async def test_guessing_codes_counts(house: House, path: str) -> None:
    await house.open_session()
    code = (await open_room(house))["room"]["room_code"]
    verbs = {"": "GET", "/join": "POST", "/seats": "GET", "/invitations": "POST"}
    more: dict[str, Any] = {"json": {"user_name": "x"}} if path == "/join" else {}
    for _ in range(5):
        answer = await house.http.request(verbs[path], f"{ROOMS}/CCCCCC{path}", **more)
        assert answer.status_code == 404
    answer = await house.http.request(verbs[path], f"{ROOMS}/{code}{path}", **more)
    assert (answer.status_code, answer.json()["error"]) == (429, "rate_limited")


async def test_guessing_a_rooms_password_counts(house: House) -> None:
    await house.open_session()
    opened = await open_room(house, access="password")
    code = opened["room"]["room_code"]
    for _ in range(5):
        await join(house, code, "x", 401, password="wrong guess")
    told = await join(house, code, "x", 429, password=opened["room_password"])
    assert told["error"] == "rate_limited"


async def test_a_class_may_come_in_at_once(house: House) -> None:
    await house.open_session()
    code = (await open_room(house))["room"]["room_code"]
    told = await asyncio.gather(*(join(house, code, f"pupil {i}") for i in range(40)))
    assert len({t["seat_id"] for t in told}) == 40


async def test_changing_a_room(house: House) -> None:
    await house.open_session()
    opened = await open_room(house)
    code, host = opened["room"]["room_code"], bearer(opened["host_token"])
    body = {"access": "password", "name": "Late show", "expires_at": None}
    told = await house.ok("PATCH", f"{ROOMS}/{code}", json=body, headers=host)
    assert told["room"]["name"] == "Late show"
    assert len(told["room_password"]) == 12
    await house.ok("PATCH", f"{ROOMS}/{code}", 401, json={"access": "public"})
    again = await house.ok("PATCH", f"{ROOMS}/{code}", json={"name": None}, headers=host)
    assert (again["room"]["name"], again["room_password"]) == ("Late show", None)
    refused = await open_room_again(house)
    assert refused["error"] == "room_token_needed"
    for wrong in ({"max_spectators": 0}, {"access": "secret"}, {"colour": "red"}):
        await house.ok("PATCH", f"{ROOMS}/{code}", 422, json=wrong, headers=host)


async def open_room_again(house: House) -> Any:
    return await house.ok("POST", f"{SESSIONS}/run/room", 401, json={})


async def test_a_room_is_larger_than_the_rest_of_the_stands(make_house: MakeHouse) -> None:
    house = await make_house(serving=True, performance__max_connections_per_session=1)
    await house.open_session()
    code = (await open_room(house, max_spectators=3))["room"]["room_code"]
    tickets = [await join(house, code, name) for name in ("Ann", "Bo")]
    async with (
        watching(house, "run", tickets[0]["token"]) as ann,
        watching(house, "run", tickets[1]["token"]) as bo,
    ):
        await Spectator(ann).event("snapshot")
        await Spectator(bo).event("snapshot")
        async with house.watch("run") as other:
            assert (await other.closed())[0] == 4429
