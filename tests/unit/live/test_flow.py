"""How often: what is thinned, what is not, and that nothing left out looks like loss."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.bus.base import Committed
from grandstand.clock import ManualClock
from grandstand.live.dialects import marked
from grandstand.live.flow import FLOOD, HELD, Flow, Item
from grandstand.live.hub import ALL_TYPES
from grandstand.model.telemetry import DECISION, METRICS, Columns, Record, parse_batch

from .conftest import covered, decision, episodes, graph, metrics, settle, status


class Tap:
    """A flow, what comes out of it, and a session's counter."""

    def __init__(self, max_hz: float = 10.0, types: frozenset[str] = ALL_TYPES) -> None:
        self.clock = ManualClock()
        self.out: list[Item] = []
        self.emissions = 0
        self.floods = 0
        self.seq = 0
        self.flow = Flow(self.clock, types, max_hz, self._take, self._flooded)

    def feed(self, *records: dict[str, Any]) -> Committed:
        batch = parse_batch(json.dumps({"records": records}).encode())
        first, self.seq = self.seq + 1, self.seq + batch.count
        news = Committed(1, "run", first, self.seq, tuple(batch.records), self.clock.now())
        self.flow.feed(news)
        return news

    @property
    def told(self) -> list[dict[str, Any]]:
        return [{"type": i.type, "seq": i.seq, "data": json.loads(marked(i))} for i in self.out]

    @property
    def seqs(self) -> list[int]:
        return [item.seq for item in self.out]

    def _take(self, items: list[Item]) -> None:
        self.emissions += 1
        self.out += items

    def _flooded(self) -> None:
        self.floods += 1


@pytest.fixture
async def tap() -> AsyncIterator[Tap]:
    tap = Tap()
    yield tap
    tap.flow.close()


async def test_the_first_after_a_quiet_spell_goes_out_at_once(tap: Tap) -> None:
    tap.feed(metrics(1))
    assert tap.seqs == [1]
    await tap.clock.advance(5)
    tap.feed(metrics(2))
    assert tap.seqs == [1, 2]
    assert "skipped_from" not in tap.told[1]["data"]


async def test_the_newest_of_a_period_stands_for_the_others(tap: Tap) -> None:
    for episode in range(1, 8):
        tap.feed(metrics(episode))
    assert tap.seqs == [1]
    await settle()
    await tap.clock.advance(0.1)
    assert tap.told[1] == {
        "type": METRICS,
        "seq": 7,
        "data": {"episode": 7, "skipped_from": 2, "skipped_to": 6},
    }


async def test_the_rate_holds_over_a_long_burst(tap: Tap) -> None:
    for episode in range(1, 501):
        tap.feed(metrics(episode))
        await settle()
        await tap.clock.advance(0.01)
    assert 50 <= len(tap.out) <= 52
    await tap.clock.advance(0.2)
    covered(tap.told, 0, 500)


class Watched(Columns, kw_only=True):
    """Columns that note which rows were asked of them."""

    def row(self, i: int) -> dict[str, Any]:
        UNPACKED.append(i)
        return super().row(i)


UNPACKED: list[int] = []


async def test_rows_that_are_left_out_are_never_unpacked(tap: Tap) -> None:
    UNPACKED.clear()
    for count in (5000, 4000):
        record = Record(METRICS, b"", Watched(episode=list(range(count))), count)
        first, tap.seq = tap.seq + 1, tap.seq + count
        tap.flow.feed(Committed(1, "run", first, tap.seq, (record,), tap.clock.now()))
    await settle()
    await tap.clock.advance(0.1)
    assert UNPACKED == [4999, 3999]
    covered(tap.told, 0, 9000)


async def test_the_newest_row_of_each_shape_is_sent(tap: Tap) -> None:
    tap.feed(metrics(1))
    # One update of our trainer: its episodes, then its losses.
    tap.feed(episodes(2, 100), metrics(100, loss_value=0.5))
    tap.feed(episodes(101, 200), metrics(200, loss_value=0.25))
    await settle()
    await tap.clock.advance(0.1)
    assert [(m["seq"], m["data"].get("loss_value")) for m in tap.told] == [
        (1, None),
        (201, None),
        (202, 0.25),
    ]
    covered(tap.told, 0, 202)
    # Two at once count as two: the average keeps to the rate.
    tap.feed(metrics(201))
    await settle()
    await tap.clock.advance(0.1)
    assert tap.seq not in tap.seqs
    await tap.clock.advance(0.1)
    assert tap.seqs[-1] == tap.seq


