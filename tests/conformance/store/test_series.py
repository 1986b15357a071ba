"""Series: any range at any zoom, exact, complete, through restarts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sqlalchemy import delete, func, select

from grandstand.clock import ManualClock
from grandstand.errors import NotFound, ValidationFailed
from grandstand.store.blocks import USUAL
from grandstand.store.database import Database
from grandstand.store.series import SeriesStore
from grandstand.store.tables import blocks, log, sessions

SEGMENT = USUAL.segment


def rows(start: int, values, **more) -> dict:
    told = list(values)
    columns = {"episode": list(range(start, start + len(told))), "current_reward": told, **more}
    return {"type": "training_metrics", "columns": columns}


def one(**data) -> dict:
    return {"type": "training_metrics", "data": data}


async def count(database: Database, level: int = 0) -> int:
    query = select(func.count()).where(blocks.c.level == level, blocks.c.series != 0)
    return await database.read(lambda c: c.scalar(query) or 0)


async def test_a_point_is_there_as_soon_as_its_commit_is(series, reporter):
    await reporter.report([one(episode=1, current_reward=2.5)])
    answer = await series.query(reporter.pk)
    assert answer["last_seq"] == 1
    assert answer["metrics"] == ["current_reward"]
    got = answer["series"]["current_reward"]
    assert got == {
        "x": [1],
        "seq": [1],
        "min": [2.5],
        "max": [2.5],
        "mean": [2.5],
        "last": [2.5],
        "count": [1],
        "points": 1,
    }


async def test_every_scalar_makes_a_series_and_nothing_else_does(series, reporter):
    extra = {"loss/actor": 0.25, "solved": True, "unknown": None}
    await reporter.report(
        [
            one(episode=3, step=40, algorithm="ppo", win_rate=50, loss_value=None, extra=extra),
            {"type": "bot_decision", "data": {"episode": 3, "confidence_score": 0.5}},
            {"type": "graph_update", "data": {"graph_id": "g"}},
            {"type": "training_status", "data": {"event": "phase", "current_reward": 5}},
        ]
    )
    answer = await series.query(reporter.pk, x="step")
    assert sorted(answer["metrics"]) == ["loss/actor", "solved", "win_rate"]
    assert answer["series"]["solved"]["last"] == [1.0]
    assert answer["series"]["win_rate"]["x"] == [40]
    assert answer["last_seq"] == 4


async def test_a_metric_nobody_reported_is_an_empty_series(series, reporter):
    answer = await series.query(reporter.pk, ["current_reward"])
    assert answer["series"]["current_reward"]["x"] == []
    assert answer["series"]["current_reward"]["points"] == 0


async def test_names_alone(series, reporter):
    await reporter.report([rows(1, [1.0, 2.0])])
    assert (await series.query(reporter.pk, []))["series"] == {}


async def test_singles_and_columns_are_one_series_in_order(series, reporter):
    await reporter.report([one(episode=1, current_reward=1), rows(2, [2, 3]), one(episode=4)])
    await reporter.report([one(episode=5, current_reward=5)])
    got = (await series.query(reporter.pk))["series"]["current_reward"]
    assert got["x"] == [1, 2, 3, 5]
    assert got["seq"] == [1, 2, 3, 5]


async def test_nan_runs_and_infinities_never_vanish(series, reporter):
    values = [1.0, math.nan, math.nan, math.nan, math.inf, 4.0, 5.0, -math.inf]
    await reporter.report([rows(1, values)])
    got = (await series.query(reporter.pk, max_points=4))["series"]["current_reward"]
    assert got["min"] == [1.0, "NaN", 4.0, 5.0]
    assert got["mean"] == [1.0, "NaN", 4.0, 5.0]
    assert got["last"] == ["NaN", "NaN", 4.0, "-Infinity"]
    assert got["not_finite"] == [1, 2, 1, 1]
    each = (await series.query(reporter.pk))["series"]["current_reward"]
    assert each["max"] == [1.0, "NaN", "NaN", "NaN", "Infinity", 4.0, 5.0, "-Infinity"]


async def test_times_are_seconds_and_a_missing_one_is_the_arrival(series, reporter):
    await reporter.report(
        [
            one(episode=1, current_reward=1, timestamp="2026-01-01T00:00:00.25"),
            one(episode=2, current_reward=2, timestamp="2026-01-01T02:00:00.5+02:00"),
            one(episode=3, current_reward=3),
        ]
    )
    start = 1767225600
    got = (await series.query(reporter.pk, x="time"))["series"]["current_reward"]
    assert got["x"] == [start + 0.25, start + 0.5, start + 1]
    some = await series.query(reporter.pk, x="time", frm=start + 0.5, to=start + 1)
    assert some["series"]["current_reward"]["last"] == [2.0, 3.0]


async def test_a_step_not_told_is_the_last_one_told(series, reporter):
    await reporter.report([one(episode=1, current_reward=1)])
    await reporter.report([rows(2, [2, 3, 4], step=[None, 30, None])])
    await reporter.report([one(episode=5, current_reward=5), one(episode=6, step=60, epsilon=1)])
    await reporter.report([one(episode=7, current_reward=7)])
    got = (await series.query(reporter.pk, x="step"))["series"]["current_reward"]
    assert got["x"] == [0, 0, 30, 30, 30, 60]


async def test_a_rewound_run_answers_with_both_passes_in_the_order_reported(series, reporter):
    await reporter.report([rows(1, range(1, 11))])
    await reporter.report([rows(6, range(106, 111))])
    got = (await series.query(reporter.pk, frm=7, to=8))["series"]["current_reward"]
    assert got["x"] == [7, 8, 7, 8]
    assert got["last"] == [7, 8, 107, 108]


async def test_blocks_are_made_in_the_background_and_answer_alike(series, reporter, database):
    values = np.sin(np.arange(3 * SEGMENT + 100) / 50)
    values[5000] = 99.0
    for at in range(0, len(values), 1000):
        await reporter.report([rows(at, values[at : at + 1000].tolist())], hears=series)
    await series.settle()
    assert await count(database) == 3
    for store in (series, SeriesStore(database)):
        got = (await store.query(reporter.pk, max_points=50))["series"]["current_reward"]
        assert len(got["x"]) <= 50
        assert got["points"] == len(values)
        assert sum(got["count"]) == len(values)
        assert max(got["max"]) == 99.0
        assert got["last"][-1] == values[-1]
        full = (await store.query(reporter.pk, max_points=20_000))["series"]["current_reward"]
        assert full["last"] == values.tolist()


async def test_sparse_metrics_keep_their_places(series, reporter, database):
    n = 2 * SEGMENT + 500
    told = [float(i) if i % 97 == 3 else None for i in range(n)]
    await reporter.report([one(episode=0)])
    for at in range(0, n, 2500):
        part = told[at : at + 2500]
        await reporter.report([rows(at, range(len(part)), best_reward=part)], hears=series)
    await series.settle()
    want = [i for i in range(n) if i % 97 == 3]
    got = (await series.query(reporter.pk, ["best_reward"]))["series"]["best_reward"]
    assert got["x"] == want
    assert got["last"] == [float(i) for i in want]
    assert got["seq"] == [i + 2 for i in want]
    few = (await series.query(reporter.pk, ["best_reward"], max_points=10))["series"]["best_reward"]
    assert len(few["x"]) <= 10
    assert sum(few["count"]) == len(want)
    assert few["x"][-1] == want[-1]


async def test_a_crash_neither_loses_nor_doubles(reporter, database):
    n = 2 * SEGMENT + 10
    before = SeriesStore(database)
    await before.open()
    for at in range(0, n, 777):
        await reporter.report([rows(at, range(at, min(n, at + 777)))], hears=before)
    await before.query(reporter.pk)
    # No aclose: what was in memory is gone, as after a kill.
    after = SeriesStore(database)
    got = (await after.query(reporter.pk, max_points=n))["series"]["current_reward"]
    assert got["last"] == [float(i) for i in range(n)]
    await reporter.report([rows(n, [float(n)])])
    assert (await after.query(reporter.pk, max_points=n))["last_seq"] == n + 1


async def test_a_long_backlog_is_worked_off_in_slices(reporter, database):
    n = 12 * SEGMENT
    for at in range(0, n, 8000):
        await reporter.report([rows(at, range(at, min(n, at + 8000)))])
    store = SeriesStore(database)
    got = (await store.query(reporter.pk, max_points=100))["series"]["current_reward"]
    assert (got["points"], got["min"][0], got["max"][-1]) == (n, 0.0, n - 1.0)
    assert await count(database) == 12


async def test_news_lost_late_or_twice_change_no_answer(series, reporter):
    await reporter.report([rows(0, range(-100, 0))], hears=series)
    await series.query(reporter.pk)
    heard = [await reporter.report([rows(at, range(at, at + 300))]) for at in range(0, 1500, 300)]
    for news in (heard[3], heard[3], heard[1]):
        series.hear(news)
    await series.settle()
    series.hear(heard[0])
    got = (await series.query(reporter.pk, max_points=5000))["series"]["current_reward"]
    assert got["last"] == [float(i) for i in range(-100, 1500)]


async def test_two_servers_on_one_database_agree(reporter, database):
    one_, other = SeriesStore(database), SeriesStore(database)
    for store in (one_, other):
        await store.open()
    n = SEGMENT - 10
    for at in range(0, n, 2000):
        news = await reporter.report([rows(at, range(at, min(n, at + 2000)))])
        one_.hear(news)
        other.hear(news)
    await one_.query(reporter.pk)
    await other.query(reporter.pk)
    news = await reporter.report([rows(n, range(n, n + 100))])
    for store in (one_, other):
        store.hear(news)
        got = (await store.query(reporter.pk, max_points=10_000))["series"]["current_reward"]
        assert got["last"] == [float(i) for i in range(n + 100)]
    assert await count(database) == 1


async def test_tails_used_longest_ago_are_let_go_and_read_again(database, opening):
    clock = ManualClock()
    store = SeriesStore(database, clock, memory_bytes=100_000)
    await store.open()
    reporters = [await opening.session(database, f"run-{i}") for i in range(6)]
    for reporter in reporters:
        await clock.advance(1)
        await reporter.report([rows(0, range(2000))], hears=store)
        await store.settle()
    assert store.held_bytes <= 100_000
    for reporter in reporters:
        await clock.advance(1)
        got = (await store.query(reporter.pk))["series"]["current_reward"]
        assert got["points"] == 2000
    await store.aclose()


async def test_a_key_given_to_another_session_starts_anew(series, reporter, database, opening):
    await reporter.report([rows(0, range(500))], hears=series)
    assert (await series.query(reporter.pk))["last_seq"] == 500
    await reporter.report([rows(500, range(100))], hears=series)
    await database.write(lambda c: c.execute(delete(sessions).where(sessions.c.pk == reporter.pk)))
    with pytest.raises(NotFound):
        await series.query(reporter.pk)
    again = await opening.session(database, "another", pk=reporter.pk)
    assert again.pk == reporter.pk
    assert (await series.query(again.pk))["metrics"] == []
    await again.report([rows(0, range(700))], hears=series)
    got = (await series.query(again.pk))["series"]["current_reward"]
    assert got["points"] == 700


NO_ROOM = {
    "sqlite": [
        "CREATE TRIGGER no_room BEFORE INSERT ON blocks BEGIN SELECT RAISE(FAIL, 'disk full'); END"
    ],
    "postgres": [
        """CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = 'disk_full'; END $$""",
        "CREATE TRIGGER no_room BEFORE INSERT ON blocks EXECUTE FUNCTION no_room()",
    ],
}
ROOM = {"sqlite": "DROP TRIGGER no_room", "postgres": "DROP TRIGGER no_room ON blocks"}


async def test_a_failed_seal_is_logged_and_made_up_for(series, reporter, database, opening, caplog):
    for statement in NO_ROOM[opening.kind]:
        await database.write(lambda c, s=statement: c.exec_driver_sql(s))
    await reporter.report([rows(0, range(SEGMENT + 5))], hears=series)
    await series.settle()
    assert "were not brought up to date" in caplog.text
    await database.write(lambda c: c.exec_driver_sql(ROOM[opening.kind]))
    got = (await series.query(reporter.pk, max_points=9999))["series"]["current_reward"]
    assert got["last"] == [float(i) for i in range(SEGMENT + 5)]
    assert await count(database) == 1


async def test_deleting_a_session_deletes_its_blocks(series, reporter, database):
    await reporter.report([rows(0, range(SEGMENT))], hears=series)
    await series.settle()
    assert await count(database) == 1
    await database.write(lambda c: c.execute(delete(sessions)))
    assert await count(database) == 0
    assert await database.read(lambda c: c.scalar(select(func.count()).select_from(log))) == 0


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"x": "reward"}, "x"),
        ({"max_points": 0}, "max_points"),
        ({"max_points": 10**9}, "max_points"),
        ({"frm": math.nan}, "from"),
        ({"to": math.inf}, "to"),
        ({"frm": 5, "to": 4}, "from"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_name(series, reporter, asked, field):
    with pytest.raises(ValidationFailed) as refused:
        await series.query(reporter.pk, **asked)
    assert refused.value.details["field"] == field
    assert refused.value.message.startswith(field)


async def test_an_empty_range_is_an_empty_series(series, reporter):
    await reporter.report([rows(0, range(10))])
    got = (await series.query(reporter.pk, frm=0.2, to=0.8))["series"]["current_reward"]
    assert got["x"] == []
    assert got["points"] == 0


async def test_levels_above_are_built_and_used(database, reporter):
    store = SeriesStore(database)
    await store.open()
    n = 66 * SEGMENT + 7
    values = np.cos(np.arange(n) / 1000)
    values[123_456] = -7.0
    values[200_000:200_100] = np.nan
    for at in range(0, n, 10_000):
        await reporter.report([rows(at, values[at : at + 10_000].tolist())], hears=store)
        await store.settle()
    assert await count(database, level=1) == 1
    got = (await store.query(reporter.pk, max_points=200))["series"]["current_reward"]
    assert len(got["x"]) <= 200
    assert sum(got["count"]) == got["points"] == n
    assert sum(got["not_finite"]) == 100
    assert min(v for v in got["min"] if v != "NaN") == -7.0
    assert got["x"][-1] == n - 1
    inside = await store.query(reporter.pk, frm=123_000, to=124_000, max_points=10_000)
    part = inside["series"]["current_reward"]
    assert part["x"] == list(range(123_000, 124_001))
    assert part["last"][456] == -7.0
    await store.aclose()


async def test_metrics_share_a_number_of_buckets(series, reporter):
    metrics = {f"m{i}": [float(n * i) for n in range(500)] for i in range(5)}
    columns = {"episode": list(range(500)), "extra": metrics}
    await reporter.report([{"type": "training_metrics", "columns": columns}])

    async def lengths(max_points: int, max_total: int | None) -> set[int]:
        answer = await series.query(reporter.pk, max_points=max_points, max_total=max_total)
        assert all(one["points"] == 500 for one in answer["series"].values())
        return {len(one["x"]) for one in answer["series"].values()}

    assert await lengths(600, None) == {500}
    assert max(await lengths(600, 1000)) <= 200
    assert max(await lengths(600, 1)) in range(50, 101)  # a picture of each, whatever happens
    assert max(await lengths(20, 1)) <= 20


async def test_metrics_read_together_are_as_those_read_alone(series, reporter):
    # More than are read with one statement; some reported seldom, one only in a single segment.
    rows = 3 * SEGMENT + 10
    every = {f"m{i:02}": [float(n % 97 + i) for n in range(rows)] for i in range(34)}
    seldom = {"seldom": [1.5 if n % 5000 == 0 else None for n in range(rows)]}
    once = {"once": [2.5 if n == SEGMENT + 7 else None for n in range(rows)]}
    for start in range(0, rows, 2000):
        part = slice(start, start + 2000)
        extra = {name: told[part] for name, told in (seldom | every | once).items()}
        columns = {"episode": list(range(rows))[part], "extra": extra}
        await reporter.report([{"type": "training_metrics", "columns": columns}])
    for stretch in ({}, {"frm": SEGMENT - 5, "to": 2 * SEGMENT + 5}):
        for max_points in (50, 2000):
            together = await series.query(reporter.pk, max_points=max_points, **stretch)
            assert len(together["series"]) == 36
            for name, told in together["series"].items():
                alone = await series.query(
                    reporter.pk, metrics=[name], max_points=max_points, **stretch
                )
                assert alone["series"][name] == told, name
