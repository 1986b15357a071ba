"""The live feed over a real socket: everything once, in order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

SESSIONS = "/api/training/sessions"
SIX = {
    "training_metrics",
    "bot_decision",
    "graph_update",
    "training_status",
    "connection_status",
    "error",
}


async def flood(house: Any, session_id: str, batches: int, rows: int = 5) -> int:
    """Report columnar batches as fast as they are taken; the last seq."""
    told: Any = {"last_seq": 0}
    for b in range(batches):
        columns = {"episode": [b * rows + r + 1 for r in range(rows)]}
        told = await house.batch(session_id, [{"type": "training_metrics", "columns": columns}])
    return int(told["last_seq"])


async def test_the_snapshot_comes_first(serving: Any) -> None:
    await serving.open_session("run", total_episodes=9)
    last = await serving.log("run", 1, 2)
    async with serving.watch("run", "?user_name=Ada") as spectator:
        first = await spectator.next()
        assert (first["type"], first["seq"], first["session_id"]) == (
            "connection_status",
            None,
            "run",
        )
        data = first["data"]
        assert (data["event"], data["status"], data["last_seq"]) == ("snapshot", "connected", last)
        assert data["latest"]["current_reward"] == 2.0
        assert data["session"]["total_episodes"] == 9
        assert set(data["subscriptions"]) == SIX
        assert data["connection_id"]
        presence = await spectator.event("presence")
        assert presence["spectator_count"] == 1
        assert (await serving.ok("GET", f"{SESSIONS}/run"))["spectator_count"] == 1


async def test_messages_have_one_envelope_and_come_as_reported(serving: Any) -> None:
    await serving.open_session("run")
    async with serving.watch("run", "?max_hz=0") as spectator:
        start = (await spectator.next())["data"]["last_seq"]
        path = f"{SESSIONS}/run"
        at = "2026-01-01T00:00:00+02:00"
        await serving.ok("POST", f"{path}/metrics", json={"episode": 1, "timestamp": at})
        await serving.ok("POST", f"{path}/bot_decision", json={"selected_action": 1})
        await serving.ok("POST", f"{path}/graph_update", json={"graph_id": "g"})
        await serving.ok("POST", f"{path}/finish", json={"status": "completed"})
        messages = await spectator.records(start + 4)
    assert [m["type"] for m in messages] == [
        "training_metrics",
        "bot_decision",
        "graph_update",
        "training_status",
    ]
    assert [m["seq"] for m in messages] == list(range(start + 1, start + 5))
    assert all(set(m) == {"type", "session_id", "seq", "timestamp", "data"} for m in messages)
    assert messages[0]["timestamp"] == "2025-12-31T22:00:00Z"
    assert messages[3]["data"]["status"] == "completed"


async def test_with_every_row_seqs_have_no_gap(serving: Any) -> None:
    await serving.open_session("run")
    async with serving.watch("run", "?max_hz=0") as spectator:
        start = (await spectator.next())["data"]["last_seq"]
        last = await flood(serving, "run", 40)
        messages = await spectator.records(last)
    assert [m["seq"] for m in messages] == list(range(start + 1, last + 1))


@pytest.mark.parametrize("query", ["", "?max_hz=200"])
async def test_a_thinned_feed_says_what_it_left_out(serving: Any, query: str) -> None:
    await serving.open_session("run")
    async with serving.watch("run", query) as spectator:
        start = (await spectator.next())["data"]["last_seq"]
        last = await flood(serving, "run", 40)
        messages = await spectator.records(last)
    serving.contiguous(messages, start)
    assert len(messages) < 200
    assert messages[-1]["data"]["episode"] == 200


@pytest.mark.parametrize("rate", [0, 50])
async def test_coming_back_while_reports_come_in_misses_and_doubles_nothing(
    serving: Any, rate: int
) -> None:
    await serving.open_session("run")
    since = await flood(serving, "run", 30)
    writing = asyncio.create_task(flood(serving, "run", 60))
    spectators = []
    async with asyncio.timeout(30):
        while not writing.done() and len(spectators) < 8:
            # Each comes back at another moment of the flood.
            watch = serving.watch("run", f"?since={since}&max_hz={rate}")
            spectators.append((watch, await watch.__aenter__()))
            assert (await spectators[-1][1].next())["data"]["event"] == "snapshot"
        last = await writing
        assert spectators
        for watch, spectator in spectators:
            told = await spectator.event("recovered")
            assert (told["recovered"], told["since"]) == (True, since)
            messages = await spectator.records(last)
            serving.contiguous(messages, since)
            if rate == 0:
                assert [m["seq"] for m in messages] == list(range(since + 1, last + 1))
            await watch.__aexit__(None, None, None)


async def test_resume_says_again_what_came_after(serving: Any) -> None:
    await serving.open_session("run")
    last = await serving.log("run", *range(1, 6))
    async with serving.watch("run", "?max_hz=0") as spectator:
        await spectator.next()
        await spectator.say(type="resume", since=last - 3)
        assert (await spectator.event("recovered"))["recovered"] is True
        messages = await spectator.records(last)
        assert [m["data"]["episode"] for m in messages] == [3, 4, 5]
        last = await serving.log("run", 6)
        assert [m["seq"] for m in await spectator.records(last)] == [last]


@pytest.mark.parametrize("query", ["?since=0", "?since=99999"])
async def test_what_cannot_be_recovered_is_said(make_house: Any, query: str) -> None:
    """Too long ago for the window, or of a life the session never had."""
    house = await make_house(serving=True, performance__metrics_history_size=100)
    await house.open_session("run")
    await flood(house, "run", 40)
    async with house.watch("run", query) as spectator:
        await spectator.next()
        told = await spectator.event("recovered")
        assert told["recovered"] is False
        last = await house.log("run", 1000)
        assert [m["seq"] for m in await spectator.records(last)] == [last]


async def test_subscriptions_narrow_and_widen(serving: Any) -> None:
    await serving.open_session("run")
    path = f"{SESSIONS}/run"
    async with serving.watch("run") as spectator:
        await spectator.next()
        await spectator.say(type="subscribe", message_types=["bot_decision"])
        assert (await spectator.event("subscribed"))["subscriptions"] == ["bot_decision"]
        await serving.log("run", 1)
        decided = await serving.ok("POST", f"{path}/bot_decision", json={"selected_action": 1})
        assert [m["seq"] for m in await spectator.records(decided["seq"])] == [decided["seq"]]
        await spectator.say(type="subscribe", message_types=["graph_update"])
        told = await spectator.event("subscribed")
        assert set(told["subscriptions"]) == {"bot_decision", "graph_update"}
        await spectator.say(type="unsubscribe", message_types=["bot_decision", "error"])
        assert (await spectator.event("subscribed"))["subscriptions"] == ["graph_update"]
        await serving.ok("POST", f"{path}/bot_decision", json={"selected_action": 2})
        drawn = await serving.ok("POST", f"{path}/graph_update", json={"graph_id": "g"})
        (message,) = await spectator.records(drawn["seq"])
        assert message["type"] == "graph_update"


async def test_a_change_of_rate_loses_nothing(serving: Any) -> None:
    await serving.open_session("run")
    async with serving.watch("run", "?max_hz=0.5") as spectator:
        start = (await spectator.next())["data"]["last_seq"]
        # The first goes out at once, the others wait for their turn, two seconds off.
        await serving.log("run", *range(1, 6))
        await spectator.say(type="set_rate", max_hz=0)
        found = []
        while True:
            message = await spectator.next()
            if message["seq"] is not None:
                found.append(message)
            elif message["data"].get("event") == "rate":
                assert message["data"]["max_hz"] == 0
                break
        last = await serving.log("run", 6, 7)
        while not found or found[-1]["seq"] < last:
            found.append(await spectator.until(lambda m: m["seq"] is not None))
    serving.contiguous(found, start)
    assert [m["data"]["episode"] for m in found[-2:]] == [6, 7]


async def test_ping_is_answered_with_its_id(serving: Any) -> None:
    await serving.open_session("run")
    async with serving.watch("run") as spectator:
        for ping_id in (7, "x", None, {"a": [1]}):
            await spectator.say(type="ping", id=ping_id)
            assert (await spectator.event("pong"))["id"] == ping_id


NONSENSE: list[tuple[str | bytes, str]] = [
    ("{", "malformed_json"),
    ("[" * 50_000, "malformed_json"),
    ("3", "bad_message"),
    ("[]", "bad_message"),
    ("{}", "bad_message"),
    ('{"type": 3}', "bad_message"),
    ('{"type": "dance"}', "unknown_type"),
    ('{"type": "subscribe"}', "bad_message_types"),
    ('{"type": "subscribe", "message_types": ["nothing"]}', "bad_message_types"),
    ('{"type": "subscribe", "message_types": [[]]}', "bad_message_types"),
    ('{"type": "resume", "since": -1}', "bad_since"),
    ('{"type": "resume", "since": true}', "bad_since"),
    ('{"type": "resume", "since": 1' + "0" * 30 + "}", "bad_since"),
    ('{"type": "set_rate", "max_hz": -1}', "bad_rate"),
    ('{"type": "set_rate", "max_hz": "fast"}', "bad_rate"),
    ('{"type": "set_rate", "max_hz": 1e9}', "bad_rate"),
    ("x" * 70_000, "bad_message"),
    (b"\x00\xff", "bad_message"),
]


async def test_nonsense_is_answered_and_the_socket_stays(serving: Any) -> None:
    await serving.open_session("run")
    async with serving.watch("run") as spectator:
        for text, code in NONSENSE:
            await spectator.socket.send(text)
            error = await spectator.until(lambda m: m["type"] == "error")
            assert (error["data"]["error"], error["seq"]) == (code, None), text[:40]
            assert error["data"]["message"]
        await spectator.say(type="ping", id=1)
        assert (await spectator.event("pong"))["id"] == 1


async def test_a_since_that_is_none_is_said(serving: Any) -> None:
    await serving.open_session("run")
    for since in ("-1", "x", "%C2%B2", "9" * 40, ""):
        async with serving.watch("run", f"?since={since}") as spectator:
            error = await spectator.until(lambda m: m["type"] == "error")
            assert error["data"]["error"] == "bad_since"
            last = await serving.log("run", 1)
            assert [m["seq"] for m in await spectator.records(last)] == [last]


async def test_no_session_no_seat(serving: Any) -> None:
    async with serving.watch("nobody") as spectator:
        code, reason = await spectator.closed()
    assert code == 4404
    assert "nobody" in reason


async def test_a_deleted_session_sends_everybody_away_for_good(serving: Any) -> None:
    await serving.open_session("run")
    async with serving.watch("run") as one, serving.watch("run", "?since=0") as two:
        await one.next()
        await two.next()
        await serving.ok("DELETE", f"{SESSIONS}/run", 204)
        assert (await one.closed())[0] == 4410
        assert (await two.closed())[0] == 4410


async def test_too_many_are_told_when_to_come_back(make_house: Any) -> None:
    house = await make_house(
        serving=True,
        performance__max_connections_per_session=1,
        performance__max_total_connections=2,
    )
    await house.open_session("run")
    await house.open_session("other")
    async with house.watch("run") as one:
        await one.next()
        async with house.watch("run") as refused:
            code, reason = await refused.closed()
            assert code == 4429
            assert reason[:1].isdigit()
        async with house.watch("other") as two:
            await two.next()
            async with house.watch("other") as refused:
                assert (await refused.closed())[0] == 4429
    # A seat that was given back can be taken again.

    async def free() -> bool:
        return bool((await house.ok("GET", "/status"))["connections"] == 0)

    await house.until(free)
    async with house.watch("run") as again:
        assert (await again.next())["data"]["event"] == "snapshot"


async def test_sockets_pass_the_same_doors(serving: Any) -> None:
    from websockets.asyncio.client import connect

    await serving.open_session("run")
    worker = await serving.managed()
    address = serving.url.replace("http", "ws", 1) + "/ws/run"
    for origin, query, expected in (
        ("https://evil.example", "", 4403),
        (None, "?token=nonsense", 4401),
        (None, f"?token={worker.token}", 4403),
    ):
        async with connect(address + query, origin=origin) as socket:  # type: ignore[arg-type]
            await asyncio.wait_for(socket.wait_closed(), 10)
        assert socket.close_code == expected


async def test_a_request_that_is_held_is_answered_when_the_server_leaves(house: Any) -> None:
    worker = await house.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    before = (await house.ok("GET", path))["last_seen_at"]
    body = {"wanted": "running", "wait_seconds": 20}
    held = asyncio.create_task(
        house.http.post(f"{path}/heartbeat", json=body, headers=worker.headers)
    )

    async def heard() -> bool:
        return bool((await house.ok("GET", path))["last_seen_at"] != before)

    await house.until(heard)
    assert not held.done()
    house.assembly.training.answer_held()
    answer = await asyncio.wait_for(held, 10)  # half of what it asked for
    assert answer.json()["wanted"] == "running"


async def test_a_server_that_leaves_is_not_healthy(house: Any) -> None:
    await house.ok("GET", "/health")
    await house.assembly.hub.see_out()
    assert (await house.ok("GET", "/health", 503))["error"] == "unavailable"


async def test_closing_the_server_asks_to_come_back(make_house: Any) -> None:
    house = await make_house(serving=True)
    await house.open_session("run")
    async with house.watch("run") as spectator:
        await spectator.next()
        await house.assembly.hub.aclose()
        assert (await spectator.closed())[0] == 1012


async def test_watchers_hear_that_a_lost_session_is_back(serving: Any) -> None:
    await serving.open_session("run")
    await serving.ok("PUT", f"{SESSIONS}/run", json={"status": "lost"})
    async with serving.watch("run") as spectator:
        assert (await spectator.next())["data"]["session"]["status"] == "lost"
        await serving.log("run", 1)
        told = await spectator.event("status")
        assert (told["status"], told["previous"]) == ("running", "lost")
