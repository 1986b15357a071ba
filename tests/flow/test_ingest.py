"""WS /ws/{session_id}/ingest: all that is acknowledged is stored, in order, once; both ways in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .conftest import BOUND_SECONDS, PATHS, SESSIONS, House, MakeHouse, listening


def metric(episode: int, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


class Reporter:
    """A reporter's socket and what it was told."""

    def __init__(self, connection: ClientConnection) -> None:
        self.socket = connection
        self.acks: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []

    async def send(self, *frames: Any) -> None:
        for frame in frames:
            raw = isinstance(frame, (str, bytes))
            await self.socket.send(frame if raw else json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), BOUND_SECONDS))
        (self.errors if "error" in told else self.acks).append(told)
        return told

    async def until(self, *, frames: int | None = None, acked: int | None = None) -> dict[str, Any]:
        """The acknowledgement that reaches so many frames or records."""
        while True:
            told = await self.hear()
            if "error" in told:
                continue
            if told["frames"] >= (frames or 0) and told["acked"] >= (acked or 0):
                return told

    async def closed(self) -> tuple[int, str]:
        async with asyncio.timeout(BOUND_SECONDS):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.hear()
            await self.socket.wait_closed()
        return self.socket.close_code or 0, self.socket.close_reason or ""


@contextlib.asynccontextmanager
async def reporting(
    house: House, session_id: str = "run", token: str | None = None
) -> AsyncIterator[Reporter]:
    address = house.url.replace("http", "ws", 1) + f"/ws/{session_id}/ingest"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with connect(address, compression=None, additional_headers=headers) as connection:
        yield Reporter(connection)


async def stored(house: House, session_id: str = "run", **query: Any) -> list[int]:
    page = await house.history(session_id, type="training_metrics", limit=10_000, **query)
    return [item["episode"] for item in page["metrics_data"]]


