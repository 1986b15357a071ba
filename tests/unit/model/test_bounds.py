"""Bounds catch nonsense, by the name of its field, and let real training through; every way in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from grandstand.errors import BadRequest, GrandstandError, TooLarge, ValidationFailed
from grandstand.model.bundle import Bundle, read_frame, read_usual, stays_alone
from grandstand.model.telemetry import (
    DECISION,
    GRAPH,
    METRICS,
    SCALAR_FIELDS,
    STATUS,
    Batch,
    TrainingMetrics,
    parse_batch,
    parse_record,
    unpack,
)

AT = "2026-01-01T00:00:00Z"


def alone(type: str, data: Any) -> Batch:
    return parse_record(type, json.dumps(data).encode())


def batched(type: str, data: Any) -> Batch:
    records = [{"type": METRICS, "data": {"episode": 0}}, {"type": type, "data": data}]
    return parse_batch(json.dumps({"records": records}).encode())


def framed(type: str, data: Any) -> Batch:
    return read_frame(json.dumps({"type": type, "data": data}).encode())


def listed(type: str, data: Any) -> Batch:
    return read_frame(json.dumps([{"type": type, "data": data}]).encode())


def columns(data: Any) -> Batch:
    columnar = {"type": METRICS, "columns": data}
    return parse_batch(json.dumps({"records": [columnar]}).encode())


WAYS: dict[Callable[[str, Any], Batch], str] = {
    alone: "",
    batched: "records[1].data.",
    framed: "data.",
    listed: "[0].data.",
}


def refused(read: Callable[[], Batch]) -> ValidationFailed:
    with pytest.raises(ValidationFailed) as caught:
        read()
    return caught.value


NONSENSE: list[tuple[str, Any, str]] = [
    (METRICS, {}, "episode"),
    (METRICS, {"episode": None}, "episode"),
    (METRICS, {"episode": -1}, "episode"),
    (METRICS, {"episode": 2**60}, "episode"),
    (METRICS, {"episode": 1.5}, "episode"),
    (METRICS, {"episode": True}, "episode"),
    (METRICS, {"episode": "7"}, "episode"),
    (METRICS, {"episode": "NaN"}, "episode"),
    (METRICS, {"episode": 1, "step": -1}, "step"),
    (METRICS, {"episode": 1, "total_episodes": 2**60}, "total_episodes"),
    (METRICS, {"episode": 1, "win_rate": 101}, "win_rate"),
    (METRICS, {"episode": 1, "win_rate": -0.5}, "win_rate"),
    (METRICS, {"episode": 1, "epsilon": 1.01}, "epsilon"),
    (METRICS, {"episode": 1, "learning_rate": -1e-4}, "learning_rate"),
    (METRICS, {"episode": 1, "memory_usage_mb": -1}, "memory_usage_mb"),
    (METRICS, {"episode": 1, "model_generation": -1}, "model_generation"),
    (METRICS, {"episode": 1, "current_reward": "high"}, "current_reward"),
    (METRICS, {"episode": 1, "current_reward": True}, "current_reward"),
    (METRICS, {"episode": 1, "loss_value": [1]}, "loss_value"),
    (METRICS, {"episode": 1, "timestamp": "yesterday"}, "timestamp"),
    (METRICS, {"episode": 1, "algorithm": "x" * 257}, "algorithm"),
    (METRICS, {"episode": 1, "rewrd": 2}, "rewrd"),
    (METRICS, {"episode": 1, "extra": {"a/b": 1, "x.y[0]": {"c": 1}}}, "extra.x.y[0]"),
    (METRICS, {"episode": 1, "extra": {"good": 1, "bad": "text"}}, "extra.bad"),
    (METRICS, {"episode": 1, "extra": {"x" * 257: 1}}, "extra"),
    (METRICS, {"episode": 1, "extra": {"": 1}}, "extra"),
    (DECISION, {"action_probabilities": {"a": 0.5, "b": "x"}}, "action_probabilities.b"),
    (DECISION, {"q_values": [1, "x"]}, "q_values[1]"),
    (DECISION, {"confidence_score": 2}, "confidence_score"),
    (DECISION, {"chosen": 1}, "chosen"),
    (GRAPH, {"graph_id": ""}, "graph_id"),
    (GRAPH, {"graph_id": "g", "max_points": 0}, "max_points"),
    (
        GRAPH,
        {"graph_id": "g", "data_points": {"a": [], "m": [{"timestamp": AT, "value": 1, "z": 2}]}},
        "data_points.m[0].z",
    ),
    (GRAPH, {"graph_id": "g", "data_points": {"m": [{"value": 1}]}}, "data_points.m[0].timestamp"),
    (STATUS, {"evnt": "x"}, "event"),
    (STATUS, {"event": "x" * 65}, "event"),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize(("type", "data", "field"), NONSENSE)
def test_nonsense_is_refused_by_name(
    way: Callable[[str, Any], Batch], type: str, data: Any, field: str
) -> None:
    error = refused(lambda: way(type, data))
    assert error.details["field"] == WAYS[way] + field
    assert error.message.startswith(f"{WAYS[way]}{field}: ")
    assert error.details["problem"] in error.message


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "episode"),
        ({"episode": [1, -1]}, "episode[1]"),
        ({"episode": [None]}, "episode[0]"),
        ({"episode": [1], "win_rate": [101]}, "win_rate[0]"),
        ({"episode": [1], "rewrd": [1]}, "rewrd"),
        ({"episode": [1, 2], "extra": {"a": [1, 2], "b": [1, "x"]}}, "extra.b[1]"),
    ],
)
def test_nonsense_in_columns_is_refused_by_name(data: Any, field: str) -> None:
    error = refused(lambda: columns(data))
    assert error.details["field"] == f"records[0].columns.{field}"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], None),
        ({}, "records"),
        ({"records": {}}, "records"),
        ({"records": [], "batchid": "b"}, "batchid"),
        ({"records": [], "batch_id": "x" * 129}, "batch_id"),
        ({"records": [{"type": "error", "data": {}}]}, "records[0].type"),
        ({"records": [{"type": METRICS, "data": {"episode": 1}, "key": ""}]}, "records[0].key"),
        ({"records": [{"type": METRICS, "data": {"episode": 1}, "kye": 1}]}, "records[0].kye"),
        ({"records": [{"type": METRICS}]}, "records[0]"),
        ({"records": [{"type": DECISION, "columns": {}}]}, "records[0].columns"),
    ],
)
def test_a_batch_that_is_none_is_refused_by_name(body: Any, field: str | None) -> None:
    assert refused(lambda: parse_batch(json.dumps(body).encode())).details["field"] == field


REAL: list[Any] = [
    0,
    -3,
    7,
    -1234.5,
    1e308,
    -1e308,
    5e-324,
    10**30,
    float("nan"),
    float("inf"),
    float("-inf"),
    "NaN",
    "Infinity",
    "-Infinity",
    None,
]


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_whatever_a_training_may_say_goes_through(value: Any) -> None:
    signed = ("current_reward", "average_reward", "best_reward", "loss_value")
    data = {"episode": 1, **dict.fromkeys(signed, value), "extra": {"grad/norm": value}}
    for way in WAYS:
        record = way(METRICS, data).records[-1]
        assert isinstance(record.value, TrainingMetrics)
        msgspec.json.decode(record.body)  # JSON for certain
    rows = columns({name: [v] for name, v in data.items() if name != "extra"})
    assert rows.count == 1
    decision = {"state_values": value, "q_values": [0 if value is None else value]}
    assert alone(DECISION, decision).count == 1


def test_all_but_the_episode_may_be_unknown_or_not_a_number() -> None:
    names = [n for n in TrainingMetrics.__struct_fields__ if n != "episode"]
    for way in WAYS:
        assert way(METRICS, {"episode": 0, **dict.fromkeys(names)}).records
    counts = {"total_episodes", "model_generation"}
    floats = [n for n in SCALAR_FIELDS if n not in counts]
    for value in (float("nan"), float("inf")):
        data = {"episode": 1, **dict.fromkeys(floats, value)}
        for way in WAYS:
            assert way(METRICS, data).records
        assert columns({"episode": [1], **{n: [value] for n in floats}}).records


def test_limits_are_where_they_are_said_to_be() -> None:
    assert alone(METRICS, {"episode": 2**53, "win_rate": 100, "epsilon": 1}).records
    assert alone(METRICS, {"episode": 0, "extra": {"x" * 256: True}}).records
    assert columns({"episode": list(range(10_000))}).count == 10_000
    with pytest.raises(TooLarge):
        columns({"episode": list(range(10_001))})
    with pytest.raises(TooLarge):
        read_frame(json.dumps([{"type": METRICS, "data": {"episode": 1}}] * 10_001).encode())


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"nul", b"[1", b'{"episode": 1e999}', b'{"episode": 1, "algorithm": "\xff"}'],
)
def test_what_is_no_json_is_said_to_be_none(text: bytes) -> None:
    for read in (lambda: parse_record(METRICS, text), lambda: read_frame(text)):
        with pytest.raises((BadRequest, ValidationFailed)) as caught:
            read()
        assert isinstance(caught.value, GrandstandError)
    with pytest.raises(BadRequest):
        parse_batch(b'{"records": [{"type": "training_metrics", "data": ' + text)


def test_a_bundle_is_what_its_frames_are() -> None:
    """Usual frames, a list, rows in columns and a bare NaN become one batch, each body itself."""
    usual = [
        json.dumps({"type": METRICS, "data": {"episode": i, "loss_value": i / 3}}).encode()
        for i in range(3)
    ]
    others = [
        b' [{"type":"training_metrics","data":{"episode":3}},{"type":"bot_decision","data":{}}] ',
        b'{"type": "bot_decision", "data": {"selected_action": 1}, "key": "k"}',
        b'{"type": "training_metrics", "columns": {"episode": [4, 5]}}',
        b'{"type": "training_metrics", "data": {"episode": 6, "loss_value": NaN}}',
        b'{"records": [{"type": "training_metrics", "data": {"episode": 7}}]}',
        b'{"type": "graph_update", "data": {"graph_id": "g"}}',
    ]
    bundle = Bundle()
    items = read_usual(usual)
    assert items is not None
    bundle.add_usual(usual, items)
    for text in others:
        batch = read_frame(text)
        assert not stays_alone(batch)
        bundle.add(batch, len(text))
    bundle.add_usual(usual, items)
    made = bundle.batch()
    assert made.count == bundle.count == 3 + 2 + 1 + 2 + 1 + 1 + 1 + 3
    again = unpack(made.kind, made.body)
    assert [(r.type, r.count, r.key, msgspec.json.decode(r.body)) for r in made.records] == [
        (r.type, r.count, r.key, msgspec.json.decode(r.body)) for r in again
    ]
    assert read_usual([*usual, others[0]]) is None
    assert stays_alone(read_frame(b'{"records": [], "batch_id": "b"}'))
    assert stays_alone(read_frame(b'{"type": "training_status", "data": {"event": "e"}}'))
