"""Socket.IO in one process with the server: what each stored record says in its dialect, rooms,
replay, limits, and the switch from polling to a WebSocket in the middle of a training.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import socketio
from socketio.exceptions import ConnectionError as Refused

import grandstand

from .conftest import SESSIONS, House, MakeHouse, Worker, until

PROGRESS = {
    "average_reward": 7.5,
    "training_time_elapsed": 2.5,
    "extra": {
        "avg_duration": 100.0,
        "avg_cash": 1000.0,
        "avg_invested": 2000.0,
        "stability": 0.75,
        "goal_adherence": 0.25,
    },
}


class Watcher:
    """python-socketio's client and what it has heard."""

    def __init__(self) -> None:
        self.socket = socketio.AsyncClient(reconnection=False)
        self.heard: list[tuple[str, Any]] = []
        self.socket.on("*", self._hear)

    async def _hear(self, event: str, data: Any = None) -> None:
        self.heard.append((event, data))

    def all(self, event: str) -> list[Any]:
        return [data for name, data in self.heard if name == event]

    async def until(self, event: str, count: int = 1) -> Any:
        """The data of the `count`-th event of that name."""

        async def found() -> bool:
            return len(self.all(event)) >= count

        await until(found)
        return self.all(event)[count - 1]

    async def subscribe(self, **wish: Any) -> Any:
        return await self.socket.call("subscribe_training", wish)


Join = Callable[..., Awaitable[Watcher]]


@pytest.fixture
async def join(serving: House) -> AsyncIterator[Join]:
    watchers: list[Watcher] = []

    async def connect(transport: str | None = "websocket", **more: Any) -> Watcher:
        watcher = Watcher()
        transports = [transport] if transport else None
        await watcher.socket.connect(serving.url, transports=transports, **more)
        watchers.append(watcher)
        await watcher.until("connection_established")
        return watcher

    yield connect
    for watcher in watchers:
        await watcher.socket.disconnect()

    async def gone() -> bool:
        return serving.assembly.hub.connections == 0

    await until(gone)


async def begin(house: House, **more: Any) -> Worker:
    """A training whose worker has just begun."""
    worker = await house.managed(**more)
    data = {"event": "status", "status": "running", "num_episodes": 100}
    await report(house, worker, {"type": "training_status", "data": data})
    return worker


async def report(house: House, worker: Worker, *records: dict[str, Any]) -> int:
    told = await house.batch(worker.session_id, list(records), headers=worker.headers)
    return int(told["last_seq"])


def row(episode: int) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **PROGRESS}}


async def finish(house: House, worker: Worker, **body: Any) -> None:
    path = f"{SESSIONS}/{worker.session_id}/finish"
    await house.ok("POST", path, json=body, headers=worker.headers)


async def test_greeting(join: Join) -> None:
    watcher = await join()
    assert watcher.heard[0] == (
        "connection_established",
        {
            "message": "connected to Grandstand",
            "sid": watcher.socket.get_sid(),
            "server_version": grandstand.__version__,
        },
    )


@pytest.mark.parametrize("transport", ["websocket", "polling", None])
async def test_a_training_from_its_start_to_its_end(
    serving: House, join: Join, transport: str | None
) -> None:
    watcher = await join(transport)
    worker = await begin(serving)
    started = await watcher.until("training_started")
    assert (started["scenario_name"], started["num_episodes"]) == ("balanced", 100)
    assert started["start_time"]
    assert started["session_id"] == worker.session_id
    seq = await report(serving, worker, row(7))
    assert await watcher.until("training_progress") == {
        "episode": 7,
        "total_episodes": 100,
        "avg_reward": 7.5,
        "avg_duration": 100.0,
        "avg_cash": 1000.0,
        "avg_invested": 2000.0,
        "stability": 0.75,
        "goal_adherence": 0.25,
        "elapsed_time": 2.5,
        "session_id": worker.session_id,
        "seq": seq,
    }
    # Losses alone and decisions are no progress.
    losses = {"type": "training_metrics", "data": {"episode": 7, "loss_value": 1.0}}
    await report(serving, worker, losses, {"type": "bot_decision", "data": {"step": 1}})
    models = {"high_agent": "h.pt", "low_agent": "l.pt"}
    figures = {"avg_reward": 8.0}
    await finish(
        serving, worker, status="completed", reason="done", final_metrics=figures, models=models
    )
    completed = await watcher.until("training_completed")
    assert completed["final_metrics"] == figures
    assert completed["models"] == models
    assert completed["reason"] == "done"
    assert completed["episodes_completed"] == 7
    assert completed["total_episodes"] == 100
    assert len(watcher.all("training_progress")) == 1


