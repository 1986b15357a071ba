"""Sessions through the HTTP door: opened, found, changed, ended, deleted."""

from __future__ import annotations

from typing import Any

import pytest

SESSIONS = "/api/training/sessions"


async def test_an_external_session_runs_at_once(house: Any) -> None:
    body = {"training_session_id": "mine", "algorithm": "DQN", "model_generation": 3}
    made = await house.ok("POST", SESSIONS, 201, json=body)
    assert (made["session_id"], made["kind"], made["status"]) == ("mine", "external", "running")
    assert made["verbs"] == []
    assert made["start_time"].endswith("Z")
    assert await house.ok("GET", f"{SESSIONS}/mine") == made


@pytest.mark.parametrize(
    ("told", "served"),
    [("a b/c", "a-b-c"), ("Ünï", "n"), ("ok.1~x_y-z", "ok.1~x_y-z"), ("x" * 300, "x" * 128)],
)
async def test_an_id_is_made_fit_for_a_url(house: Any, told: str, served: str) -> None:
    assert await house.open_session(told) == served
    seen = await house.ok("GET", f"{SESSIONS}/{served}")
    assert seen["training_session_id"] == told


@pytest.mark.parametrize("told", [".", "..", "///", "日本"])
async def test_an_id_with_nothing_to_keep_is_generated(house: Any, told: str) -> None:
    served = await house.open_session(told)
    assert len(served) == 12
    await house.ok("GET", f"{SESSIONS}/{served}")


async def test_an_id_is_taken_once_unless_resumed(house: Any) -> None:
    await house.open_session("one")
    body = {"training_session_id": "one", "algorithm": "DQN"}
    told = await house.ok("POST", SESSIONS, 409, json=body)
    assert told["error"] == "session_exists"
    await house.ok("POST", f"{SESSIONS}/one/finish", json={"status": "stopped"})
    again = await house.ok("POST", SESSIONS, 201, json={**body, "resume": True})
    assert (again["status"], again["wanted"], again["end_time"]) == ("running", "running", None)


async def test_lists_leave_out_what_has_ended(house: Any) -> None:
    for name in ("a", "b", "c"):
        await house.open_session(name, tags=[f"tag-{name}"])
    await house.ok("POST", f"{SESSIONS}/b/finish", json={"status": "completed"})

    async def ids(**query: Any) -> list[str]:
        page = await house.ok("GET", SESSIONS, params=query)
        return [s["session_id"] for s in page["sessions"]]

    assert await ids() == ["c", "a"]
    assert await ids(status="all") == ["c", "b", "a"]
    assert await ids(status="completed,failed") == ["b"]
    assert await ids(status="all", sort="name") == ["a", "b", "c"]
    assert await ids(tag="tag-a") == ["a"]
    assert await ids(q="TAG-C") == ["c"]
    assert await ids(q="%") == []


async def test_lists_tell_how_many_there_are_of_each_status(house: Any) -> None:
    for name in ("a", "b", "c", "d"):
        await house.open_session(name, tags=["odd"] if name in "ac" else [])
    await house.ok("POST", f"{SESSIONS}/b/finish", json={"status": "completed"})
    await house.ok("POST", f"{SESSIONS}/c/finish", json={"status": "failed"})
    every = {"running": 2, "completed": 1, "failed": 1}
    for status, total in ((None, 2), ("all", 4), ("completed,failed", 2), ("queued", 0)):
        page = await house.ok("GET", SESSIONS, params={"status": status} if status else {})
        assert (page["counts"], page["total"]) == (every, total)
    page = await house.ok("GET", SESSIONS, params={"status": "all", "tag": "odd"})
    assert page["counts"] == {"running": 1, "failed": 1}