async def test_a_record_a_frame_is_acknowledged_once_it_is_stored(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        for episode in range(1, 4):
            await reporter.send(metric(episode))
            told = await reporter.until(acked=episode)
            assert told == {"acked": episode, "frames": episode, "last_seq": 1 + episode}
            assert await stored(live) == list(range(1, episode + 1))


async def test_many_frames_are_acknowledged_together_and_stored_in_order(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        await reporter.send(*[metric(i) for i in range(3000)])
        told = await reporter.until(acked=3000)
    assert told["last_seq"] == 3001
    counts = [ack["acked"] for ack in reporter.acks]
    assert counts == sorted(set(counts))
    assert len(counts) < 1000
    assert await stored(live) == list(range(3000))


async def test_every_shape_of_frame(live: House) -> None:
    await live.open_session()
    columns = {"type": "training_metrics", "columns": {"episode": [5, 6, 7]}}
    async with reporting(live) as reporter:
        await reporter.send(
            metric(1),
            json.dumps(metric(2)).encode(),  # as a binary frame
            [metric(3), {"type": "bot_decision", "data": {"selected_action": "buy"}}],
            '{"type": "training_metrics", "data": {"episode": 4, "loss_value": NaN}}',
            columns,
            {"records": [metric(8)], "batch_id": "b"},
            {"type": "training_status", "data": {"event": "lesson"}},
            [],
        )
        told = await reporter.until(frames=8)
    assert (told["acked"], told["last_seq"]) == (10, 11)
    assert await stored(live) == list(range(1, 9))
    page = await live.history("run", type="training_status,training_metrics,bot_decision")
    assert page["metrics_data"][3]["loss_value"] == "NaN"
    assert page["events"][-1]["event"] == "lesson"
    assert [d["seq"] for d in page["bot_decisions"]] == [5]


async def test_a_fragmented_message_is_one_frame(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:

        async def pieces() -> AsyncIterator[str]:
            for piece in ('{"type": "training_', 'metrics", "data": {"epi', 'sode": 9}}'):
                yield piece

        await reporter.send(metric(1))
        await reporter.socket.send(pieces())
        await reporter.send(metric(2))
        told = await reporter.until(frames=3)
        await (await reporter.socket.ping())
    assert told["acked"] == 3
    assert await stored(live) == [1, 9, 2]


@pytest.mark.parametrize(
    ("frame", "code", "field"),
    [
        ("{", "malformed_json", None),
        ('"text"', "validation_failed", None),
        ({"type": "training_metrics", "data": {"episode": -1}}, "validation_failed", "episode"),
        ({"type": "training_metrics", "data": {"episode": 1, "x": 2}}, "validation_failed", "x"),
        ({"type": "nothing", "data": {}}, "validation_failed", "type"),
        ([metric(1), {"type": "training_metrics"}], "validation_failed", "[1]"),
        ({"records": [metric(1), metric(-1)]}, "validation_failed", "records[1]"),
        ({"records": 5}, "validation_failed", "records"),
    ],
)
async def test_a_refused_frame_is_answered_and_the_others_go_on(
    live: House, frame: Any, code: str, field: str | None
) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        await reporter.send(metric(1), frame, metric(2))
        told = await reporter.until(frames=3)
    (error,) = reporter.errors
    assert (error["error"], error["at"]) == (code, 2)
    assert {"message", "detail", "details", "timestamp"} <= error.keys()
    if field is not None:
        assert field in error["message"]
    assert (told["acked"], told["frames"]) == (2, 3)
    assert await stored(live) == [1, 2]


async def test_what_is_sent_again_is_stored_once(live: House) -> None:
    """After a broken connection a client sends again what was not acknowledged."""
    await live.open_session()
    frames = [
        {**metric(1), "key": "k1"},
        {"records": [metric(2), metric(3)], "batch_id": "b1"},
        [{**metric(4), "key": "k2"}, {**metric(5), "key": "k3"}],
    ]
    for _ in range(2):
        async with reporting(live) as reporter:
            await reporter.send(*frames)
            told = await reporter.until(frames=3)
        assert told["acked"] == 5
    assert await stored(live) == [1, 2, 3, 4, 5]


async def test_warnings_come_with_the_acknowledgement(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        odd = {"type": "bot_decision", "data": {"action_probabilities": {"a": 0.2}}}
        await reporter.send(odd)
        told = await reporter.until(frames=1)
    assert "0.2" in told["warnings"][0]


async def test_watchers_hear_of_it_in_order(live: House) -> None:
    await live.open_session()
    async with live.watch("run", "?max_hz=0") as spectator, reporting(live) as reporter:
        await reporter.send(*[metric(i) for i in range(500)])
        await reporter.until(acked=500)
        heard = await spectator.records(501)
    assert [m["seq"] for m in heard] == list(range(2, 502))
    assert [m["data"]["episode"] for m in heard] == list(range(500))


async def test_doors(live: House) -> None:
    await live.open_session()
    async with reporting(live, "nobody") as reporter:
        assert (await reporter.closed())[0] == 4404
    async with reporting(live, token="nonsense") as reporter:
        assert (await reporter.closed())[0] == 4401
    other = live.assembly.access.worker_token(session_id="another", attempt=1)
    async with reporting(live, token=other) as reporter:
        assert (await reporter.closed())[0] == 4403
    address = live.url.replace("http", "ws", 1) + "/ws/run/ingest"
    foreign = {"Origin": "http://elsewhere.example"}
    async with connect(address, additional_headers=foreign) as visitor:
        with pytest.raises(ConnectionClosed):
            await visitor.recv()
        assert visitor.close_code == 4403


async def test_an_older_attempt_is_told_to_leave(live: House) -> None:
    worker = await live.managed()
    async with reporting(live, worker.session_id, worker.token) as reporter:
        await reporter.send(metric(1))
        await reporter.until(acked=1)
        finish = f"{SESSIONS}/{worker.session_id}/finish"
        await live.ok("POST", finish, json={"status": "released"}, headers=worker.headers)
        newer = await live.claim(worker.session_id)
        await reporter.send(metric(2))
        code, reason = await reporter.closed()
    assert code == 4409
    assert "superseded" in reason
    assert reporter.errors[-1]["error"] == "attempt_superseded"
    async with reporting(live, worker.session_id, worker.token) as reporter:
        assert (await reporter.closed())[0] == 4409
    async with reporting(live, worker.session_id, newer.token) as reporter:
        await reporter.send(metric(2))
        await reporter.until(acked=1)


async def test_an_ended_session_takes_no_more(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        await reporter.send(metric(1))
        await reporter.until(acked=1)
        await live.ok("PUT", f"{SESSIONS}/run", json={"status": "completed"})
        await reporter.send(metric(2))
        assert (await reporter.closed())[0] == 4409
    assert reporter.errors[-1]["error"] == "session_ended"
    assert await stored(live) == [1]


async def test_a_session_deleted_meanwhile_closes_it(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        await reporter.send(metric(1))
        await reporter.until(acked=1)
        await live.ok("DELETE", f"{SESSIONS}/run", 204)
        assert (await reporter.closed())[0] == 4410


@pytest.mark.parametrize("way", PATHS)
async def test_a_server_that_stops_answers_what_it_took(make_house: MakeHouse, way: str) -> None:
    house = await make_house()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(listening(house, PATHS[way]))
        await house.open_session()
        reporter = await stack.enter_async_context(reporting(house))
        await reporter.send(*[metric(i) for i in range(200)])
        await reporter.hear()
        closing = asyncio.create_task(house.assembly.hub.aclose())
        code, _ = await reporter.closed()
        await closing
        assert code == 1012
        acked = reporter.acks[-1]["acked"]
        assert await stored(house) == list(range(acked))


async def test_what_waits_is_bounded(live: House) -> None:
    """A store that is slow holds the reporter up, not the server's memory."""
    await live.open_session()
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stuck(_: Any) -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()

    holding = asyncio.create_task(live.assembly.database.write(stuck))
    async with reporting(live) as reporter:
        big = metric(1, extra={f"metric/{i}": i / 7 for i in range(300)})
        text = json.dumps(big)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while True:
                await reporter.socket.send(text)
                sent += 1

        flooding = asyncio.create_task(flood())
        before = -1
        async with asyncio.timeout(BOUND_SECONDS):
            while sent != before:  # until sending waits
                before = sent
                await asyncio.sleep(0.05)
        # What the server holds, both kernels, and the client's own buffer.
        assert sent * len(text) < 24 * 1024 * 1024
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        gate.set()
        await holding
        told = await reporter.until(acked=sent - 1)
        assert told["acked"] >= sent - 1


async def test_what_the_store_refuses_is_refused_alone(live: House) -> None:
    """A key no database holds, a status no worker reports: their neighbours are stored."""
    worker = await live.managed()
    async with reporting(live, worker.session_id, worker.token) as reporter:
        await reporter.send(
            metric(1),
            {**metric(2), "key": "a\0b"},
            {"type": "training_status", "data": {"event": "status", "status": "completed"}},
            {"type": "training_status", "data": {"event": "status", "status": "running"}},
            metric(3),
        )
        told = await reporter.until(frames=5)
    assert (told["acked"], told["frames"]) == (3, 5)
    assert [(e["at"], e["error"]) for e in reporter.errors] == [
        (2, "validation_failed"),
        (3, "validation_failed"),
    ]
    assert await stored(live, worker.session_id) == [1, 3]


@pytest.mark.parametrize("way", PATHS)
async def test_a_frame_too_large_is_refused_and_one_far_too_large_closes(
    make_house: MakeHouse, way: str
) -> None:
    house = await make_house(performance__max_body_bytes=64 * 1024)
    async with listening(house, PATHS[way]):
        await house.open_session()
        async with reporting(house) as reporter:
            large = metric(2, extra={"x" * 200 + str(i): i for i in range(500)})
            await reporter.send(metric(1), large, metric(3))
            told = await reporter.until(frames=3)
            assert (told["acked"], reporter.errors[0]["error"]) == (2, "body_too_large")
            assert reporter.errors[0]["details"] == {"limit": 64 * 1024}
            with contextlib.suppress(ConnectionClosed):
                await reporter.send("x" * (17 << 20))
            assert (await reporter.closed())[0] == 1009
        assert await stored(house) == [1, 3]


async def test_text_that_is_not_utf8_closes(live: House) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        await reporter.send(metric(1))
        await reporter.until(acked=1)
        broken = json.dumps(metric(2, algorithm="x")).encode().replace(b'"x"', b'"\xff"')
        await reporter.socket.send(broken, text=True)
        assert (await reporter.closed())[0] == 1007
    assert await stored(live) == [1]


async def test_a_reporter_that_leaves_without_waiting_has_reported_all_the_same(
    live: House,
) -> None:
    await live.open_session()
    async with reporting(live) as reporter:
        await reporter.send(*[metric(i) for i in range(300)])

    async def all_of_it() -> bool:
        return len(await stored(live)) == 300

    await live.until(all_of_it)


@pytest.mark.parametrize("way", PATHS)
async def test_one_who_reads_no_answers_is_let_go(make_house: MakeHouse, way: str) -> None:
    house = await make_house()
    house.assembly.hub.stale_seconds = 0.5
    async with listening(house, PATHS[way]):
        await house.open_session()
        host, port = house.url.removeprefix("http://").split(":")
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (host, int(port)))
        with deaf:
            await loop.sock_sendall(
                deaf,
                f"GET /ws/run/ingest HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n".encode(),
            )
            await loop.sock_recv(deaf, 4)
            bad = b"\x81\x82\0\0\0\0{}" * 4000  # each is refused in some 200 bytes

            async def flood() -> None:
                while True:
                    await loop.sock_sendall(deaf, bad)

            flooding = asyncio.create_task(flood())

            async def gone() -> bool:
                return house.assembly.hub.connections == 0

            async def here() -> bool:
                return house.assembly.hub.connections == 1

            await house.until(here)
            await house.until(gone)
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)


async def test_connections_count_and_are_given_back(make_house: MakeHouse) -> None:
    house = await make_house(serving=True, performance__max_total_connections=1)
    await house.open_session()
    async with reporting(house) as reporter:
        await reporter.send(metric(1))
        await reporter.until(acked=1)
        async with reporting(house) as second:
            code, reason = await second.closed()
            assert code == 4429
            assert reason[0].isdigit()

    async def given_back() -> bool:
        return house.assembly.hub.connections == 0

    await house.until(given_back)
    assert (await house.ok("GET", f"{SESSIONS}/run"))["spectator_count"] == 0
