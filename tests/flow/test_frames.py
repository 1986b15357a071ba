"""Frames of the agent at play, from a reporter to those who look, over both ways out."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection

from grandstand.client.client import Client
from grandstand.clock import ManualClock
from grandstand.live.outbox import SOFT_BYTES
from grandstand.model.frames import FRAMES_PER_SECOND, MAX_FRAME_BYTES

from .conftest import BOUND_SECONDS, SESSIONS, House, MakeHouse, until

JPEG = {"Content-Type": "image/jpeg"}
WEBP = {"Content-Type": "image/webp"}
FRAME = f"{SESSIONS}/run/frame"


def jpeg(name: str = "", size: int = 64) -> bytes:
    """Bytes that begin as a JPEG does and say `name`."""
    return (b"\xff\xd8\xff\xe0" + name.encode()).ljust(size, b".")


async def put(house: House, image: bytes, path: str = FRAME, **query: Any) -> bool:
    told = await house.ok("PUT", path, 202, content=image, headers=JPEG, params=query)
    assert told.keys() == {"accepted"}
    return bool(told["accepted"])


async def over_tcp(house: House, content: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=house.url) as client:
        return await client.put(FRAME, content=content, headers=JPEG)


def split(message: bytes) -> tuple[Any, bytes]:
    """Header and image of a binary message."""
    end = 4 + int.from_bytes(message[:4], "big")
    return msgspec.json.decode(message[4:end]), message[end:]


async def receive(socket: ClientConnection) -> Any:
    """The next message: a dictionary, or a pair of header and image."""
    message = await asyncio.wait_for(socket.recv(), BOUND_SECONDS)
    return split(message) if isinstance(message, bytes) else json.loads(message)


async def next_frame(socket: ClientConnection) -> tuple[Any, bytes]:
    while not isinstance(message := await receive(socket), tuple):
        pass
    return message


async def subscribe(socket: ClientConnection, *types: str, kind: str = "subscribe") -> list[str]:
    """Say it and return the subscriptions of the answer."""
    await socket.send(json.dumps({"type": kind, "message_types": types}))
    while True:
        message = await receive(socket)
        if isinstance(message, dict) and message["data"].get("event") == "subscribed":
            return list(message["data"]["subscriptions"])


async def test_one_who_asked_sees_it_and_one_who_did_not_does_not(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as ann, live.watch("run") as bo:
        types = await subscribe(ann.socket, "frame")
        assert types[-1] == "frame"
        assert len(types) == 7  # everything else still comes
        image = jpeg("hello", 100_000)
        assert await put(live, image, episode=3, step=412, **{"return": 17.5})
        header, got = await next_frame(ann.socket)
        assert got == image
        assert header.pop("timestamp").endswith("Z")
        assert header == {
            "type": "frame",
            "session_id": "run",
            "episode": 3,
            "step": 412,
            "return": 17.5,
            "media_type": "image/jpeg",
        }
        last = await live.log("run", 1)
        assert [m["seq"] for m in await ann.records(last)] == [last]
        # A binary message would not be JSON.
        assert [m["seq"] for m in await bo.records(last)] == [last]


async def test_one_who_asks_later_sees_the_newest_at_once(live: House) -> None:
    await live.open_session()
    await put(live, jpeg("a"))
    await put(live, jpeg("b"))
    async with live.watch("run") as spectator:
        await subscribe(spectator.socket, "frame")
        header, image = await next_frame(spectator.socket)
        assert image == jpeg("b")
        assert (header["episode"], header["step"], header["return"]) == (None, None, None)
        types = await subscribe(spectator.socket, "frame", kind="unsubscribe")
        assert "frame" not in types
        assert len(types) == 6
        await put(live, jpeg("c"))
        last = await live.log("run", 1)
        assert [m["seq"] for m in await spectator.records(last)] == [last]


async def test_frames_and_other_types_are_wished_for_together(live: House) -> None:
    await live.open_session()
    async with live.watch("run") as spectator:
        say = spectator.socket
        assert await subscribe(say, "bot_decision", "frame") == ["bot_decision", "frame"]
        assert await subscribe(say, "training_status") == [
            "bot_decision",
            "training_status",
            "frame",
        ]
        gone = await subscribe(say, "frame", "bot_decision", kind="unsubscribe")
        assert gone == ["training_status"]
        await spectator.say(type="subscribe", message_types=["frame", "nope"])
        refused = await spectator.until(lambda m: m["type"] == "error")
        assert refused["data"]["error"] == "bad_message_types"
        assert "frame" in refused["data"]["detail"]


async def test_nothing_is_lost_or_out_of_order_beside_frames(live: House) -> None:
    await live.open_session()
    stop = asyncio.Event()

    async def film() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await put(live, jpeg(str(number), MAX_FRAME_BYTES), episode=number)

    async def look(query: str, frames: bool) -> tuple[list[Any], list[int]]:
        """What one hears up to the end of the run: records, and episodes of frames."""
        records: list[Any] = []
        episodes: list[int] = []
        async with live.watch("run", query) as spectator:
            if frames:
                await subscribe(spectator.socket, "frame")
            ready.append(None)
            while not records or records[-1]["data"].get("event") != "end":
                message = await receive(spectator.socket)
                if isinstance(message, tuple):
                    episodes.append(message[0]["episode"])
                    assert len(message[1]) == MAX_FRAME_BYTES
                elif message["seq"] is not None:
                    records.append(message)
        return records, episodes

    ready: list[None] = []
    looking = [
        asyncio.create_task(look(query, frames))
        for query in ("?max_hz=0", "")
        for frames in (True, False)
    ]

    async def all_there() -> bool:
        return len(ready) == len(looking)

    await until(all_there)
    filming = asyncio.create_task(film())
    try:
        for i in range(0, 200, 2):
            rows = [{"type": "training_metrics", "data": {"episode": i + k}} for k in (0, 1)]
            await live.batch("run", rows)
    finally:
        stop.set()
        await filming
    await live.batch("run", [{"type": "training_status", "data": {"event": "end"}}])
    heard = await asyncio.gather(*looking)
    for (records, episodes), frames in zip(heard, (True, False) * 2, strict=True):
        live.contiguous(records, after=1)
        assert bool(episodes) is frames
        assert episodes == sorted(set(episodes))
    for records, _ in heard[:2]:
        assert [r["seq"] for r in records] == list(range(2, 203))


async def test_a_slow_one_gets_the_newest_frame_and_every_record(live: House) -> None:
    await live.open_session()
    async with live.watch("run", "?max_hz=0") as slow:
        await subscribe(slow.socket, "frame")
        slow.socket.transport.pause_reading()
        (seat,) = live.assembly.hub._stands["run"].seats
        note = {"type": "training_status", "data": {"event": "note", "pad": "x" * SOFT_BYTES}}
        while seat.following is None:  # the kernels hold some megabytes
            last = (await live.batch("run", [note]))["last_seq"]
        sent = 0
        while sent < 15:
            sent += await put(live, jpeg(str(sent), 100_000), episode=sent)
        slow.socket.transport.resume_reading()
        seqs: list[int] = []
        images: list[bytes] = []
        while not (images and seqs and seqs[-1] == last):
            message = await receive(slow.socket)
            if isinstance(message, tuple):
                images.append(message[1])
            elif message["seq"] is not None:
                seqs.append(message["seq"])
        assert seqs == list(range(2, last + 1))
        assert images == [jpeg("14", 100_000)]


async def test_the_newest_and_the_best_are_kept(house: House) -> None:
    await house.open_session()
    for which in ("latest", "best"):
        told = await house.ok("GET", FRAME, 404, params={"which": which})
        assert told["error"] == "frame_not_found"
    assert (await house.ok("GET", f"{SESSIONS}/nobody/frame", 404))["error"] == "session_not_found"
    for name, episode, value in (("a", 1, 3.0), ("b", 1, 9.0), ("c", 2, 1.0), ("d", 3, 0.5)):
        await put(house, jpeg(name), episode=episode, step=7, **{"return": value})
    newest = await house.http.get(FRAME)
    assert (newest.status_code, newest.content) == (200, jpeg("d"))
    told = newest.headers
    assert (told["content-type"], told["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert (told["x-episode"], told["x-step"], told["x-return"]) == ("3", "7", "0.5")
    assert told["last-modified"].endswith("GMT")
    assert told["cache-control"] == "no-cache"
    again = await house.http.get(FRAME, headers={"If-None-Match": told["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    best = await house.http.get(FRAME, params={"which": "best"})
    assert (best.content, best.headers["x-episode"]) == (jpeg("b"), "1")
    assert best.headers["etag"] != told["etag"]
    await house.ok("GET", FRAME, 422, params={"which": "worst"})
    await house.ok("DELETE", f"{SESSIONS}/run", 204)
    await house.open_session()
    await house.ok("GET", FRAME, 404)


async def test_webp_is_taken_and_unsaid_numbers_stay_unsaid(house: House) -> None:
    await house.open_session()
    image = b"RIFF\x10\x00\x00\x00WEBPVP8 ...."
    await house.ok("PUT", FRAME, 202, content=image, headers=WEBP)
    newest = await house.http.get(FRAME)
    assert (newest.content, newest.headers["content-type"]) == (image, "image/webp")
    assert not {"x-episode", "x-step", "x-return"} & set(newest.headers)


@pytest.mark.parametrize(
    ("media", "image", "error"),
    [
        ("image/png", b"\x89PNG\r\n\x1a\n....", "unsupported_media_type"),
        ("image/jpeg", b"\x89PNG\r\n\x1a\n....", "unsupported_media_type"),
        ("image/webp", jpeg(), "unsupported_media_type"),
        ("image/jpeg", b"<script>alert(1)</script>", "unsupported_media_type"),
        ("image/svg+xml", b"<svg/>", "unsupported_media_type"),
        ("application/json", jpeg(), "unsupported_media_type"),
        ("text/plain", jpeg(), "unsupported_media_type"),
        ("", jpeg(), "unsupported_media_type"),
        ("image/jpeg", b"", "unsupported_media_type"),
    ],
)
async def test_other_media_are_refused(house: House, media: str, image: bytes, error: str) -> None:
    await house.open_session()
    told = await house.ok("PUT", FRAME, 415, content=image, headers={"Content-Type": media})
    assert told["error"] == error
    await house.ok("GET", FRAME, 404)


async def test_images_are_taken_at_that_door_alone(house: House) -> None:
    await house.open_session()
    for method, path in (
        ("POST", f"{SESSIONS}/run/metrics"),
        ("POST", f"{SESSIONS}/run/records"),
        ("PUT", f"{SESSIONS}/run"),
        ("POST", f"{SESSIONS}/run/frame/more"),
    ):
        await house.ok(method, path, 415, content=jpeg(), headers=JPEG)
    foreign = {**JPEG, "Origin": "http://evil.example"}
    await house.ok("PUT", FRAME, 403, content=jpeg(), headers=foreign)


async def test_a_frame_too_large_is_refused(serving: House) -> None:
    await serving.open_session()
    assert await put(serving, jpeg("fits", MAX_FRAME_BYTES))
    large = jpeg("large", MAX_FRAME_BYTES + 1)
    told = (await over_tcp(serving, large)).json()
    assert told["error"] == "frame_too_large"
    assert told["details"] == {"limit": MAX_FRAME_BYTES}

    async def parts() -> AsyncIterator[bytes]:  # without a length told before
        for i in range(0, len(large), 10_000):
            yield large[i : i + 10_000]

    answer = await over_tcp(serving, parts())
    assert (answer.status_code, answer.json()["error"]) == (413, "frame_too_large")
    assert (await serving.http.get(FRAME)).content == jpeg("fits", MAX_FRAME_BYTES)


@pytest.mark.parametrize(
    "query", [{"episode": -1}, {"episode": "x"}, {"step": 1.5}, {"return": "nan"}, {"return": "x"}]
)
async def test_numbers_that_cannot_be_are_refused(house: House, query: dict[str, Any]) -> None:
    await house.open_session()
    told = await house.ok("PUT", FRAME, 422, content=jpeg(), headers=JPEG, params=query)
    assert told["error"] == "validation_failed"


async def test_whoever_may_not_report_shows_nothing(house: House) -> None:
    old = await house.managed()
    path = f"{SESSIONS}/{old.session_id}"
    assert await put(house, jpeg("old"), f"{path}/frame")
    body = {"status": "released"}
    await house.ok("POST", f"{path}/finish", json=body, headers=old.headers)
    new = await house.claim(old.session_id)
    told = await house.ok(
        "PUT", f"{path}/frame", 409, content=jpeg("late"), headers={**JPEG, **old.headers}
    )
    assert (told["error"], told["details"]) == ("attempt_superseded", {"attempt": 2})
    assert (await house.http.get(f"{path}/frame")).content == jpeg("old")
    await house.ok(
        "PUT", f"{path}/frame", 202, content=jpeg("new"), headers={**JPEG, **new.headers}
    )
    await house.open_session()
    told = await house.ok("PUT", FRAME, 403, content=jpeg(), headers={**JPEG, **new.headers})
    assert told["error"] == "other_session"
    await house.ok("PUT", f"{SESSIONS}/run", json={"status": "completed"})
    told = await house.ok("PUT", FRAME, 409, content=jpeg(), headers=JPEG)
    assert told["error"] == "session_ended"
    told = await house.ok("PUT", f"{SESSIONS}/no/frame", 404, content=jpeg(), headers=JPEG)
    assert told["error"] == "session_not_found"


async def test_more_than_ten_a_second_are_dropped(make_house: MakeHouse) -> None:
    clock = ManualClock()
    house = await make_house(clock=clock)
    await house.open_session()
    taken = [await put(house, jpeg(str(i))) for i in range(FRAMES_PER_SECOND + 3)]
    assert taken == [True] * FRAMES_PER_SECOND + [False] * 3
    assert (await house.http.get(FRAME)).content == jpeg("9")
    await house.open_session("other")
    assert await put(house, jpeg(), f"{SESSIONS}/other/frame")
    clock.wait(1.0)
    assert await put(house, jpeg("later"))
    assert (await house.http.get(FRAME)).content == jpeg("later")
    assert (await house.history("run"))["total_points"] == 0  # they are no records


async def test_a_script_shows_its_agent(serving: House) -> None:
    await serving.open_session()
    async with serving.watch("run") as spectator:
        await subscribe(spectator.socket, "frame")
        session = Client(serving.url).attach("run")
        image = jpeg("from the script", 20_000)
        session.frame(image, episode=2, step=30, value=4.5)
        header, got = await next_frame(spectator.socket)
        assert got == image
        assert (header["episode"], header["step"], header["return"]) == (2, 30, 4.5)
        for i in range(100):  # none waits; the newest arrives
            session.frame(jpeg(str(i)), episode=3)
        while got != jpeg("99"):
            _, got = await next_frame(spectator.socket)
        assert await asyncio.to_thread(session.finish)
        session.frame(jpeg("too late"))
    assert (await serving.http.get(FRAME)).content == jpeg("99")

    async def ended() -> bool:
        return "grandstand-frames" not in {thread.name for thread in threading.enumerate()}

    await until(ended)
