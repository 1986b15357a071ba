"""`client.watch` while the server is killed and started again: every record once and in order."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable

import pytest

import grandstand
from grandstand.client.client import Client
from grandstand.client.watch import Event

from .conftest import Server, count, eventually, told

SEED = 20261126
EACH_LIFE = 150
"""Episodes that are reported in each of the server's lives."""


class Watcher(threading.Thread):
    """Takes in what `watch` gives, and remembers what it raised."""

    def __init__(self, watch: Callable[[list[Event]], None]) -> None:
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self.wrong: BaseException | None = None
        self._watch = watch

    def run(self) -> None:
        try:
            self._watch(self.events)
        except BaseException as error:
            self.wrong = error

    @property
    def seqs(self) -> list[int | None]:
        return [event.seq for event in self.events]


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.timeout(600)
def test_watchers_see_every_record_once_and_in_order_over_kills(server: Server) -> None:
    kills = count(3, 40)
    chance = random.Random(SEED)
    session = grandstand.open_session("run", algorithm="PPO", url=server.url)

    def plain(events: list[Event]) -> None:
        with Client(server.url) as client:
            events.extend(client.watch("run", since=0))

    def in_async_code(events: list[Event]) -> None:
        async def watch() -> None:
            async with grandstand.connect_async(server.url) as client:
                async for event in client.watch("run", since=0):
                    events.append(event)

        asyncio.run(watch())

    def from_now_on(events: list[Event]) -> None:
        with Client(server.url) as client:
            events.extend(client.watch("run"))

    def some(events: list[Event]) -> None:
        with Client(server.url) as client:
            events.extend(client.watch("run", since=0, types=["training_metrics"]))

    watchers = [Watcher(way) for way in (plain, in_async_code, from_now_on, some)]
    for watcher in watchers:
        watcher.start()
    episode = 0

    def report(least: int) -> None:
        """Go on until so many episodes are stored."""
        nonlocal episode
        pause = threading.Event()
        while session.sent < least:
            assert session.ended is None, session.ended
            episode += 1
            session.log({"current_reward": episode / 7}, episode=episode)
            pause.wait(0.002)

    report(EACH_LIFE)
    eventually(lambda: all(w.events or w.wrong for w in watchers), "a first event for everybody")
    for _ in range(kills):
        server.kill()
        # Some come back while nobody is there, others when everything is.
        for _ in range(chance.randrange(200)):
            episode += 1
            session.log({"current_reward": episode / 7}, episode=episode)
        server.start()
        report(session.sent + EACH_LIFE)
    assert session.finish()
    for watcher in watchers:
        watcher.join(60)
        assert watcher.wrong is None, watcher.wrong
        assert not watcher.is_alive()
    last = server.session("run")["last_seq"]
    assert watchers[0].seqs == watchers[1].seqs == list(range(1, last + 1))
    first = watchers[2].seqs[0]
    assert first is not None
    assert watchers[2].seqs == list(range(first, last + 1))
    for watcher in watchers:
        episodes = [e.data["episode"] for e in watcher.events if e.type == "training_metrics"]
        assert episodes == list(range(episodes[0], episode + 1))
    assert watchers[3].events[0].data["episode"] == 1
    told(f"four watchers of {last} records saw each once and in order over {kills} kills")