async def test_lists_tell_the_groups_they_fall_into(house: Any) -> None:
    for name, algorithm, tags in (
        ("a", "PPO", ["x", "y%"]),
        ("b", "DQN", ["x"]),
        ("c", "PPO", []),
        ("d", "a2c", ["Ä"]),
    ):
        await house.open_session(name, algorithm=algorithm, tags=tags)
    await house.ok("POST", f"{SESSIONS}/b/finish", json={"status": "completed"})

    async def asked(**query: str) -> Any:
        return await house.ok("GET", SESSIONS, params={"sort": "name", **query})

    def groups(page: Any) -> list[tuple[str | None, int]]:
        return [(one["value"], one["count"]) for one in page["groups"]]

    assert "groups" not in await asked()
    page = await asked(status="all", group="tag")
    assert groups(page) == [("x", 2), ("y%", 1), ("Ä", 1), (None, 1)]
    assert [s["session_id"] for s in page["sessions"]] == ["a", "b", "c", "d"]
    by = {
        "algorithm": [("a2c", 1), ("DQN", 1), ("PPO", 2)],
        "status": [("running", 3), ("completed", 1)],
        "scenario": [(None, 4)],
    }
    for key, told in by.items():
        assert groups(await asked(status="all", group=key)) == told
    # What has ended is in no group of a list of what has not.
    assert groups(await asked(group="algorithm")) == [("a2c", 1), ("PPO", 2)]
    for within, names in {
        "tag:x": "ab",
        "tag:y%": "a",
        "tag": "c",
        "algorithm:PPO": "ac",
        "status:completed": "b",
        "scenario": "abcd",
        "scenario:nowhere": "",
    }.items():
        page = await asked(status="all", group="tag", within=within)
        assert [s["session_id"] for s in page["sessions"]] == list(names)
        assert page["total"] == len(names)
        assert groups(page)[0] == ("x", 2)
        assert page["counts"] == {"running": 3, "completed": 1}
    first = await asked(status="all", within="algorithm:PPO", limit="1")
    second = await asked(status="all", within="algorithm:PPO", cursor=first["next_cursor"])
    assert [s["session_id"] for s in second["sessions"]] == ["c"]
    for wrong in ({"group": "name"}, {"within": "name:a"}):
        await house.ok("GET", SESSIONS, 422, params=wrong)


