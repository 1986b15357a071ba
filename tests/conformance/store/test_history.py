"""History: page after page, nothing skipped, nothing twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandstand.errors import ValidationFailed
from grandstand.model.session import new_id
from grandstand.store import history as module
from grandstand.store.history import Sieve, history, oldest_seq, replay

AT = datetime(2026, 1, 1, tzinfo=UTC)


def metric(episode: int, **more) -> dict:
    return {"type": "training_metrics", "data": {"episode": episode, **more}}


def columns(episodes, **more) -> dict:
    return {"type": "training_metrics", "columns": {"episode": list(episodes), **more}}


def decision(episode: int) -> dict:
    return {"type": "bot_decision", "data": {"episode": episode, "selected_action": "buy"}}


def event(name: str) -> dict:
    return {"type": "training_status", "data": {"event": name}}


GRAPH = {
    "type": "graph_update",
    "data": {
        "graph_id": "g",
        "data_points": {"loss": [{"timestamp": "2026-01-01T00:00:00Z", "value": 1.5}]},
    },
}


@pytest.fixture
async def ask(database, reporter):
    async def history_page(limit=1000, cursor=None, **asked):
        return await database.read(
            lambda c: history(c, reporter.pk, Sieve.asked(**asked), limit=limit, cursor=cursor)
        )

    return history_page


async def test_an_item_is_the_data_with_its_seq_and_time(reporter, ask):
    await reporter.report([metric(1, current_reward=2.5, extra={"v": "NaN"}), decision(1), GRAPH])
    await reporter.report(
        [columns([2, 3], current_reward=[None, 4], timestamp=["2026-01-02T00:00:00", None])]
    )
    got = await ask()
    assert got["metrics_data"] == [
        {
            "episode": 1,
            "current_reward": 2.5,
            "extra": {"v": "NaN"},
            "seq": 1,
            "timestamp": AT + timedelta(seconds=1),
        },
        {"episode": 2, "seq": 4, "timestamp": AT + timedelta(days=1)},
        {"episode": 3, "current_reward": 4.0, "seq": 5, "timestamp": AT + timedelta(seconds=2)},
    ]
    assert [d["seq"] for d in got["bot_decisions"]] == [2]
    assert [g["graph_id"] for g in got["graph_data"]] == ["g"]
    assert (got["total_points"], got["next_cursor"]) == (4, None)
    assert "events" not in got


async def test_pages_join_without_gap_or_double_while_more_is_reported(reporter, ask):
    await reporter.report([columns(range(10)), decision(3), event("phase"), columns(range(10, 20))])
    seqs, cursor, pages = [], None, 0
    while True:
        got = await ask(limit=4, cursor=cursor)
        assert got["total_points"] <= 4
        seqs += sorted(i["seq"] for i in got["metrics_data"] + got["bot_decisions"])
        pages += 1
        if pages == 2:
            await reporter.report([metric(20)])
        if (cursor := got["next_cursor"]) is None:
            break
    assert seqs == sorted(seqs)
    assert seqs == [s for s in range(1, 24) if s != 12]


async def test_types_metrics_and_bounds(reporter, ask):
    await reporter.report(
        [
            metric(1, win_rate=10, extra={"a": 1, "b": 2}),
            metric(2, loss_value=1, step=7),
            decision(2),
            event("checkpoint"),
            metric(3, win_rate=None, extra={"a": 3}),
        ]
    )
    got = await ask(metrics=["a", "win_rate"])
    assert [{k: v for k, v in i.items() if k != "timestamp"} for i in got["metrics_data"]] == [
        {"episode": 1, "win_rate": 10, "extra": {"a": 1}, "seq": 1},
        {"episode": 3, "win_rate": None, "extra": {"a": 3}, "seq": 5},
    ]
    assert (await ask(types=["bot_decision"]))["metrics_data"] == []
    assert [e["event"] for e in (await ask(types=["training_status"]))["events"]] == ["checkpoint"]
    assert [i["seq"] for i in (await ask(since_seq=1, until_seq=2))["metrics_data"]] == [2]
    assert [i["seq"] for i in (await ask(episode_from=2, episode_to=2))["metrics_data"]] == [2]
    later = await ask(after=AT + timedelta(seconds=2))
    assert later["total_points"] == 0
    now = await ask(after=AT + timedelta(seconds=1), before=AT + timedelta(seconds=1))
    assert now["total_points"] == 4
    graphs = await ask(types=["graph_update"])
    assert (graphs["total_points"], graphs["next_cursor"]) == (0, None)


async def test_a_filter_that_passes_little_makes_short_pages(reporter, ask):
    for at in range(0, module.SCAN + 20_000, 10_000):
        await reporter.report([columns(range(at, at + 10_000))])
    await reporter.report([decision(5)])
    first = await ask(types=["bot_decision"])
    assert (first["bot_decisions"], first["next_cursor"]) == ([], str(module.SCAN))
    second = await ask(types=["bot_decision"], cursor=first["next_cursor"])
    assert [d["episode"] for d in second["bot_decisions"]] == [5]
    assert second["next_cursor"] is None


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"types": ["frames"]}, "type"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"cursor": "-3"}, "cursor"),
        ({"cursor": "next"}, "cursor"),
        ({"since_seq": 9, "until_seq": 3}, "since_seq"),
        ({"episode_from": 9, "episode_to": 3}, "episode_from"),
        ({"after": AT, "before": AT - timedelta(1)}, "after"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_name(ask, asked, field):
    with pytest.raises(ValidationFailed) as refused:
        await ask(**asked)
    assert refused.value.details["field"] == field


async def test_replay_gives_every_message_after_a_seq(database, reporter):
    assert await database.read(lambda c: oldest_seq(c, reporter.pk)) == 1
    await reporter.report([event("start"), columns([1, 2, 3], epsilon=[None, 0.5, 0.25])])
    await reporter.report([decision(3), GRAPH])
    rows = await database.read(lambda c: replay(c, reporter.pk, 2, 100))
    assert [row[:2] for row in rows] == [
        (3, "training_metrics"),
        (4, "training_metrics"),
        (5, "bot_decision"),
        (6, "graph_update"),
    ]
    assert rows[0][2] == AT + timedelta(seconds=1)
    assert json.loads(rows[1][3]) == {"episode": 3, "epsilon": 0.25}
    assert await database.read(lambda c: replay(c, reporter.pk, 6, 100)) == []
    assert await database.read(lambda c: oldest_seq(c, reporter.pk)) == 1


@settings(
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(limits=st.lists(st.integers(1, 40), min_size=60, max_size=60))
async def test_replay_in_any_steps_is_the_same(database, opening, limits):
    reporter = await opening.session(database, new_id())
    await reporter.report([columns(range(30)), event("phase"), metric(30)])
    await reporter.report([columns(range(31, 45))])
    seen, since = [], 0
    for limit in limits:
        rows = await database.read(lambda c, s=since, n=limit: replay(c, reporter.pk, s, n))
        assert len(rows) <= limit
        seen += [row[0] for row in rows]
        since = seen[-1]
    assert seen == list(range(1, 47))[: len(seen)]
    assert len(seen) == min(46, sum(limits))
