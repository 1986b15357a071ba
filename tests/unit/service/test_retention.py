"""Housekeeping against a clock that is held."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from grandstand.bus.memory import MemoryBus
from grandstand.clock import ManualClock
from grandstand.errors import NotFound
from grandstand.model.session import Status
from grandstand.model.telemetry import encode, parse_batch
from grandstand.service.access import EVERYBODY
from grandstand.service.ledger import Ledger
from grandstand.service.retention import Retention, Round
from grandstand.service.sessions import NewSession, Sessions
from grandstand.service.telemetry import Telemetry
from grandstand.store import media
from grandstand.store.database import Database
from grandstand.store.history import Sieve, history, oldest_seq, replay
from grandstand.store.series import SeriesStore
from grandstand.store.tables import log

DAY = 86_400.0


class Desk:
    """A database, its services, and its housekeeping."""

    def __init__(self, database: Database, folder: Path, **bounds: Any) -> None:
        self.clock = ManualClock()
        self.database = database
        ledger = Ledger(database, MemoryBus(), self.clock)
        self.sessions = Sessions(ledger, folder, 5.0)
        self.telemetry = Telemetry(ledger)
        self.series = SeriesStore(database, self.clock)
        self.retention = Retention(database, self.series, self.sessions, self.clock, **bounds)

    async def session(self, session_id: str = "run", rows: int = 100) -> None:
        await self.sessions.create(NewSession("DQN", training_session_id=session_id))
        await self.report(session_id, rows)

    async def report(self, session_id: str = "run", rows: int = 100) -> None:
        columns = {
            "episode": list(range(rows)),
            "current_reward": [n / 3 for n in range(rows)],
        }
        decision = {"type": "bot_decision", "data": {"selected_action": "buy"}}
        body = {"records": [{"type": "training_metrics", "columns": columns}, decision]}
        await self.telemetry.record(session_id, parse_batch(encode(body)), EVERYBODY)

    async def end(self, session_id: str = "run") -> None:
        await self.sessions.finish(session_id, Status.COMPLETED)

    async def curve(self, session_id: str = "run") -> Any:
        pk = await self.sessions.key(session_id)
        got = await self.series.query(pk, ["current_reward"])
        return got["series"]["current_reward"]

    async def kinds(self) -> list[str]:
        return await self.database.read(
            lambda c: list(c.scalars(select(log.c.kind).order_by(log.c.session_pk, log.c.last_seq)))
        )

    async def replayed(self, session_id: str = "run") -> Any:
        pk = await self.sessions.key(session_id)
        return await self.database.read(lambda c: replay(c, pk, 0, 1000))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield database
    await database.aclose()


async def test_a_running_session_keeps_its_newest_as_it_came(database, tmp_path) -> None:
    desk = Desk(database, tmp_path)
    await desk.session()
    assert await desk.retention.round() == Round()
    assert "packed" not in await desk.kinds()


async def test_an_ended_session_is_packed_and_reads_the_same(database, tmp_path) -> None:
    desk = Desk(database, tmp_path)
    await desk.session()
    await desk.end()
    before = await desk.curve(), await desk.replayed()
    done = await desk.retention.round()
    assert done.packed == 3  # opened, reported, ended
    assert done.packed_bytes < done.raw_bytes
    assert await desk.kinds() == ["packed"]
    assert (await desk.curve(), await desk.replayed()) == before
    assert await desk.retention.round() == Round()


async def test_nothing_is_dropped_unless_asked_for(database, tmp_path) -> None:
    desk = Desk(database, tmp_path)
    await desk.session()
    await desk.end()
    await desk.clock.advance(10_000 * DAY)
    await desk.retention.round()
    assert len(await desk.replayed()) == 103
    assert (await desk.sessions.get("run")).status is Status.COMPLETED


async def test_the_raw_log_goes_when_it_is_old_and_series_stay(database, tmp_path) -> None:
    desk = Desk(database, tmp_path, drop_log_days=30)
    await desk.session()
    await desk.session("other")
    await desk.end()
    before = await desk.curve()
    await desk.clock.advance(30 * DAY)
    assert (await desk.retention.round()).dropped == 0
    await desk.clock.advance(1)
    assert (await desk.retention.round()).dropped == 1
    assert (await desk.retention.round()).dropped == 0
    assert await desk.curve() == before
    pk = await desk.sessions.key("run")
    assert (await SeriesStore(database).query(pk))["series"]["current_reward"] == before
    assert await desk.replayed() == []
    assert (await database.read(lambda c: history(c, pk)))["oldest_seq"] == 104
    assert await database.read(lambda c: oldest_seq(c, pk)) == 104
    assert len(await desk.replayed("other")) == 102


async def test_a_session_opened_again_goes_on_after_its_log_was_dropped(database, tmp_path) -> None:
    desk = Desk(database, tmp_path, drop_log_days=1)
    await desk.session()
    await desk.end()
    await desk.clock.advance(2 * DAY)
    await desk.retention.round()
    await desk.sessions.create(NewSession("DQN", training_session_id="run", resume=True))
    await desk.report()
    assert (await desk.curve())["points"] == 200
    assert (await desk.replayed())[0][0] == 104


async def test_old_sessions_are_deleted_when_asked_for(database, tmp_path) -> None:
    desk = Desk(database, tmp_path, delete_days=7)
    await desk.session()
    await desk.session("running")
    await desk.end()
    await desk.clock.advance(7 * DAY + 1)
    assert (await desk.retention.round()).deleted == 1
    with pytest.raises(NotFound):
        await desk.sessions.get("run")
    assert (await desk.sessions.get("running")).status is Status.RUNNING


async def test_of_many_images_the_newest_stay(database, tmp_path) -> None:
    png = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IHDR" + bytes([0, 0, 0, 1] * 2) + bytes(976)
    desk = Desk(database, tmp_path, image_bytes=3500)
    for name in ("many", "few"):
        await desk.sessions.create(NewSession("DQN", training_session_id=name))
    image = {"type": "image", "data": {"name": "i", "image": base64.b64encode(png).decode()}}
    for name, count in (("many", 6), ("few", 3)):
        body = encode({"records": [image] * count})
        await desk.telemetry.record(name, parse_batch(body), EVERYBODY)
    assert (await desk.retention.round()).images == 3
    assert (await desk.retention.round()).images == 0
    for name, seqs in (("many", [5, 6, 7]), ("few", [2, 3, 4])):
        pk = await desk.sessions.key(name)
        told = await database.read(lambda c, pk=pk: history(c, pk, Sieve.asked(types=["image"])))
        kept = [
            one["seq"]
            for one in told["images"]
            if await database.read(lambda c, pk=pk, seq=one["seq"]: media.find(c, pk, seq))
        ]
        assert kept == seqs
        assert len(told["images"]) == (6 if name == "many" else 3)
