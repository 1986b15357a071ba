"""Socket.IO with python-socketio's own client: what a worker reports is what watchers are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import socketio

SESSIONS = "/api/training/sessions"
BOUND_SECONDS = 15.0
NINE = {
    "episode",
    "total_episodes",
    "avg_reward",
    "avg_duration",
    "avg_cash",
    "avg_invested",
    "stability",
    "goal_adherence",
    "elapsed_time",
}


class Listener:
    """A connection, and every event it was sent."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.client = socketio.AsyncClient(reconnection=False)
        self._news = asyncio.Condition()
        self.client.on("*", self._hear)

    async def _hear(self, event: str, data: Any = None) -> None:
        async with self._news:
            self.heard.append((event, data))
            self._news.notify_all()

    async def until(self, wanted: Callable[[str, Any], bool]) -> Any:
        """The data of the first event that `wanted` says yes to."""
        async with asyncio.timeout(BOUND_SECONDS), self._news:
            while True:
                for event, data in self.heard:
                    if wanted(event, data):
                        return data
                await self._news.wait()

    async def event(self, name: str) -> Any:
        return await self.until(lambda event, _: event == name)

    def named(self, name: str) -> list[Any]:
        return [data for event, data in self.heard if event == name]

    async def ask(self, **wish: Any) -> Any:
        return await self.client.call("subscribe_training", wish, timeout=BOUND_SECONDS)


@pytest.fixture
async def listen(serving: Any) -> AsyncIterator[Callable[..., Any]]:
    listeners: list[Listener] = []

    async def connected(transport: str = "websocket", **more: Any) -> Listener:
        listener = Listener()
        listeners.append(listener)
        await listener.client.connect(serving.url, transports=[transport], **more)
        await listener.event("connection_established")
        return listener

    yield connected
    # A client that polls leaves only once its poll is answered: the server's goodbye does that.
    await serving.assembly.hub.aclose()
    for listener in listeners:
        await listener.client.disconnect()


class Training:
    """Reports as a worker does."""

    def __init__(self, house: Any, worker: Any) -> None:
        self.house = house
        self.worker = worker
        self.session_id = worker.session_id

    async def status(self, name: str, **more: Any) -> None:
        data = {"event": "status", "status": name, **more}
        record = {"type": "training_status", "data": data}
        await self.house.batch(self.session_id, [record], headers=self.worker.headers)

    async def begin(self) -> None:
        await self.status("running", scenario_name="balanced", num_episodes=100)

    async def progress(self, episode: int) -> int:
        data = {
            "episode": episode,
            "average_reward": episode / 2,
            "training_time_elapsed": 1.5,
            "extra": {
                "avg_duration": 12.0,
                "avg_cash": 3000.0,
                "avg_invested": "NaN",
                "stability": 0.9,
                "goal_adherence": 0.8,
            },
        }
        record = {"type": "training_metrics", "data": data}
        told = await self.house.batch(self.session_id, [record], headers=self.worker.headers)
        return int(told["last_seq"])

    async def finish(self, status: str, **more: Any) -> None:
        path = f"{SESSIONS}/{self.session_id}/finish"
        body = {"status": status, **more}
        await self.house.ok("POST", path, json=body, headers=self.worker.headers)


@pytest.fixture
async def training(serving: Any) -> Training:
    return Training(serving, await serving.managed())


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_story_of_a_training(listen: Any, training: Training, transport: str) -> None:
    listener = await listen(transport)
    await training.begin()
    started = await listener.event("training_started")
    assert (started["scenario_name"], started["num_episodes"]) == ("balanced", 100)
    assert started["session_id"] == training.session_id
    assert started["start_time"]
    last = await training.progress(7)
    progress = await listener.until(lambda e, d: e == "training_progress" and d["seq"] == last)
    assert set(progress) >= NINE | {"session_id", "seq"}
    assert (progress["episode"], progress["total_episodes"]) == (7, 100)
    assert (progress["avg_reward"], progress["avg_invested"]) == (3.5, "NaN")
    assert progress["elapsed_time"] == 1.5
    models = {"high_agent": "models/x_high_agent.pt"}
    await training.finish("completed", final_metrics={"avg_reward": 3.5}, models=models)
    ended = await listener.event("training_completed")
    assert (ended["scenario_name"], ended["reason"]) == ("balanced", "completed")
    assert (ended["episodes_completed"], ended["total_episodes"]) == (7, 100)
    assert (ended["final_metrics"], ended["models"]) == ({"avg_reward": 3.5}, models)
    seqs = [data["seq"] for event, data in listener.heard if event.startswith("training_")]
    assert seqs == sorted(set(seqs))
    assert len(listener.named("training_started")) == 1


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_failure_is_told_with_its_kind(
    listen: Any, training: Training, transport: str
) -> None:
    listener = await listen(transport)
    await training.begin()
    error = {"type": "OutOfCheese", "message": "no cheese left", "traceback": "…"}
    await training.finish("failed", error=error)
    told = await listener.event("training_error")
    assert (told["message"], told["code"]) == ("no cheese left", "OutOfCheese")
    assert told["details"]["traceback"] == "…"
    assert (told["session_id"], bool(told["seq"])) == (training.session_id, True)


async def test_a_pause_is_no_second_start_and_a_stop_has_its_event(
    listen: Any, serving: Any, training: Training
) -> None:
    listener = await listen()
    await training.begin()
    await listener.event("training_started")
    path = f"{SESSIONS}/{training.session_id}"
    await serving.ok("POST", f"{path}/pause")
    await training.status("paused")
    await serving.ok("POST", f"{path}/resume")
    await training.progress(3)
    await serving.ok("POST", f"{path}/stop")
    await training.finish("stopped", reason="asked to stop")
    ended = await listener.event("training_stopped")
    assert (ended["reason"], ended["episodes_completed"]) == ("asked to stop", 3)
    assert len(listener.named("training_started")) == 1


