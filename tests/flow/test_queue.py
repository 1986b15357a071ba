"""The queue of trainings: its order, how it is changed, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import SESSIONS

QUEUE = "/api/training/queue"


async def start(house: Any, priority: int = 0) -> str:
    body = {"scenario_name": "balanced", "queue": True, "priority": priority}
    return str((await house.ok("POST", "/api/training/start", 202, json=body))["session_id"])


async def order(house: Any) -> list[str]:
    """Who waits, the next one first; positions must count from 1."""
    found = await house.ok("GET", QUEUE)
    assert [row["position"] for row in found["queue"]] == list(range(1, found["total"] + 1))
    return [row["session"]["session_id"] for row in found["queue"]]


async def move(house: Any, session_id: str, **body: Any) -> list[str]:
    found = await house.ok("PATCH", f"{QUEUE}/{session_id}", json=body)
    return [row["session"]["session_id"] for row in found["queue"]]


async def test_first_come_first_served_but_for_priority(house: Any) -> None:
    a, b = await start(house), await start(house)
    c, d = await start(house, priority=5), await start(house, priority=-5)
    assert await order(house) == [c, a, b, d]
    for expected in (c, a, b, d):
        await house.claim(expected)
    assert await order(house) == []


async def test_a_place_beside_another(house: Any) -> None:
    a, b, c, d = [await start(house) for _ in range(4)]
    assert await move(house, d, before=a) == [d, a, b, c]
    assert await move(house, a, after=c) == [d, b, c, a]
    assert await move(house, b, after=b) == [d, b, c, a]
    assert await move(house, a, before=c) == [d, b, a, c]
    e = await start(house)
    assert await order(house) == [d, b, a, c, e]
    await house.claim(d)
    assert await order(house) == [b, a, c, e]


async def test_beside_one_of_another_priority_it_takes_that_priority(house: Any) -> None:
    a, b, c = await start(house), await start(house), await start(house, priority=7)
    assert await move(house, b, after=c) == [c, b, a]
    rows = (await house.ok("GET", QUEUE))["queue"]
    assert [row["priority"] for row in rows] == [7, 7, 0]
    assert await move(house, c, priority=0) == [b, a, c]
    assert await move(house, c, priority=0) == [b, a, c]
    assert await move(house, a, priority=1000) == [a, b, c]


async def test_cancelled_it_is_stopped_and_can_come_back(house: Any) -> None:
    a, b = await start(house), await start(house)
    session = await house.ok("DELETE", f"{QUEUE}/{a}")
    assert (session["status"], session["session_id"]) == ("stopped", a)
    assert await order(house) == [b]
    answer = await house.ok("POST", f"{SESSIONS}/{a}/resume")
    assert (answer["status"], answer["changed"]) == ("queued", True)
    assert await order(house) == [a, b]  # it was there first


async def test_who_does_not_wait_cannot_be_moved(house: Any) -> None:
    worker = await house.managed()
    waiting = await start(house)
    for method, path, body in (
        ("PATCH", worker.session_id, {"priority": 3}),
        ("PATCH", waiting, {"before": worker.session_id}),
        ("DELETE", worker.session_id, None),
    ):
        answer = await house.http.request(method, f"{QUEUE}/{path}", json=body)
        assert answer.status_code == 409
        assert answer.json()["error"] == "not_waiting"
        assert answer.json()["details"]["session_id"] == worker.session_id
    for method in ("PATCH", "DELETE"):
        body = {"priority": 3} if method == "PATCH" else None
        answer = await house.http.request(method, f"{QUEUE}/nobody", json=body)
        assert answer.status_code == 404
    assert await order(house) == [waiting]


@pytest.mark.parametrize(
    "wrong", [{}, {"priority": 3, "before": "x"}, {"priority": 1001}, {"place": 1}]
)
async def test_a_move_says_one_thing(house: Any, wrong: dict[str, Any]) -> None:
    waiting = await start(house)
    answer = await house.http.patch(f"{QUEUE}/{waiting}", json=wrong)
    assert answer.status_code == 422
    assert await order(house) == [waiting]


async def test_going_on_from_a_checkpoint_needs_episodes_left(house: Any) -> None:
    body = {"scenario_name": "balanced", "queue": True, "num_episodes": 500}
    first = (await house.ok("POST", "/api/training/start", 202, json=body))["session_id"]
    house.assembly.sessions.folder(first).mkdir(parents=True)
    body["resume_from"] = {"session_id": first, "checkpoint": 500}
    told = await house.ok("POST", "/api/training/start", 422, json=body)
    assert "has 500 already" in told["message"]
    assert told["details"]["errors"][0]["field"] == "num_episodes"
    body["num_episodes"] = 900
    second = (await house.ok("POST", "/api/training/start", 202, json=body))["session_id"]
    found = await house.ok("GET", f"{SESSIONS}/{second}")
    assert (found["parent_session_id"], found["total_episodes"]) == (first, 900)
