"""Many sessions at once: archived, tagged, deleted, weighed; each by itself."""

from __future__ import annotations

from typing import Any

SESSIONS = "/api/training/sessions"


async def bulk(house: Any, action: str, *ids: str, status: int = 200, **more: Any) -> Any:
    body = {"ids": ids, "action": action, **more}
    return await house.ok("POST", f"{SESSIONS}/bulk", status, json=body)


async def listed(house: Any, **query: Any) -> list[str]:
    found = await house.ok("GET", SESSIONS, params={"sort": "name", "status": "all", **query})
    return [one["session_id"] for one in found["sessions"]]


async def test_many_are_archived_tagged_and_deleted(house: Any) -> None:
    for name in "abc":
        await house.open_session(name, tags=["first"])
    told = await bulk(house, "archive", "a", "b", "nowhere", "a")
    assert told["done"] == ["a", "b"]
    assert [(one["session_id"], one["error"]) for one in told["refused"]] == [
        ("nowhere", "session_not_found")
    ]
    assert await listed(house) == ["c"]
    assert await listed(house, archived="true") == ["a", "b"]
    await bulk(house, "unarchive", "a")
    assert await listed(house) == ["a", "c"]

    await bulk(house, "tag", "a", "c", tags=["good", "first"])
    assert (await house.ok("GET", f"{SESSIONS}/a"))["tags"] == ["first", "good"]
    assert await listed(house, tag="good") == ["a", "c"]
    await bulk(house, "untag", "c", tags=["good", "never there"])
    assert (await house.ok("GET", f"{SESSIONS}/c"))["tags"] == ["first"]

    assert (await bulk(house, "delete", "a", "b"))["done"] == ["a", "b"]
    assert await listed(house) == ["c"]
    await house.ok("GET", f"{SESSIONS}/a", 404)


async def test_a_training_at_work_is_kept_and_said(house: Any) -> None:
    worker = await house.managed()
    await house.open_session("other")
    told = await bulk(house, "delete", worker.session_id, "other")
    assert told["done"] == ["other"]
    assert told["refused"][0]["error"] == "session_running"


async def test_what_cannot_be_asked_is_refused_by_name(house: Any) -> None:
    await bulk(house, "tag", "a", status=422)
    await bulk(house, "explode", "a", status=422)
    await bulk(house, "archive", status=422)
    await bulk(house, "archive", *map(str, range(1001)), status=422)


async def test_sessions_are_weighed_by_what_they_hold(house: Any) -> None:
    await house.open_session("light")
    await house.open_session("heavy")
    await house.log("heavy", *range(1, 51))
    folder = house.assembly.sessions.folder("heavy")
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"0" * 5000)
    body = {"ids": ["light", "heavy", "nowhere"]}
    found = (await house.ok("POST", f"{SESSIONS}/sizes", json=body))["sessions"]
    by_id = {one.pop("session_id"): one for one in found}
    assert set(by_id) == {"light", "heavy"}
    assert by_id["heavy"]["records"] == 51
    assert by_id["heavy"]["file_bytes"] == 5000
    assert by_id["heavy"]["log_bytes"] > 20 * by_id["light"]["log_bytes"] > 0
    assert by_id["light"]["file_bytes"] == 0
