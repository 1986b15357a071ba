"""Webhooks against a real receiver: signed, in order, kept until taken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grandstand.assembly import build
from grandstand.clock import ManualClock
from grandstand.settings import load_settings
from grandstand.settings.problems import check
from grandstand.store import deliveries
from grandstand.web.app import make_app
from grandstand.web.outbound import PAUSES_SECONDS

from .conftest import SESSIONS, House, _listening, until

ROOT = Path(__file__).resolve().parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """Takes messages.

    Attributes:
        taken: (path, headers, body) in order.
        status: what the next ones are answered with.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                owner.taken.append((self.path, headers, body))
                self.send_response(owner.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, _, body in self.taken]

    async def until(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.taken) >= count

        await until(enough)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@contextlib.asynccontextmanager
async def serving(folder: Path, clock: ManualClock, **told: Any) -> AsyncIterator[House]:
    flags = {f"integration.{name}": value for name, value in told.items()}
    # Time is moved on by minutes here; that no session is lost by it keeps what is told alone.
    flags["training.heartbeat_seconds"] = 24 * 3600
    settings = load_settings(env={}, flags={"data_storage_path": str(folder), **flags})
    assembly = build(settings, clock=clock)
    house = House(assembly, make_app(assembly))
    async with _listening(house):
        yield house
        await house.http.aclose()


def genuine() -> Any:
    """The documented way to check a signature."""
    text = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["genuine"]


async def test_what_becomes_of_a_session_is_told_in_order_and_signed(
    tmp_path: Path, receiver: Receiver
) -> None:
    told = {
        "webhook_endpoints": [f"{receiver.url}/hook"],
        "game_server_url": receiver.url,
        "webhook_secret": SECRET,
    }
    async with serving(tmp_path, ManualClock(), **told) as house:
        await house.open_session("run", tags=["x"])
        await house.log("run", 1)
        body = {"status": "failed", "reason": "why", "error": {"type": "E", "message": "m"}}
        await house.ok("POST", f"{SESSIONS}/run/finish", json=body)
        await house.ok("DELETE", f"{SESSIONS}/run", 204)
        await receiver.until(6)
    check_it = genuine()
    for path in ("/hook", "/webhooks/grandstand"):
        mine = [(headers, body) for where, headers, body in receiver.taken if where == path]
        kinds = [json.loads(body)["type"] for _, body in mine]
        assert kinds == ["session.running", "session.failed", "session.deleted"]
        assert all(check_it(SECRET, headers, body) for headers, body in mine)
        headers, body = mine[1]
        assert not check_it(SECRET, headers, body + b" ")
        assert not check_it(SECRET, {**headers, "webhook-timestamp": "1"}, body)
        data = json.loads(body)["data"]
        assert data["event"]["reason"] == "why"
        assert data["event"]["error"]["type"] == "E"
        assert (data["session"] or {"tags": ["x"]})["tags"] == ["x"]


async def test_what_is_not_taken_is_offered_again_also_by_the_next_server(
    tmp_path: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    told = {"webhook_endpoints": [f"{receiver.url}/hook?token=secret"]}
    clock = ManualClock()
    async with serving(tmp_path, clock, **told) as house:
        await house.open_session("run")
        await receiver.until(1)

        async def postponed() -> bool:
            due = await house.assembly.database.read(deliveries.next_due)
            return due is not None and due > clock.now()

        await until(postponed)
        await clock.advance(PAUSES_SECONDS[0])
        await receiver.until(2)
        await until(postponed)
    assert "HTTP 500; again in 30 s" in caplog.text
    assert "token=secret" not in caplog.text
    receiver.status = 204
    async with serving(tmp_path, clock, **told) as house:

        async def offered() -> bool:
            # Time goes on however long the server takes to look what is due.
            await clock.advance(PAUSES_SECONDS[1])
            return len(receiver.taken) >= 3

        await until(offered)

        async def nothing_waits() -> bool:
            return await house.assembly.database.read(deliveries.next_due) is None

        await until(nothing_waits)
    ids = {headers["webhook-id"] for _, headers, _ in receiver.taken}
    assert len(ids) == 1


async def test_who_says_gone_is_not_asked_again(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 410
    async with serving(tmp_path, ManualClock(), webhook_endpoints=[receiver.url]) as house:
        await house.open_session("run")
        await receiver.until(1)

        async def nothing_waits() -> bool:
            return await house.assembly.database.read(deliveries.next_due) is None

        await until(nothing_waits)


async def test_an_endpoint_that_is_away_for_long_costs_nothing_and_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = Receiver()
    nobody.close()
    clock = ManualClock()
    async with serving(tmp_path, clock, webhook_endpoints=[nobody.url]) as house:
        await house.open_session("run")
        for pause in PAUSES_SECONDS:

            async def postponed() -> bool:
                due = await house.assembly.database.read(deliveries.next_due)
                return due is not None and due > clock.now()

            await until(postponed)
            await house.log("run", 1)  # the server serves on
            await asyncio.sleep(0)
            await clock.advance(pause)

        async def given_up() -> bool:
            return "the message is given up" in caplog.text

        await until(given_up)


def test_what_cannot_be_an_endpoint_or_a_secret_is_said_before_the_start() -> None:
    flags = {
        "integration.webhook_endpoints": ["ftp://x"],
        "integration.game_server_url": "localhost:4000",
        "integration.webhook_secret": "short",
    }
    found = {p.path for p in check(load_settings(flags=flags)) if p.severity == "error"}
    assert found == {
        "integration.webhook_endpoints",
        "integration.game_server_url",
        "integration.webhook_secret",
    }