async def test_a_stop_and_a_failure(serving: House, join: Join) -> None:
    watcher = await join()
    worker = await begin(serving)
    await finish(serving, worker, status="stopped", reason="asked to")
    stopped = await watcher.until("training_stopped")
    assert (stopped["reason"], stopped["session_id"]) == ("asked to", worker.session_id)
    worker = await begin(serving)
    error = {"message": "loss is NaN", "type": "ValueError", "step": 5}
    await finish(serving, worker, status="failed", error=error)
    failed = await watcher.until("training_error")
    assert (failed["message"], failed["code"]) == ("loss is NaN", "ValueError")
    assert failed["details"] == error


async def test_figures_that_are_not_finite_are_told_by_name(serving: House, join: Join) -> None:
    watcher = await join()
    worker = await begin(serving)
    data = {"episode": 1, **PROGRESS, "average_reward": "NaN"}
    await report(serving, worker, {"type": "training_metrics", "data": data})
    assert (await watcher.until("training_progress"))["avg_reward"] == "NaN"


async def test_everybody_hears_managed_trainings_only(serving: House, join: Join) -> None:
    watcher = await join()
    await serving.open_session("mine")
    await serving.batch("mine", [row(1)])
    worker = await begin(serving)
    await report(serving, worker, row(2))
    assert (await watcher.until("training_progress"))["session_id"] == worker.session_id
    # One that is asked for by its id is heard whoever runs it.
    assert await watcher.subscribe(session_id="mine") == {"subscribed": {"session_id": "mine"}}
    await serving.batch("mine", [row(3)])
    assert (await watcher.until("training_progress", 2))["session_id"] == "mine"
    await report(serving, worker, row(4))
    await serving.batch("mine", [row(5)])
    assert (await watcher.until("training_progress", 3))["session_id"] == "mine"
    assert (await serving.ok("GET", f"{SESSIONS}/mine"))["spectator_count"] == 1


async def test_narrowing_to_a_scenario_and_back(serving: House, join: Join) -> None:
    watcher = await join()
    worker = await begin(serving)
    await watcher.until("training_started")
    other = {"scenario_name": "milano_senior"}
    assert await watcher.subscribe(**other) == {"subscribed": other}
    await report(serving, worker, row(1))
    own = {"scenario_name": "balanced"}
    assert await watcher.subscribe(**own) == {"subscribed": own}
    await report(serving, worker, row(2))
    assert (await watcher.until("training_progress"))["episode"] == 2
    assert await watcher.subscribe() == {"subscribed": "all"}
    await report(serving, worker, row(3))
    assert (await watcher.until("training_progress", 2))["episode"] == 3


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_what_was_missed_is_replayed_each_event_once(
    serving: House, join: Join, transport: str
) -> None:
    worker = await begin(serving)
    for episode in range(1, 31):
        await report(serving, worker, row(episode))
    await finish(serving, worker, status="completed")
    watcher = await join(transport)
    told = await watcher.subscribe(session_id=worker.session_id, since=0)
    assert told == {"subscribed": {"session_id": worker.session_id}, "recovered": True}
    await watcher.until("training_completed")
    names = [name for name, _ in watcher.heard if name.startswith("training_")]
    assert names == ["training_started", *["training_progress"] * 30, "training_completed"]
    seqs = [data["seq"] for name, data in watcher.heard if name.startswith("training_")]
    assert seqs == sorted(set(seqs))
    told = await watcher.subscribe(session_id=worker.session_id, since=10_000)
    assert told["recovered"] is False


