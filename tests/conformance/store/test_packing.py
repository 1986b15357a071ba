"""Packing: fewer bytes, and no reader sees a difference."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, func, select, update

from grandstand.errors import Conflict
from grandstand.store.database import Database
from grandstand.store.history import Sieve, batches, history, oldest_seq, replay
from grandstand.store.log import Append, append_many
from grandstand.store.migrate import downgrade, upgrade
from grandstand.store.packing import PACK_BYTES, PACKED, Pack, packable
from grandstand.store.series import SeriesStore
from grandstand.store.tables import log, sessions


def metric(episode: int, **more: Any) -> dict[str, Any]:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


async def report_some(reporter: Any) -> int:
    """Records of every kind, alone and in company; the last seq."""
    news = None
    for i in range(1, 31):
        news = await reporter.report(
            [
                metric(i, current_reward=i / 7, extra={"loss": "NaN" if i == 9 else 1 / i}),
                {"type": "bot_decision", "data": {"episode": i, "selected_action": "buy"}},
                {"type": "training_status", "data": {"event": "lesson", "number": i}},
                {
                    "type": "training_metrics",
                    "columns": {"episode": [100 * i, 100 * i + 1], "win_rate": [i, None]},
                },
            ]
        )
    return int(news.last_seq)


async def pack_all(database: Database, pk: int, after: int = 0, until: int = 2**53) -> int:
    """Pack what there is; returns how many packed rows came of it."""
    count = 0
    while True:
        begin = after
        pack = await database.read(lambda c: Pack(c, pk, begin, until))  # noqa: B023 - at once
        if not pack.rows:
            return count
        await database.write(pack.store)
        after, count = pack.last_seq, count + 1


def kinds(connection: Connection) -> list[str]:
    return list(connection.scalars(select(log.c.kind).order_by(log.c.last_seq)))


async def test_history_and_replay_read_the_same_after_packing(database, reporter) -> None:
    last = await report_some(reporter)
    types = ["training_metrics", "bot_decision", "training_status"]

    def everything(connection: Connection) -> Any:
        whole = history(connection, reporter.pk, Sieve.asked(types), limit=10_000)
        some = Sieve.asked(since_seq=17, until_seq=61, episode_from=5)
        part = history(connection, reporter.pk, some)
        pages = [replay(connection, reporter.pk, since, 7) for since in range(last + 1)]
        decisions = history(connection, reporter.pk, Sieve.asked(["bot_decision"]))
        return whole, part, pages, decisions, oldest_seq(connection, reporter.pk)

    before = await database.read(everything)
    assert await pack_all(database, reporter.pk) == 1
    assert await database.read(kinds) == [PACKED]
    assert await database.read(everything) == before


async def test_bytes_ids_and_times_come_out_as_they_went_in(database, reporter) -> None:
    await report_some(reporter)

    def stored(connection: Connection) -> Any:
        return list(batches(connection, reporter.pk, 0, 2**53))

    before = await database.read(stored)
    raw = sum(len(row.body) for row in before)
    await pack_all(database, reporter.pk)
    assert await database.read(stored) == before
    packed = await database.read(lambda c: c.scalar(select(func.sum(func.length(log.c.body)))))
    assert packed < raw / 3


async def test_series_read_the_same_from_a_packed_log(database, reporter) -> None:
    await report_some(reporter)
    before = await SeriesStore(database).query_json(reporter.pk)
    await pack_all(database, reporter.pk)
    assert await SeriesStore(database).query_json(reporter.pk) == before


async def test_a_batch_sent_again_is_known_for_good(database, reporter, opening) -> None:
    from grandstand.model.telemetry import parse_batch

    body = b'{"batch_id": "b-1", "records": [{"type": "training_metrics", "data": {"episode": 1}}]}'

    async def send() -> Any:
        append = Append(reporter.session_id, parse_batch(body), reporter.at)
        return await database.write_many(append_many, append)

    first = await send()
    await reporter.report([metric(2)])
    await pack_all(database, reporter.pk)
    again = await send()
    assert again.duplicate
    assert (again.first_seq, again.last_seq) == (first.first_seq, first.last_seq)
    assert await database.read(lambda c: len(list(batches(c, reporter.pk, 0, 99)))) == 2


async def test_large_batches_go_into_several_rows(database, reporter) -> None:
    text = "x" * (PACK_BYTES // 3)
    for i in range(10):
        event = {"type": "training_status", "data": {"event": "note", "text": text, "n": i}}
        await reporter.report([event])
    before = await database.read(lambda c: replay(c, reporter.pk, 0, 100))
    assert await pack_all(database, reporter.pk) == 5
    assert await database.read(lambda c: replay(c, reporter.pk, 0, 100)) == before
    assert [r[0] for r in await database.read(lambda c: replay(c, reporter.pk, 4, 3))] == [5, 6, 7]


async def test_two_who_pack_the_same_do_it_once(database, reporter) -> None:
    await report_some(reporter)
    one, two = [await database.read(lambda c: Pack(c, reporter.pk, 0, 2**53)) for _ in range(2)]
    before = await database.read(lambda c: replay(c, reporter.pk, 0, 1000))
    await database.write(one.store)
    with pytest.raises(Conflict):
        await database.write(two.store)
    assert await database.read(lambda c: replay(c, reporter.pk, 0, 1000)) == before


async def test_what_may_be_packed(database, reporter) -> None:
    """Of a running session what is in blocks, of one that rests everything."""
    await report_some(reporter)
    assert await database.read(packable) == []
    series = SeriesStore(database)
    rows = {"episode": list(range(5000))}
    news = await reporter.report([{"type": "training_metrics", "columns": rows}])
    await series.query(reporter.pk)
    (found,) = await database.read(packable)
    assert (found.session_pk, found.packed_seq, found.resting) == (reporter.pk, 0, False)
    assert 4096 <= found.until_seq < news.last_seq
    ended = update(sessions).where(sessions.c.pk == reporter.pk).values(status="completed")
    await database.write(lambda c: c.execute(ended))
    (found,) = await database.read(packable)
    assert (found.until_seq, found.resting) == (news.last_seq, True)
    await pack_all(database, reporter.pk)
    assert await database.read(packable) == []


async def test_a_segment_may_be_short(database, reporter) -> None:
    """A session that rests has everything in blocks; one that goes on loses nothing by it."""
    series = SeriesStore(database)
    await reporter.report([metric(i, current_reward=float(i)) for i in range(100)])
    await series.finish(reporter.pk)
    await reporter.report([metric(i, current_reward=float(i)) for i in range(100, 250)])
    await series.finish(reporter.pk)
    await series.finish(reporter.pk)
    await reporter.report([metric(i, current_reward=float(i)) for i in range(250, 5000)])
    for store in (series, SeriesStore(database)):
        got = await store.query(reporter.pk, ["current_reward"], max_points=10_000)
        assert got["series"]["current_reward"]["last"] == [float(i) for i in range(5000)]
        got = await store.query(reporter.pk, ["current_reward"], max_points=10)
        assert got["series"]["current_reward"]["points"] == 5000
        assert got["series"]["current_reward"]["last"][-1] == 4999.0


async def test_going_back_a_version_unpacks(database, reporter) -> None:
    await report_some(reporter)
    before = await database.read(lambda c: list(batches(c, reporter.pk, 0, 2**53)))
    await pack_all(database, reporter.pk)
    downgrade(database.engine, "0001")
    upgrade(database.engine)
    assert PACKED not in await database.read(kinds)
    assert await database.read(lambda c: list(batches(c, reporter.pk, 0, 2**53))) == before
