"""A whole server in this process: asked over ASGI, and over real sockets where a test needs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from grandstand.assembly import Assembly, build
from grandstand.settings import Settings, load_settings
from grandstand.store.jobs import JobKind
from grandstand.web.app import make_app
from grandstand.web.http import HttpProtocol
from grandstand.web.server import Server, bind, url_of
from grandstand.web.transport import protocol_class

SESSIONS = "/api/training/sessions"
BOUND_SECONDS = 15.0
PINGS = 1.0, 3.0
"""To Socket.IO clients: one that polls leaves only after the two together."""


@dataclass
class Worker:
    """What a worker holds: its session, its attempt and the token that goes with them."""

    session_id: str
    attempt: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class House:
    """A server and ways to ask it."""

    def __init__(self, assembly: Assembly, app: ASGIApp) -> None:
        self.assembly = assembly
        self.app = app
        # What goes wrong inside must show as an answer, as it would to a stranger.
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://localhost")
        self.url = ""

    async def ok(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """The decoded body of an answer that must have `status`."""
        answer = await self.http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def open_session(self, session_id: str = "run", **more: Any) -> str:
        body = {"training_session_id": session_id, "algorithm": "DQN", **more}
        return str((await self.ok("POST", SESSIONS, 201, json=body))["session_id"])

    async def log(self, session_id: str, *episodes: int) -> int:
        """Report metrics, one request an episode; the last seq."""
        seq = 0
        for episode in episodes:
            body = {"episode": episode, "current_reward": float(episode)}
            told = await self.ok("POST", f"{SESSIONS}/{session_id}/metrics", json=body)
            seq = told["seq"]
        return seq

    async def batch(self, session_id: str, records: list[Any], **more: Any) -> Any:
        return await self.ok(
            "POST", f"{SESSIONS}/{session_id}/records", json={"records": records}, **more
        )

    async def history(self, session_id: str, **query: Any) -> Any:
        return await self.ok("GET", f"{SESSIONS}/{session_id}/history", params=query)

    async def managed(self, **more: Any) -> Worker:
        """Start a training and claim it as the supervisor does; nothing is launched."""
        body = {"scenario_name": "balanced", "num_episodes": 100, "queue": True, **more}
        started = await self.ok("POST", "/api/training/start", 202, json=body)
        return await self.claim(started["session_id"])

    async def claim(self, session_id: str) -> Worker:
        job = await self.assembly.training.claim(JobKind.TRAIN, "test")
        assert job is not None
        assert job.session_id == session_id
        token = self.assembly.access.worker_token(session_id=session_id, attempt=job.attempt)
        return Worker(session_id, job.attempt, token)

    @staticmethod
    def contiguous(messages: list[Any], after: int) -> None:
        """Hold that messages say of every seq after `after` once: sent, or skipped."""
        for message in messages:
            first = message["data"].get("skipped_from", message["seq"])
            assert first == after + 1, f"seq {message['seq']} follows {after}"
            if first != message["seq"]:
                assert message["data"]["skipped_to"] == message["seq"] - 1
            after = message["seq"]

    @staticmethod
    async def until(condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition, within bounds."""
        await until(condition)

    @contextlib.asynccontextmanager
    async def watch(self, session_id: str, query: str = "") -> AsyncIterator[Spectator]:
        """A spectator's socket; needs `serving`."""
        address = self.url.replace("http", "ws", 1) + f"/ws/{session_id}{query}"
        async with connect(address, compression=None) as socket:
            yield Spectator(socket)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, within bounds."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not await condition():  # noqa: ASYNC110 - the news comes from outside
            await asyncio.sleep(0.005)


class Spectator:
    """One WebSocket of the live feed."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def next(self) -> Any:
        return msgspec.json.decode(await asyncio.wait_for(self.socket.recv(), BOUND_SECONDS))

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        """The next message `wanted` says yes to; others are left out."""
        while True:
            message = await self.next()
            if wanted(message):
                return message

    async def event(self, name: str) -> Any:
        """The data of the next message whose event is `name`."""
        return (await self.until(lambda m: m["data"].get("event") == name))["data"]

    async def records(self, last_seq: int) -> list[Any]:
        """Every message with a seq, up to the one of `last_seq`."""
        found = []
        while not found or found[-1]["seq"] < last_seq:
            found.append(await self.until(lambda m: m["seq"] is not None))
        return found

    async def say(self, **message: Any) -> None:
        await self.socket.send(msgspec.json.encode(message).decode())

    async def closed(self) -> tuple[int, str]:
        """Its close code and reason, once it is closed."""
        async with asyncio.timeout(BOUND_SECONDS):
            with contextlib.suppress(ConnectionClosed):
                async for _ in self.socket:
                    pass
            await self.socket.wait_closed()
        return self.socket.close_code or 0, self.socket.close_reason or ""


class _Guest(Server):
    """The server without its hands on this process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


MakeHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def make_house(tmp_path: Path) -> AsyncIterator[MakeHouse]:
    """Opens servers: `serving=True` listens at a port; the rest are settings, dotted."""
    async with contextlib.AsyncExitStack() as stack:
        count = 0

        async def make(*, serving: bool = False, clock: Any = None, **settings: Any) -> House:
            nonlocal count
            count += 1
            told = {name.replace("__", "."): value for name, value in settings.items()}
            assembly = build(_settings(tmp_path / str(count), told), clock=clock)
            house = House(assembly, make_app(assembly, pings=PINGS))
            stack.push_async_callback(house.http.aclose)
            if serving:
                await stack.enter_async_context(_listening(house))
            else:
                await assembly.open()
                stack.push_async_callback(assembly.aclose)
            return house

        yield make


@pytest.fixture
async def house(make_house: MakeHouse) -> House:
    return await make_house()


@pytest.fixture
async def serving(make_house: MakeHouse) -> House:
    """One with a port, for sockets. It starts no workers."""
    return await make_house(serving=True)


def _settings(folder: Path, values: dict[str, Any]) -> Settings:
    return load_settings(env={}, flags={"data_storage_path": str(folder), **values})


@contextlib.asynccontextmanager
async def _listening(house: House) -> AsyncIterator[None]:
    listeners = bind("127.0.0.1", 0)
    house.url = url_of("127.0.0.1", listeners[0])
    config = uvicorn.Config(
        house.app, http=HttpProtocol, ws=protocol_class(), log_config=None, lifespan="on"
    )
    server = _Guest(config, house.assembly)
    task = asyncio.create_task(server.serve(sockets=listeners))

    async def started() -> bool:
        return server.started or task.done()

    await until(started)
    try:
        yield
    finally:
        server.should_exit = True
        await task
        for listener in listeners:
            listener.close()


PATHS: dict[str, Any] = {"wire": protocol_class(), "queue": "websockets-sansio"}
"""The two ways to a socket: frames straight to and from the transport, and any ASGI server's."""


@contextlib.asynccontextmanager
async def listening(house: House, ws: Any) -> AsyncIterator[House]:
    """`house` at a port, with one of the two ways out."""
    listeners = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        house.app, http=HttpProtocol, ws=ws, log_config=None, lifespan="off", access_log=False
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve(listeners))

    async def started() -> bool:
        return server.started

    await until(started)
    house.url = url_of("127.0.0.1", listeners[0])
    try:
        yield house
    finally:
        server.should_exit = True
        await task
        for listener in listeners:
            listener.close()


@pytest.fixture(params=PATHS)
async def live(request: pytest.FixtureRequest, make_house: MakeHouse) -> AsyncIterator[House]:
    async with listening(await make_house(), PATHS[request.param]) as house:
        yield house