async def test_an_upgrade_in_the_middle_loses_nothing(serving: House, join: Join) -> None:
    """Polling first, a WebSocket a moment later, and records at every moment of it."""
    worker = await begin(serving)
    seq = 0
    stop = asyncio.Event()

    async def training() -> None:
        nonlocal seq
        episode = 0
        while not stop.is_set():
            episode += 1
            data = {"event": "status", "status": "running", "num_episodes": episode}
            seq = await report(serving, worker, {"type": "training_status", "data": data})

    running = asyncio.create_task(training())
    watchers = [await join(None) for _ in range(5)]
    assert all(w.socket.transport() == "websocket" for w in watchers)
    told = await asyncio.gather(
        *(w.subscribe(session_id=worker.session_id, since=0) for w in watchers)
    )
    assert all(t["recovered"] for t in told)
    await watchers[0].until("training_started", 100)
    stop.set()
    await running
    for watcher in watchers:

        async def caught_up(watcher: Watcher = watcher) -> bool:
            return bool(watcher.heard) and watcher.heard[-1][1].get("seq") == seq

        await until(caught_up)
        numbers = [d["seq"] for n, d in watcher.heard if n == "training_started"]
        replayed = numbers[numbers.index(min(numbers)) :]
        assert replayed == sorted(set(replayed))
        assert len(replayed) == replayed[-1] - replayed[0] + 1


async def test_a_client_that_polls_no_more_is_let_go(serving: House, join: Join) -> None:
    serving.assembly.hub.stale_seconds = 1.0
    reader = await join()
    ask = f"{serving.url}/socket.io/?EIO=4&transport=polling"
    async with httpx.AsyncClient() as http:
        opened = (await http.get(ask)).text
        sid = opened.split('"sid":"')[1].split('"')[0]
        assert (await http.post(f"{ask}&sid={sid}", content="40")).text == "OK"
        worker = await begin(serving)
        await reader.until("training_started")
        data = {"event": "status", "status": "running", "num_episodes": 1}
        for _ in range(3):  # more than may wait for one client
            await report(serving, worker, *[{"type": "training_status", "data": data}] * 400)

        async def let_go() -> bool:
            return serving.assembly.hub.connections == 1

        await until(let_go)
    await reader.until("training_started", 1201)


async def test_one_session_tokens_hear_that_session(serving: House, join: Join) -> None:
    worker = await begin(serving)
    watcher = await join(auth={"token": worker.token})
    other = await begin(serving)
    await report(serving, other, row(1))
    await report(serving, worker, row(2))
    assert (await watcher.until("training_progress"))["session_id"] == worker.session_id
    assert (await watcher.subscribe(session_id=other.session_id))["error"] == "other_session"
    assert await watcher.subscribe() == {"subscribed": {"session_id": worker.session_id}}


async def test_refusals(serving: House, join: Join) -> None:
    watcher = await join()
    refused = await watcher.subscribe(session_id="nobody")
    assert (refused["subscribed"], refused["error"]) == (None, "session_not_found")
    assert serving.assembly.hub.watching("nobody") == 0
    stranger = Watcher()
    with pytest.raises(Refused):
        await stranger.socket.connect(serving.url, auth={"token": "forged"})
    for transport in ("websocket", "polling"):
        with pytest.raises(Refused):
            await stranger.socket.connect(
                serving.url, transports=[transport], headers={"Origin": "https://evil.example"}
            )
    await stranger.socket.disconnect()


async def test_the_server_says_when_it_is_full(make_house: MakeHouse) -> None:
    house = await make_house(serving=True, performance__max_total_connections=1)
    first, second = Watcher(), Watcher()
    await first.socket.connect(house.url, transports=["websocket"])
    try:
        with pytest.raises(Refused):
            await second.socket.connect(house.url, transports=["websocket"])
        assert house.assembly.hub.connections == 1
    finally:
        await first.socket.disconnect()
        await second.socket.disconnect()


async def test_a_deleted_session_is_forgotten(serving: House, join: Join) -> None:
    watcher = await join()
    worker = await begin(serving)
    await watcher.until("training_started")
    await finish(serving, worker, status="stopped")
    await watcher.until("training_stopped")
    await serving.ok("DELETE", f"{SESSIONS}/{worker.session_id}", 204)
    again = await begin(serving)
    assert (await watcher.until("training_started", 2))["session_id"] == again.session_id
