"""Records read from JSON, and what a session's newest figures are made of."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from grandstand.model.telemetry import (
    Batch,
    Record,
    merge_latest,
    newest,
    parse_batch,
    unpack,
)

NAMES = ("current_reward", "loss_value", "win_rate", "algorithm")
FIGURES = st.one_of(st.none(), st.integers(0, 9))


def batch_of(records: list[Any], **more: Any) -> Batch:
    return parse_batch(msgspec.json.encode({"records": records, **more}))


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    data: dict[str, Any] = {"episode": draw(st.integers(0, 9))}
    for name in draw(st.sets(st.sampled_from(NAMES))):
        value = draw(FIGURES)
        data[name] = f"a{value}" if name == "algorithm" and value is not None else value
    if draw(st.booleans()):
        data["extra"] = draw(
            st.one_of(st.none(), st.dictionaries(st.sampled_from(["x", "y", "z"]), FIGURES))
        )
    if draw(st.booleans()):
        return {"type": "training_metrics", "data": data}
    rows = draw(st.integers(1, 3))
    columns: dict[str, Any] = {
        name: [draw(FIGURES) for _ in range(rows)] for name in ("current_reward", "win_rate")
    }
    columns["episode"] = list(range(rows))
    columns["extra"] = {"x": [draw(FIGURES) for _ in range(rows)]}
    return {"type": "training_metrics", "columns": columns}


@settings(max_examples=200)
@given(st.lists(metrics(), min_size=1, max_size=12))
def test_latest_of_a_batch_is_what_its_records_one_by_one_would_make(sent: list[Any]) -> None:
    def latest(records: Any) -> Any:
        made: dict[str, Any] | None = {"loss_value": -1.0, "extra": {"z": -1}}
        for record in records:
            made = merge_latest(made, record)
        return made

    records = batch_of(sent).records
    assert latest(newest(records)) == latest(records)


def test_of_a_long_batch_only_the_newest_has_to_be_read() -> None:
    sent = [
        {"type": "training_metrics", "data": {"episode": i, "loss_value": i, "extra": {"a": i}}}
        for i in range(1000)
    ]
    sent[400]["data"]["win_rate"] = 5  # type: ignore[index]
    found = newest(batch_of(sent).records)
    assert [r.value.episode for r in found] == [400, 999]


def test_what_is_stored_of_a_batch_is_what_was_in_it() -> None:
    """Read in one go where all is usual, with care where something is not: the same comes out."""
    usual: list[Any] = [
        {"type": "training_metrics", "data": {"episode": 1, "loss_value": 0.5}},
        {"type": "bot_decision", "key": "k", "data": {"selected_action": "left"}},
        {"data": {"episode": 2}, "type": "training_metrics"},
    ]
    rare: list[Any] = [
        {"type": "training_status", "data": {"event": "phase", "n": [1]}},
        {"type": "graph_update", "data": {"graph_id": "g"}},
        {"type": "training_metrics", "columns": {"episode": [3, 4]}},
    ]

    def seen(records: list[Record]) -> list[Any]:
        return [
            (r.type, msgspec.json.decode(r.body), msgspec.to_builtins(r.value), r.count, r.key)
            for r in records
        ]

    for sent in (usual, usual + rare):
        batch = batch_of(sent, batch_id="b")
        assert (batch.batch_id, batch.kind, batch.count) == (
            "b",
            "batch",
            sum(len(r.get("columns", {}).get("episode", "1")) for r in sent),
        )
        assert seen(batch.records) == seen(unpack(batch.kind, batch.body))
        assert [body for _, body, *_ in seen(batch.records)] == [
            r.get("data") or r["columns"] for r in sent
        ]
        left = batch.without({"k"})
        assert [r.key for r in left.records] == [None] * (len(sent) - 1)
        assert seen(left.records) == seen(unpack(left.kind, left.body))