async def test_the_greeting(listen: Any) -> None:
    import grandstand

    listener = await listen()
    name, hello = listener.heard[0]
    assert name == "connection_established"
    assert hello["server_version"] == grandstand.__version__
    assert hello["sid"]
    assert hello["message"]


async def test_everybody_hears_all_until_narrowed(make_house: Any) -> None:
    house = await make_house(serving=True, training__max_concurrent_trainings=2)
    one = Training(house, await house.managed())
    two = Training(house, await house.managed(scenario_name="aggressive"))
    everything, single, scenario = Listener(), Listener(), Listener()
    listeners = (everything, single, scenario)
    for listener in listeners:
        await listener.client.connect(house.url, transports=["websocket"])
        await listener.event("connection_established")
    told = await single.ask(session_id=one.session_id)
    assert told["subscribed"] == {"session_id": one.session_id}
    told = await scenario.ask(scenario_name="aggressive")
    assert told["subscribed"] == {"scenario_name": "aggressive"}
    for training in (one, two):
        await training.begin()
        await training.progress(1)
        await training.finish("completed")
    wanted = {
        everything: {one.session_id, two.session_id},
        single: {one.session_id},
        scenario: {two.session_id},
    }
    for listener in listeners:
        ids = wanted[listener]
        for session_id in ids:
            await listener.until(
                lambda e, d, i=session_id: e == "training_completed" and d["session_id"] == i
            )
        stories = [d["session_id"] for e, d in listener.heard if e.startswith("training_")]
        assert set(stories) == ids
        await listener.client.disconnect()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_since_says_again_what_was_missed(
    listen: Any, training: Training, transport: str
) -> None:
    await training.begin()
    seqs = [await training.progress(i) for i in range(1, 6)]
    listener = await listen(transport)
    told = await listener.ask(session_id=training.session_id, since=seqs[1])
    assert told["subscribed"] == {"session_id": training.session_id}
    await listener.until(lambda e, d: e == "training_progress" and d["seq"] == seqs[-1])
    assert [d["seq"] for d in listener.named("training_progress")] == seqs[2:]
    last = await training.progress(6)
    await listener.until(lambda e, d: e == "training_progress" and d["seq"] == last)
    assert len(listener.named("training_progress")) == 4


async def test_odd_wishes_are_answered(listen: Any, training: Training) -> None:
    listener = await listen()
    told = await listener.ask(session_id="nobody")
    assert (told["subscribed"], told["error"]) == (None, "session_not_found")
    assert (await listener.ask())["subscribed"] == "all"
    for since in (-1, 10**30, "x", True, None, 1.5):
        told = await listener.ask(session_id=training.session_id, since=since)
        assert told["subscribed"] == {"session_id": training.session_id}
    for wish in (None, 3, "x", [1]):
        told = await listener.client.call("subscribe_training", wish, timeout=BOUND_SECONDS)
        assert told["subscribed"] == "all"
    await training.begin()
    await listener.event("training_started")


async def test_external_sessions_are_not_trainings(
    listen: Any, serving: Any, training: Training
) -> None:
    listener = await listen()
    await serving.open_session("external")
    await serving.log("external", 1)
    await serving.ok("POST", f"{SESSIONS}/external/finish", json={"status": "completed"})
    await training.begin()
    await listener.event("training_started")
    assert {d["session_id"] for e, d in listener.heard if e != "connection_established"} == {
        training.session_id
    }


async def test_the_doors_are_the_same(serving: Any) -> None:
    evil = {"headers": {"Origin": "https://evil.example"}}
    for transport, refusal in (
        ("websocket", evil),
        ("polling", evil),
        ("websocket", {"auth": {"token": "nonsense"}}),
    ):
        listener = Listener()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await listener.client.connect(serving.url, transports=[transport], **refusal)
        await listener.client.disconnect()
        assert listener.heard == []


async def test_a_worker_s_token_hears_its_session_alone(
    make_house: Any,
) -> None:
    house = await make_house(serving=True, training__max_concurrent_trainings=2)
    one = Training(house, await house.managed())
    two = Training(house, await house.managed())
    listener = Listener()
    auth = {"token": one.worker.token}
    await listener.client.connect(house.url, transports=["websocket"], auth=auth)
    await listener.event("connection_established")
    told = await listener.ask(session_id=two.session_id)
    assert (told["subscribed"], told["error"]) == (None, "other_session")
    await two.begin()
    await one.begin()
    await listener.event("training_started")
    assert [d["session_id"] for d in listener.named("training_started")] == [one.session_id]
    await listener.client.disconnect()


async def test_too_many_connections_are_refused(make_house: Any) -> None:
    house = await make_house(serving=True, performance__max_total_connections=1)
    first, second = Listener(), Listener()
    await first.client.connect(house.url, transports=["websocket"])
    with pytest.raises(socketio.exceptions.ConnectionError):
        await second.client.connect(house.url, transports=["websocket"])
    await first.client.disconnect()
    await second.client.disconnect()


async def test_a_poll_that_is_held_does_not_hold_up_the_end(
    listen: Any, serving: Any, training: Training
) -> None:
    listener = await listen("polling")
    await training.begin()
    await listener.event("training_started")
    # The bound of an answer's life is the ping interval; the goodbye comes well before it.
    await asyncio.wait_for(serving.assembly.hub.aclose(), 5)
    await asyncio.wait_for(listener.client.disconnect(), 5)