async def test_decisions_are_thinned_beside_the_figures(tap: Tap) -> None:
    for i in range(1, 20):
        tap.feed(metrics(i), decision(i))
    await settle()
    await tap.clock.advance(0.1)
    assert [item.type for item in tap.out] == [METRICS, DECISION, METRICS, DECISION]
    covered(tap.told, 0, 38)


async def test_a_change_of_status_goes_out_at_once_after_the_figures_before_it(tap: Tap) -> None:
    for episode in range(1, 6):
        tap.feed(metrics(episode))
    tap.feed(status("status", status="completed"))
    assert tap.seqs == [1, 5, 6]
    covered(tap.told, 0, 6)
    # The figures that were let out early count for the rate.
    tap.feed(metrics(6))
    await settle()
    await tap.clock.advance(0.05)
    assert tap.seqs[-1] == 6
    await tap.clock.advance(0.15)
    assert tap.seqs[-1] == 7


async def test_a_graph_waits_for_the_figures_before_it_and_all_are_sent(tap: Tap) -> None:
    tap.feed(graph())
    assert tap.seqs == [1]
    tap.feed(metrics(1))
    tap.feed(metrics(2), graph("a"), metrics(3), graph("b"))
    await settle()
    await tap.clock.advance(0.1)
    assert tap.seqs == [1, 2, 4, 5, 6]
    covered(tap.told, 0, 6)
    tap.feed(metrics(4))
    tap.feed(*[graph(str(i)) for i in range(HELD + 5)])
    covered(tap.told, 0, tap.seqs[-1])
    assert len(tap.seqs) > HELD


async def test_rate_zero_lets_every_row_through() -> None:
    tap = Tap(max_hz=0)
    tap.feed(metrics(1), episodes(2, 300), decision(1), graph(), status("phase"))
    assert tap.seqs == list(range(1, 304))
    assert tap.emissions == 1


async def test_rate_zero_does_not_unpack_a_flood_in_one_turn() -> None:
    tap = Tap(max_hz=0)
    tap.feed(episodes(1, FLOOD + 1))
    assert (tap.floods, tap.out) == (1, [])


async def test_only_wanted_types_come_out_and_count_as_skipped() -> None:
    tap = Tap(types=frozenset({DECISION}))
    for i in range(1, 5):
        tap.feed(metrics(i), decision(i), status("phase"))
    await settle()
    await tap.clock.advance(0.1)
    assert {item.type for item in tap.out} == {DECISION}
    assert tap.told[-1]["data"]["skipped_to"] < tap.seq
    quiet = Tap(types=frozenset({"training_status"}))
    quiet.feed(metrics(1), status("phase"))
    assert quiet.told == [{"type": "training_status", "seq": 2, "data": {"event": "phase"}}]


def test_marks_fit_any_object() -> None:
    at = ManualClock().now()
    for data in (b"{}", b" { } \n", b'{"a":1}', b'\n{"a": {}}\n', b'{"a":[{}]}'):
        item = Item(METRICS, 9, at, data, (3, 8))
        assert json.loads(marked(item)) == {
            **json.loads(data),
            "skipped_from": 3,
            "skipped_to": 8,
        }


def test_a_mark_is_cut_for_who_has_part_of_it() -> None:
    item = Item(METRICS, 9, ManualClock().now(), b"{}", (3, 8))
    assert item.after(2).skipped == (3, 8)
    assert item.after(5).skipped == (6, 8)
    assert item.after(8).skipped is None


RECORDS = st.sampled_from(["metrics", "columns", "losses", "decision", "graph", "status"])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(RECORDS, min_size=1, max_size=6), st.sampled_from([0, 0.03, 0.2]))),
    st.sampled_from([0.0, 5.0, 50.0]),
)
def test_every_seq_is_sent_or_said_to_be_skipped(
    story: list[tuple[list[str], float]], max_hz: float
) -> None:
    async def play() -> None:
        tap = Tap(max_hz)
        for kinds, pause in story:
            made = []
            for i, kind in enumerate(kinds):
                made.append(
                    {
                        "metrics": metrics(i),
                        "columns": episodes(1, 7),
                        "losses": metrics(i, loss_value=1.0),
                        "decision": decision(i),
                        "graph": graph(),
                        "status": status("phase"),
                    }[kind]
                )
            tap.feed(*made)
            await asyncio.sleep(0)
            await tap.clock.advance(pause)
        for _ in range(3):
            await asyncio.sleep(0)
            await tap.clock.advance(2)
        covered(tap.told, 0, tap.seq)
        kinds_sent = [i.type for i in tap.out]
        for kind, name in (("graph", "graph_update"), ("status", "training_status")):
            assert kinds_sent.count(name) == sum(k.count(kind) for k, _ in story)
        tap.flow.close()

    asyncio.run(play())
