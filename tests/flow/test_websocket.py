"""WS /ws/{session_id}, under our protocol (frames straight to the transport) and under uvicorn's
own (a queue for each client): both keep the same promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from grandstand.live.outbox import SOFT_BYTES
from grandstand.model.telemetry import MESSAGE_TYPES

from .conftest import PATHS, SESSIONS, House, MakeHouse, Spectator, listening, until


async def greeted(spectator: Spectator) -> Any:
    message = await spectator.next()
    assert message["type"] == "connection_status"
    assert message["data"]["event"] == "snapshot"
    return message["data"]


async def answer(spectator: Spectator, **message: Any) -> Any:
    """What a client message is answered with; presence and records are left out."""
    await spectator.say(**message)
    return await spectator.until(lambda m: m["type"] in ("connection_status", "error"))


async def test_the_first_message_is_a_snapshot(live: House) -> None:
    await live.open_session(total_episodes=10)
    last = await live.log("run", 1, 2, 3)
    async with live.watch("run", "?user_name=Ann") as ann:
        message = await ann.next()
    assert (message["type"], message["session_id"], message["seq"]) == (
        "connection_status",
        "run",
        None,
    )
    assert message["timestamp"].endswith("Z")
    data = message["data"]
    assert (data["event"], data["status"], data["session_id"]) == ("snapshot", "connected", "run")
    assert data["connection_id"]
    assert data["last_seq"] == data["session"]["last_seq"] == last
    assert data["latest"] == data["session"]["latest"]
    assert data["latest"]["current_reward"] == 3.0
    assert data["session"]["total_episodes"] == 10
    assert data["session"]["spectator_count"] == 1
    assert set(data["subscriptions"]) == set(MESSAGE_TYPES)


async def test_every_type_arrives_in_order_as_it_was_reported(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        await greeted(spectator)
        decision = {"action_probabilities": {"a": 1.0}, "selected_action": "a"}
        at = "2026-05-01T10:00:00Z"
        graph = {"graph_id": "g", "data_points": {"m": [{"timestamp": at, "value": 2.0}]}}
        await live.ok("POST", f"{SESSIONS}/run/bot_decision", json=decision)
        await live.ok("POST", f"{SESSIONS}/run/graph_update", json=graph)
        metrics = {"episode": 4, "timestamp": at, "loss_value": "NaN"}
        await live.ok("POST", f"{SESSIONS}/run/metrics", json=metrics)
        await live.batch("run", [{"type": "training_status", "data": {"event": "phase", "n": 1}}])
        heard = await spectator.records(5)
    assert [m["type"] for m in heard] == [
        "bot_decision",
        "graph_update",
        "training_metrics",
        "training_status",
    ]
    assert [m["seq"] for m in heard] == [2, 3, 4, 5]
    assert heard[0]["data"] == decision
    assert heard[1]["data"] == graph
    assert heard[2]["data"] == metrics
    assert heard[2]["timestamp"] == at
    assert heard[3]["data"] == {"event": "phase", "n": 1}


async def test_a_burst_is_thinned_and_says_so(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        await greeted(spectator)
        last = await live.log("run", *range(1, 60))
        heard = await spectator.records(last)
    live.contiguous(heard, after=1)
    assert len(heard) < 40


async def test_rate_zero_hears_every_row(live: House) -> None:
    await live.open_session()
    async with live.watch("run", "?max_hz=0") as spectator:
        assert (await greeted(spectator))["max_hz"] == 0
        columns = {"episode": list(range(1, 301)), "current_reward": [0.5] * 300}
        await live.batch("run", [{"type": "training_metrics", "columns": columns}])
        last = await live.log("run", *range(301, 320))
        heard = await spectator.records(last)
        assert [m["seq"] for m in heard] == list(range(2, last + 1))
        assert [m["data"]["episode"] for m in heard] == list(range(1, 320))
        said = await answer(spectator, type="set_rate", max_hz=5)
        assert said["data"] == {"event": "rate", "status": "connected", "max_hz": 5.0}
        again = await live.log("run", *range(320, 380))
        heard = await spectator.records(again)
        live.contiguous(heard, after=last)
        assert len(heard) < 30


async def test_one_who_comes_back_gets_exactly_what_was_missed(live: House) -> None:
    await live.open_session()
    await live.log("run", *range(1, 21))
    async with live.watch("run", "?since=5") as spectator:
        await greeted(spectator)
        recovered = (await spectator.next())["data"]
        assert recovered == {
            "event": "recovered",
            "status": "connected",
            "recovered": True,
            "since": 5,
            "last_seq": 21,
        }
        heard = await spectator.records(21)
        assert [m["seq"] for m in heard] == list(range(6, 22))
        assert [m["data"]["episode"] for m in heard] == list(range(5, 21))
        await live.log("run", 21)
        assert [m["seq"] for m in await spectator.records(22)] == [22]

        await spectator.say(type="resume", since=20)
        assert (await spectator.event("recovered"))["recovered"] is True
        assert [m["seq"] for m in await spectator.records(22)] == [21, 22]
        await spectator.say(type="resume", since=999)
        assert (await spectator.event("recovered"))["recovered"] is False


async def test_records_that_arrive_during_the_replay_come_once(live: House) -> None:
    await live.open_session()
    rows = [{"type": "training_metrics", "data": {"episode": i}} for i in range(4000)]
    await live.batch("run", rows)
    stop = asyncio.Event()
    last = 0

    async def report() -> None:
        nonlocal last
        episode = 4000
        while not stop.is_set():
            episode += 1
            last = await live.log("run", episode)

    reporting = asyncio.create_task(report())
    try:
        watchers = []
        async with contextlib.AsyncExitStack() as stack:
            for i in range(6):
                query = f"?since={i * 500}&max_hz={0 if i % 2 else 10}"
                watchers.append(await stack.enter_async_context(live.watch("run", query)))
            heard = await asyncio.gather(*(w.records(4040) for w in watchers))
            stop.set()
            await reporting
            await live.batch("run", [{"type": "training_status", "data": {"event": "end"}}])
            for i, watcher in enumerate(watchers):
                await live.ok("GET", "/health")
                more = heard[i] + await watcher.records(last + 1)
                live.contiguous(more, after=i * 500)
    finally:
        stop.set()
        await reporting


async def test_subscriptions_narrow_widen_and_are_answered(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        await greeted(spectator)
        said = await answer(spectator, type="subscribe", message_types=["bot_decision"])
        assert said["type"] == "connection_status"
        assert said["data"]["event"] == "subscribed"
        assert said["data"]["subscriptions"] == ["bot_decision"]
        said = await answer(spectator, type="subscribe", message_types=["training_status"])
        assert said["data"]["subscriptions"] == ["bot_decision", "training_status"]
        await live.log("run", 1, 2)
        await live.batch("run", [{"type": "training_status", "data": {"event": "phase"}}])
        assert [m["type"] for m in await spectator.records(4)] == ["training_status"]
        said = await answer(spectator, type="unsubscribe", message_types=["training_status"])
        assert said["data"]["subscriptions"] == ["bot_decision"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not json", "malformed_json"),
        ("[]", "bad_message"),
        ("3", "bad_message"),
        ("{}", "bad_message"),
        ('{"type": null}', "bad_message"),
        ('{"type": "dance"}', "unknown_type"),
        ('{"type": "subscribe"}', "bad_message_types"),
        ('{"type": "subscribe", "message_types": ["nope"]}', "bad_message_types"),
        ('{"type": "subscribe", "message_types": [[]]}', "bad_message_types"),
        ('{"type": "unsubscribe", "message_types": {}}', "bad_message_types"),
        ('{"type": "resume"}', "bad_since"),
        ('{"type": "resume", "since": -1}', "bad_since"),
        ('{"type": "resume", "since": true}', "bad_since"),
        ('{"type": "resume", "since": 1e300}', "bad_since"),
        ('{"type": "set_rate", "max_hz": "fast"}', "bad_rate"),
        ('{"type": "set_rate", "max_hz": -1}', "bad_rate"),
        ('{"type": "set_rate", "max_hz": NaN}', "malformed_json"),
        ('{"type": "set_rate", "max_hz": 1e9}', "bad_rate"),
        ("[" * 5000, "malformed_json"),
        ('{"type": "ping", "id": "' + "x" * 70_000 + '"}', "bad_message"),
        (b"\x00\x01", "bad_message"),
    ],
)
async def test_nonsense_is_answered_with_an_error_and_the_socket_stays(
    live: House, text: str | bytes, code: str
) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        await greeted(spectator)
        await spectator.socket.send(text)
        message = await spectator.until(lambda m: m["type"] == "error")
        assert message["seq"] is None
        assert message["session_id"] == "run"
        data = message["data"]
        assert data["error"] == code
        assert data["message"]
        assert set(data) == {"error", "message", "detail", "details", "timestamp"}
        pong = await answer(spectator, type="ping", id=7)
        assert pong["data"] == {"event": "pong", "status": "connected", "id": 7}


async def test_a_since_that_is_none_is_said_and_the_socket_stays(live: House) -> None:
    await live.open_session()
    for told in ("soon", "-1", "9" * 40):
        async with live.watch("run", f"?since={told}&max_hz=x") as spectator:
            codes = set()
            while len(codes) < 2:
                codes.add((await spectator.until(lambda m: m["type"] == "error"))["data"]["error"])
            assert codes == {"bad_since", "bad_rate"}
            seq = await live.log("run", 1)
            assert (await spectator.records(seq))[-1]["seq"] == seq


async def test_a_session_that_is_not_there(live: House) -> None:
    async with live.watch("nobody") as spectator:
        code, reason = await spectator.closed()
    assert code == 4404
    assert "nobody" in reason
    assert live.assembly.hub.connections == 0


async def test_a_deleted_session_closes_with_4410(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        await greeted(spectator)
        await live.ok("DELETE", f"{SESSIONS}/run", 204)
        code, reason = await spectator.closed()
    assert (code, reason) == (4410, "the session was deleted")


async def test_a_foreign_page_is_closed_with_4403(live: House) -> None:
    await live.open_session()
    address = live.url.replace("http", "ws", 1) + "/ws/run"
    async with connect(address, origin="https://evil.example") as socket_:  # type: ignore[arg-type]
        code, _ = await Spectator(socket_).closed()
    assert code == 4403
    own = live.url
    async with connect(address, origin=own) as socket_:  # type: ignore[arg-type]
        await greeted(Spectator(socket_))


async def test_presence_is_counted_and_told(live: House) -> None:
    await live.open_session()
    async with live.watch("run", "?user_name=Ann") as ann:
        await greeted(ann)
        async with live.watch("run", "?user_name=B%0Ao%00b" + "x" * 100) as bob:
            await greeted(bob)
            assert (await live.ok("GET", f"{SESSIONS}/run"))["spectator_count"] == 2
            told = await ann.event("presence")
            assert told["spectator_count"] == 2
            assert told["spectators"][0] == "Ann"
            assert len(told["spectators"][1]) == 64
            assert told["spectators"][1].startswith("Bobx")
        told = await ann.event("presence")
        assert (told["spectator_count"], told["action"]) == (1, "left")
    assert (await live.ok("GET", f"{SESSIONS}/run"))["spectator_count"] == 0


@pytest.mark.parametrize("path", PATHS)
async def test_too_many_spectators_are_asked_to_come_back(make_house: MakeHouse, path: str) -> None:
    house = await make_house(
        performance__max_connections_per_session=2, performance__max_total_connections=3
    )
    async with listening(house, PATHS[path]), contextlib.AsyncExitStack() as stack:
        await house.open_session("a")
        await house.open_session("b")
        for session_id in ("a", "a", "b"):
            await greeted(await stack.enter_async_context(house.watch(session_id)))
        for session_id in ("a", "b"):
            async with house.watch(session_id) as refused:
                code, reason = await refused.closed()
            assert code == 4429
            assert reason.split()[0] == "10"
        assert house.assembly.hub.connections == 3


@pytest.mark.parametrize("path", PATHS)
async def test_one_who_never_reads_is_let_go_and_harms_nobody(
    make_house: MakeHouse, path: str
) -> None:
    house = await make_house()
    house.assembly.hub.stale_seconds = 1.0
    async with listening(house, PATHS[path]):
        await house.open_session()
        host, port = house.url.removeprefix("http://").split(":")
        # A plain socket, so that nothing reads behind our back.
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(stuck, (host, int(port)))
        await loop.sock_sendall(
            stuck,
            f"GET /ws/run HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode(),
        )
        with stuck:
            async with house.watch("run") as reader:
                await greeted(reader)

                async def both_are_here() -> bool:
                    return house.assembly.hub.watching("run") == 2

                await until(both_are_here)
                text = "x" * 20_000
                events = [{"type": "training_status", "data": {"event": "n", "t": text}}] * 10
                seats = house.assembly.hub._stands["run"].seats
                last = heard = 1
                # The kernel takes megabytes where nobody forbids it, so: until somebody is full.
                while max(seat.outbox.waiting() for seat in seats) < SOFT_BYTES:
                    last = (await house.batch("run", events))["last_seq"]
                    house.contiguous(await reader.records(last), after=heard)
                    heard = last
                assert max(seat.outbox.waiting() for seat in seats) <= 1 << 20
                last = (await house.batch("run", events))["last_seq"]  # one more than it takes
                house.contiguous(await reader.records(last), after=heard)

                async def one_is_left() -> bool:
                    return house.assembly.hub.connections == 1

                await until(one_is_left)
                await house.log("run", 1)
                assert (await reader.records(last + 1))[-1]["seq"] == last + 1


async def test_closing_says_come_back(make_house: MakeHouse) -> None:
    house = await make_house(serving=True)
    await house.open_session()
    async with house.watch("run") as spectator:
        await greeted(spectator)
        closing = asyncio.create_task(house.assembly.hub.aclose())
        code, reason = await spectator.closed()
        assert (code, reason) == (1012, "the server is restarting")
        await asyncio.wait_for(closing, 2)


async def test_compression_is_never_agreed_to(live: House) -> None:
    """Frames are shared between clients; compressed ones could not be."""
    await live.open_session()
    address = live.url.replace("http", "ws", 1) + "/ws/run"
    async with connect(address) as spectator:
        data = json.loads(await spectator.recv())
        assert data["data"]["event"] == "snapshot"
        last = await live.log("run", *range(1, 20))
        await Spectator(spectator).records(last)


async def test_a_socket_to_nowhere_is_refused(live: House) -> None:
    address = live.url.replace("http", "ws", 1) + "/nowhere"
    with pytest.raises(InvalidStatus):
        async with connect(address):
            pass


async def test_tokens_stay_out_of_the_log(serving: House, caplog: pytest.LogCaptureFixture) -> None:
    await serving.open_session()
    token = serving.assembly.access.worker_token(session_id="run")
    with caplog.at_level("DEBUG"):
        async with serving.watch("run", f"?token={token}") as spectator:
            await greeted(spectator)
        async with serving.watch("run", "?token=forged.token.here") as spectator:
            assert (await spectator.closed())[0] == 4401
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("uvicorn"))
    assert "/ws/run" in ours
    assert token not in ours
    assert "forged" not in ours
