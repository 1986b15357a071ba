"""Fencing: a worker's token is good for one session and one attempt; wishes reach it at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

SESSIONS = "/api/training/sessions"
METRICS = {"episode": 1, "current_reward": 1.0}


def status(name: Any, **more: Any) -> dict[str, Any]:
    return {"type": "training_status", "data": {"event": "status", "status": name, **more}}


async def superseded(house: Any) -> tuple[Any, Any]:
    """Two workers of one session: the first was lost and the job claimed again."""
    old = await house.managed()
    await house.ok(
        "POST",
        f"{SESSIONS}/{old.session_id}/finish",
        json={"status": "released"},
        headers=old.headers,
    )
    return old, await house.claim(old.session_id)


async def test_an_older_attempt_is_told_to_leave_at_every_door(house: Any) -> None:
    old, new = await superseded(house)
    assert (old.attempt, new.attempt) == (1, 2)
    path = f"{SESSIONS}/{old.session_id}"
    doors: list[tuple[str, str, Any]] = [
        ("POST", "/metrics", METRICS),
        ("POST", "/records", {"records": [status("running")]}),
        ("POST", "/heartbeat", {}),
        ("POST", "/finish", {"status": "completed"}),
        ("GET", "/order", None),
    ]
    for method, door, body in doors:
        told = await house.ok(method, path + door, 409, json=body, headers=old.headers)
        assert told["error"] == "attempt_superseded"
        assert told["details"]["attempt"] == 2
    assert (await house.history(old.session_id))["total_points"] == 0
    await house.ok("POST", f"{path}/metrics", json=METRICS, headers=new.headers)
    assert (await house.ok("GET", f"{path}/order", headers=new.headers))["attempt"] == 2


async def test_a_waiting_heartbeat_hears_that_it_was_superseded(house: Any) -> None:
    old = await house.managed()
    path = f"{SESSIONS}/{old.session_id}"
    body = {"wanted": "running", "wait_seconds": 20}
    held = asyncio.create_task(house.http.post(f"{path}/heartbeat", json=body, headers=old.headers))
    await house.ok("POST", f"{path}/finish", json={"status": "released"}, headers=old.headers)
    await house.claim(old.session_id)
    answer = await asyncio.wait_for(held, 10)
    assert answer.json()["error"] == "attempt_superseded"


async def test_a_token_is_good_for_its_session_alone(house: Any) -> None:
    worker = await house.managed()
    await house.open_session("other")
    for method, path, body in (
        ("POST", f"{SESSIONS}/other/metrics", METRICS),
        ("GET", f"{SESSIONS}/other", None),
        ("GET", SESSIONS, None),
        ("PUT", "/api/evaluations/x", {"status": "completed"}),
    ):
        told = await house.ok(method, path, 403, json=body, headers=worker.headers)
        assert told["error"] == "other_session"


async def test_a_worker_gives_no_orders(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    for method, door in (("POST", "/stop"), ("DELETE", "?force=true")):
        told = await house.ok(method, path + door, 403, headers=worker.headers)
        assert told["error"] == "missing_scope"


@pytest.mark.parametrize(("verb", "wanted"), [("pause", "paused"), ("stop", "stopped")])
async def test_a_held_heartbeat_answers_at_once_on_a_wish(
    house: Any, verb: str, wanted: str
) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    body = {"wanted": "running", "wait_seconds": 20}
    before = (await house.ok("GET", path))["last_seen_at"]
    held = asyncio.create_task(
        house.http.post(f"{path}/heartbeat", json=body, headers=worker.headers)
    )

    async def heard() -> bool:
        return bool((await house.ok("GET", path))["last_seen_at"] != before)

    await house.until(heard)
    assert not held.done()
    await house.ok("POST", f"{path}/{verb}")
    answer = await asyncio.wait_for(held, 10)  # and not after 20 seconds
    assert answer.json()["wanted"] == wanted
    assert answer.json()["attempt"] == 1


async def test_a_heartbeat_that_knows_less_is_answered_at_once(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    await house.ok("POST", f"{path}/pause")
    body = {"wanted": "running", "wait_seconds": 20}
    answer = await asyncio.wait_for(
        house.http.post(f"{path}/heartbeat", json=body, headers=worker.headers), 10
    )
    told = answer.json()
    assert (told["wanted"], told["status"]) == ("paused", "pausing")


async def test_a_heartbeat_says_that_a_checkpoint_is_asked_for(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"

    async def requested() -> Any:
        beat = await house.ok("POST", f"{path}/heartbeat", json={}, headers=worker.headers)
        return beat["checkpoint_requested"]

    assert not await requested()
    await house.ok("POST", f"{path}/checkpoint")
    assert await requested()
    record = {"type": "training_status", "data": {"event": "checkpoint", "episode": 7}}
    await house.batch(worker.session_id, [record], headers=worker.headers)
    assert not await requested()


async def test_a_worker_reports_no_end_in_an_event(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}/records"
    for name in ("completed", "dancing", None, ["running"], {}, 3):
        body = {"records": [status(name)]}
        told = await house.ok("POST", path, 422, json=body, headers=worker.headers)
        assert told["details"]["field"] == "status"
    told = await house.ok(
        "POST", path, 409, json={"records": [status("paused")]}, headers=worker.headers
    )
    assert told["error"] == "status_conflict"  # a training that never ran cannot have paused


async def test_finish_tells_the_end_once(house: Any) -> None:
    worker = await house.managed()
    await house.batch(
        worker.session_id, [status("running", num_episodes=100)], headers=worker.headers
    )
    path = f"{SESSIONS}/{worker.session_id}/finish"
    body = {"status": "completed", "final_metrics": {"avg_reward": float(1)}, "models": {"a": "b"}}
    ended = await house.ok("POST", path, json=body, headers=worker.headers)
    assert (ended["status"], ended["stop_reason"]) == ("completed", "completed")
    assert await house.ok("POST", path, json=body, headers=worker.headers) == ended
    told = await house.history(worker.session_id, type="training_status")
    ends = [e for e in told["events"] if e.get("status") == "completed"]
    assert len(ends) == 1
    assert ends[0]["final_metrics"] == {"avg_reward": 1.0}
    status_now = await house.ok("GET", "/api/training/status")
    assert (status_now["is_training"], status_now["queue_length"]) == (False, 0)


async def test_a_released_session_waits_for_the_next_worker(house: Any) -> None:
    old, new = await superseded(house)
    seen = await house.ok("GET", f"{SESSIONS}/{new.session_id}")
    assert (seen["status"], seen["attempt"]) == ("starting", 2)
    told = await house.history(old.session_id, type="training_status")
    assert [e["status"] for e in told["events"]] == ["queued", "starting", "queued", "starting"]