async def test_what_moves_can_come_first_page_by_page(house: Any) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await house.open_session(name)
    for name in ("b", "e"):
        await house.ok("POST", f"{SESSIONS}/{name}/finish", json={"status": "stopped"})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        query = {"status": "all", "sort": "-activity", "limit": 2, **cursor}
        page = await house.ok("GET", SESSIONS, params=query)
        seen += [s["session_id"] for s in page["sessions"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ["d", "c", "a", "e", "b"]


async def test_pages_hold_every_session_once(house: Any) -> None:
    names = [f"s{i}" for i in range(5)]
    for name in names:
        await house.open_session(name)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await house.ok("GET", SESSIONS, params={"limit": 2, "sort": "name", **cursor})
        assert page["total"] == 5
        seen += [s["session_id"] for s in page["sessions"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == names


@pytest.mark.parametrize("cursor", ["x", "NQ", "bnVsbA", "WzEsMiwzXQ", "é", "W1sxXSwgMV0"])
async def test_a_cursor_of_nowhere_is_refused(house: Any, cursor: str) -> None:
    told = await house.ok("GET", SESSIONS, 422, params={"cursor": cursor})
    assert told["details"]["field"] == "cursor"


async def test_a_session_is_changed(house: Any) -> None:
    await house.open_session("run", total_episodes=10)
    changes = {"name": "New", "notes": "n", "tags": ["t"], "current_episode": 4, "archived": True}
    changed = await house.ok("PUT", f"{SESSIONS}/run", json=changes)
    assert {k: changed[k] for k in changes} == changes
    ended = await house.ok(
        "PUT",
        f"{SESSIONS}/run",
        json={"status": "completed", "end_time": "2026-02-03T04:05:06"},
    )
    assert (ended["status"], ended["end_time"]) == ("completed", "2026-02-03T04:05:06Z")
    told = await house.ok("PUT", f"{SESSIONS}/run", 409, json={"status": "paused"})
    assert told["error"] == "status_conflict"
    told = await house.ok("PUT", f"{SESSIONS}/run", 422, json={"name": None})
    assert told["details"]["field"] == "name"
    again = await house.ok("PUT", f"{SESSIONS}/run", json={"status": "running"})
    # Whoever goes on with it must not be told to stop.
    assert (again["status"], again["wanted"], again["end_time"]) == ("running", "running", None)


async def test_people_write_what_a_session_is_called(house: Any) -> None:
    await house.open_session("run", total_episodes=10)
    words = {"name": "New", "notes": "n\nn", "tags": ["t"]}
    changed = await house.ok("PATCH", f"{SESSIONS}/run", json=words)
    assert {k: changed[k] for k in words} == words
    assert (await house.ok("PATCH", f"{SESSIONS}/run", json={"notes": ""}))["tags"] == ["t"]
    for refused in ({"name": None}, {"name": ""}, {"tags": ["t" * 65]}, {"status": "stopped"}):
        await house.ok("PATCH", f"{SESSIONS}/run", 422, json=refused)
    assert (await house.ok("GET", f"{SESSIONS}/run"))["name"] == "New"
    await house.ok("PATCH", f"{SESSIONS}/nowhere", 404, json=words)


async def test_ending_twice_the_same_way_changes_nothing(house: Any) -> None:
    await house.open_session("run")
    body = {"status": "failed", "error": {"type": "E", "loss": "NaN"}, "reason": "why"}
    first = await house.ok("POST", f"{SESSIONS}/run/finish", json=body)
    assert (first["stop_reason"], first["error"]["type"]) == ("why", "E")
    assert await house.ok("POST", f"{SESSIONS}/run/finish", json=body) == first
    told = await house.ok("POST", f"{SESSIONS}/run/finish", 409, json={"status": "stopped"})
    assert told["error"] == "status_conflict"


async def test_a_script_that_does_not_listen_takes_no_orders(house: Any) -> None:
    await house.open_session("run")
    for verb in ("pause", "resume", "stop", "checkpoint"):
        told = await house.ok("POST", f"{SESSIONS}/run/{verb}", 409)
        assert told["error"] == "external_session"


async def test_a_script_that_listens_is_asked_and_says_what_it_does(house: Any) -> None:
    await house.open_session("run")

    async def beat(**body: Any) -> Any:
        return await house.ok("POST", f"{SESSIONS}/run/heartbeat", json=body)

    async def state() -> tuple[str, str, list[str]]:
        session = await house.ok("GET", f"{SESSIONS}/run")
        return session["status"], session["wanted"], session["verbs"]

    await beat(listens=["stop"])
    assert await state() == ("running", "running", ["stop"])
    told = await house.ok("POST", f"{SESSIONS}/run/pause", 409)
    assert told["error"] == "status_conflict"
    await beat(listens=["pause", "stop"])
    await beat(listens=["pause"])
    assert await state() == ("running", "running", ["pause", "stop"])

    asked = await house.ok("POST", f"{SESSIONS}/run/pause")
    assert (asked["status"], asked["wanted"], asked["changed"]) == ("pausing", "paused", True)
    assert not (await house.ok("POST", f"{SESSIONS}/run/pause"))["changed"]
    metric = {"type": "training_metrics", "data": {"episode": 1}}
    assert (await house.batch("run", [metric]))["wanted"] == "paused"
    one = await house.ok("POST", f"{SESSIONS}/run/metrics", json={"episode": 2})
    assert one["wanted"] == "paused"
    assert (await beat(paused=True))["wanted"] == "paused"
    assert await state() == ("paused", "paused", ["resume", "stop"])
    # Its machine sleeps for a while: it is lost, comes back waiting, and can be asked to go on.
    await house.ok("PUT", f"{SESSIONS}/run", json={"status": "lost"})
    await beat(paused=True)
    assert await state() == ("paused", "paused", ["resume", "stop"])
    await house.ok("POST", f"{SESSIONS}/run/resume")
    assert await state() == ("running", "running", ["pause", "stop"])
    assert "wanted" not in await house.batch("run", [metric])
    await house.ok("POST", f"{SESSIONS}/run/stop")
    assert await state() == ("stopping", "stopped", [])
    told = await house.ok("POST", f"{SESSIONS}/run/checkpoint", 409)
    assert told["error"] == "external_session"

    # The script dies meanwhile; another one goes on, of which nothing is known yet.
    body = {"training_session_id": "run", "algorithm": "DQN", "resume": True}
    await house.ok("POST", SESSIONS, 201, json=body)
    assert await state() == ("running", "running", [])
    events = (await house.history("run", type="training_status"))["events"]
    assert [e["verbs"] for e in events if e["event"] == "listens"] == [["stop"], ["pause", "stop"]]


async def test_a_deleted_session_is_gone_with_its_records(house: Any) -> None:
    await house.open_session("run")
    await house.log("run", 1, 2)
    await house.ok("DELETE", f"{SESSIONS}/run", 204)
    for path in ("", "/history", "/series"):
        told = await house.ok("GET", f"{SESSIONS}/run{path}", 404)
        assert told["error"] == "session_not_found"
    await house.open_session("run")
    assert (await house.history("run"))["metrics_data"] == []


async def test_a_running_training_is_deleted_only_by_force(house: Any) -> None:
    worker = await house.managed()
    told = await house.ok("DELETE", f"{SESSIONS}/{worker.session_id}", 409)
    assert told["error"] == "session_running"
    await house.ok("DELETE", f"{SESSIONS}/{worker.session_id}?force=true", 204)
    await house.ok("GET", f"{SESSIONS}/{worker.session_id}", 404)


async def test_the_verbs_of_a_training(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"

    async def reports(status: str) -> None:
        record = {"type": "training_status", "data": {"event": "status", "status": status}}
        await house.batch(worker.session_id, [record], headers=worker.headers)

    async def asks(verb: str) -> tuple[Any, ...]:
        told = await house.ok("POST", f"{path}/{verb}")
        return told["status"], told["wanted"], told["changed"]

    await reports("running")
    assert await asks("pause") == ("pausing", "paused", True)
    assert await asks("pause") == ("pausing", "paused", False)
    await reports("paused")
    assert await asks("checkpoint") == ("paused", "paused", True)
    assert await asks("checkpoint") == ("paused", "paused", False)
    assert await asks("resume") == ("running", "running", True)
    changed = await house.ok("PUT", path, json={"status": "stopped"})
    assert (changed["status"], changed["wanted"]) == ("stopping", "stopped")
    assert await asks("stop") == ("stopping", "stopped", False)
    await house.ok("POST", f"{path}/finish", json={"status": "stopped"}, headers=worker.headers)
    assert (await house.ok("GET", path))["verbs"] == ["resume"]
    assert await asks("resume") == ("queued", "running", True)


async def test_pages_neither_skip_nor_repeat_while_sessions_come_and_go(house: Any) -> None:
    for n in range(9):
        await house.open_session(f"s{n}", total_episodes=9 - n if n % 3 else None)
    for sort in ("name", "-name", "created_at", "-created_at", "-end_time", "status"):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            query = {"limit": 2, "sort": sort, "q": "s", **cursor}
            page = await house.ok("GET", SESSIONS, params=query)
            seen += [s["session_id"] for s in page["sessions"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
            if len(seen) == 4:  # one goes that was seen, one comes at either end of the list
                await house.ok("DELETE", f"{SESSIONS}/{seen[0]}", 204)
                for name in ("s", "s99"):
                    await house.open_session(name)
        assert len(seen) == len(set(seen)), sort
        assert {f"s{n}" for n in range(9)} <= set(seen), sort
        for name in ("s", "s99", seen[0]):
            await house.http.delete(f"{SESSIONS}/{name}")
        await house.open_session(seen[0])


async def test_search_looks_everywhere_whatever_the_case(house: Any) -> None:
    await house.open_session("one", name="Ärger mit 100%", tags=["Übung", "a_b"])
    await house.open_session("two", name="other", notes="nothing to see")

    async def found(text: str) -> list[str]:
        page = await house.ok("GET", SESSIONS, params={"q": text, "sort": "name"})
        return [s["session_id"] for s in page["sessions"]]

    assert await found("ÄRGER") == ["one"]
    assert await found("übung") == ["one"]
    assert await found("100%") == ["one"]
    assert await found("0%m") == []
    assert await found("a_b") == ["one"]
    assert await found("axb") == []
    assert await found("TO SEE") == ["two"]
    await house.ok("PUT", f"{SESSIONS}/two", json={"name": "Renamed", "tags": ["late"]})
    assert await found("renamed") == ["two"]
    assert await found("LATE") == ["two"]
    assert await found("other") == []
