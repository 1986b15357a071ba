"""A room whose server is killed and started again: nothing changes for anybody."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import SESSIONS, Server

pytestmark = pytest.mark.slow
ROOMS = "/api/rooms"


def test_a_room_outlives_its_server(server: Server) -> None:
    def ask(method: str, path: str, token: str | None = None, json: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return server.api.request(method, path, headers=headers, json=json)

    body = {"training_session_id": "run", "algorithm": "DQN"}
    assert ask("POST", SESSIONS, json=body).status_code == 201
    opened = ask("POST", f"{SESSIONS}/run/room", json={"access": "password"}).json()
    code, host = opened["room"]["room_code"], opened["host_token"]

    def join(name: str) -> Any:
        asked = {"user_name": name, "password": opened["room_password"]}
        return ask("POST", f"{ROOMS}/{code}/join", json=asked)

    ann, bo = join("Ann").json(), join("Bo").json()
    assert ask("DELETE", f"{ROOMS}/{code}/seats/{bo['seat_id']}", host).status_code == 204
    for _ in range(2):
        server.kill()
        server.start()
        assert ask("GET", f"{SESSIONS}/run").json()["error"] == "room_token_needed"
        assert ask("GET", f"{SESSIONS}/run", ann["token"]).json()["room_code"] == code
        assert ask("GET", f"{SESSIONS}/run", bo["token"]).json()["error"] == "seat_lost"
        assert join("bo").json()["error"] == "removed_from_room"
        assert join("ann").json()["seat_id"] == ann["seat_id"]
        renewed = ask("POST", f"{ROOMS}/{code}/renew", ann["token"]).json()
        assert renewed["seat_id"] == ann["seat_id"]
        seats = ask("GET", f"{ROOMS}/{code}/seats", host).json()["seats"]
        assert {s["name"]: bool(s["removed_at"]) for s in seats} == {"Ann": False, "Bo": True}
    assert ask("DELETE", f"{ROOMS}/{code}", host).status_code == 204
    server.kill()
    server.start()
    assert ask("GET", f"{SESSIONS}/run", ann["token"]).json()["error"] == "room_closed"
    assert ask("GET", f"{SESSIONS}/run").json()["room_code"] is None
