"""Sessions against a clock that is held: silence, loss and return."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grandstand.bus.base import Changed, Committed, News
from grandstand.bus.memory import MemoryBus
from grandstand.clock import ManualClock
from grandstand.errors import Conflict, NotFound
from grandstand.model.session import Status, Wanted
from grandstand.model.telemetry import METRICS, STATUS, parse_record
from grandstand.service.access import EVERYBODY
from grandstand.service.ledger import Ledger
from grandstand.service.sessions import NewSession, Sessions
from grandstand.service.telemetry import Telemetry
from grandstand.store.database import Database

HEARTBEAT = 5.0


class Desk:
    """The services of sessions, and what the bus was told."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.clock = ManualClock()
        self.bus = MemoryBus()
        self.news: list[News] = []
        self.bus.subscribe(self.news.append)
        ledger = Ledger(database, self.bus, self.clock)
        self.sessions = Sessions(ledger, folder, HEARTBEAT)
        self.telemetry = Telemetry(ledger)

    async def open(self, session_id: str = "run") -> None:
        await self.sessions.create(NewSession("DQN", training_session_id=session_id))

    async def report(self, session_id: str = "run") -> Any:
        batch = parse_record(METRICS, b'{"episode": 1}')
        return await self.telemetry.record(session_id, batch, EVERYBODY)

    async def status(self, session_id: str = "run") -> Status:
        return (await self.sessions.get(session_id)).status

    def events(self) -> list[dict[str, Any]]:
        """Every event the bus was told, in order."""
        return [
            record.value
            for news in self.news
            if isinstance(news, Committed)
            for record in news.records
            if record.type == STATUS
        ]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    database = Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield Desk(database, tmp_path / "models")
    await database.aclose()


async def test_silent_for_three_periods_is_lost(desk: Desk) -> None:
    await desk.open()
    await desk.clock.advance(3 * HEARTBEAT)
    assert await desk.sessions.lose_silent() == []
    await desk.clock.advance(0.001)
    assert await desk.sessions.lose_silent() == ["run"]
    assert await desk.sessions.lose_silent() == []
    assert await desk.status() is Status.LOST


async def test_a_record_puts_silence_off(desk: Desk) -> None:
    await desk.open()
    for _ in range(5):
        await desk.clock.advance(2 * HEARTBEAT)
        await desk.report()
        assert await desk.sessions.lose_silent() == []
    assert await desk.status() is Status.RUNNING


async def test_a_record_brings_a_lost_session_back_and_watchers_hear_of_it(desk: Desk) -> None:
    await desk.open()
    await desk.clock.advance(60)
    await desk.sessions.lose_silent()
    told = await desk.report()
    assert await desk.status() is Status.RUNNING
    assert [e["status"] for e in desk.events()] == ["running", "lost", "running"]
    assert desk.events()[-1]["previous"] == "lost"
    last = desk.news[-1]
    assert isinstance(last, Changed)
    assert last.session.status is Status.RUNNING
    # The receipt is the record's own; the event comes after it.
    assert told.accepted == 1
    assert (await desk.sessions.get("run")).last_seq == told.last_seq + 1


async def test_a_sign_of_life_brings_it_back_too(desk: Desk) -> None:
    await desk.open()
    await desk.clock.advance(60)
    await desk.sessions.lose_silent()
    await desk.sessions.heard("run")
    assert await desk.status() is Status.RUNNING
    assert (await desk.sessions.get("run")).last_seen_at == desk.clock.now()


async def test_only_the_silent_ones_are_lost(desk: Desk) -> None:
    for name in ("silent", "loud", "ended"):
        await desk.open(name)
    await desk.sessions.finish("ended", Status.COMPLETED)
    await desk.clock.advance(60)
    await desk.report("loud")
    assert await desk.sessions.lose_silent() == ["silent"]
    assert await desk.status("loud") is Status.RUNNING
    assert await desk.status("ended") is Status.COMPLETED


async def test_a_lost_session_can_end(desk: Desk) -> None:
    await desk.open()
    await desk.clock.advance(60)
    await desk.sessions.lose_silent()
    ended = await desk.sessions.finish("run", Status.STOPPED, reason="gave up")
    assert (ended.status, ended.stop_reason) == (Status.STOPPED, "gave up")
    assert ended.end_time == desk.clock.now()
    assert ended.wanted is Wanted.STOPPED
    with pytest.raises(Conflict):
        await desk.report()


async def test_going_on_starts_the_silence_anew(desk: Desk) -> None:
    await desk.open()
    await desk.sessions.finish("run", Status.STOPPED)
    await desk.clock.advance(3600)
    for again in (
        desk.sessions.create(NewSession("DQN", training_session_id="run", resume=True)),
        desk.sessions.update("run", {"status": "running"}),
    ):
        await again
        assert await desk.sessions.lose_silent() == []
        await desk.sessions.finish("run", Status.STOPPED)
        await desk.clock.advance(3600)


async def test_news_come_in_the_order_of_their_seqs(desk: Desk) -> None:
    await desk.open()
    for _ in range(5):
        await desk.report()
    await desk.sessions.finish("run", Status.COMPLETED)
    seqs = [n.first_seq for n in desk.news if isinstance(n, Committed)]
    assert seqs == list(range(1, 8))


async def test_nothing_is_told_of_what_was_refused(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.report("nobody")
    await desk.open()
    told = len(desk.news)
    with pytest.raises(Conflict):
        await desk.open()
    with pytest.raises(Conflict):
        await desk.sessions.update("run", {"status": "starting", "name": "half"})
    assert len(desk.news) == told
    assert (await desk.sessions.get("run")).name == "run"
