"""What becomes of logged values on their way into a batch."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandstand.client.encoding import Ready, Row, batch_body, listed, plain, scalar, whole
from grandstand.model.telemetry import GRAPH, STATUS, parse_batch

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Complaints(list[str]):
    def __call__(self, topic: str, message: str) -> None:
        self.append(message)


def rows_of(*items: Any) -> list[dict[str, Any]]:
    """The rows a server would store for `items`."""
    batch = parse_batch(batch_body(items, "b", Complaints()))
    return [row for record in batch.records for row in record.rows()]


def logged(values: dict[str, Any], episode: int = 1, step: int | None = None) -> Row:
    return Row(AT, values, episode, step)


def test_known_names_are_fields_and_all_others_extra() -> None:
    (row,) = rows_of(logged({"current_reward": 1.5, "loss/policy": 0.25, "done": True}, 7, 90))
    assert row == {
        "timestamp": row["timestamp"],
        "episode": 7,
        "step": 90,
        "current_reward": 1.5,
        "extra": {"loss/policy": 0.25, "done": True},
    }


def test_many_like_rows_travel_as_one_columnar_record() -> None:
    items = [logged({"current_reward": float(i), "x": i}, i, i) for i in range(100)]
    batch = parse_batch(batch_body(items, "b", Complaints()))
    assert [r.columnar for r in batch.records] == [True]
    rows = list(batch.records[0].rows())
    assert [r["episode"] for r in rows] == list(range(100))
    assert [r["extra"]["x"] for r in rows] == list(range(100))


def test_order_is_kept_across_shapes() -> None:
    items: list[Row | Ready] = []
    for i in range(12):
        items.append(logged({"a": i} if i % 6 < 5 else {"b": i}, i))
        if i % 4 == 0:
            items.append(Ready(STATUS, {"event": "mark", "n": i}))
    seen = [r.get("n", r.get("episode")) for r in rows_of(*items)]
    assert seen == [0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11]


@pytest.mark.parametrize("count", [1, 10])
def test_non_finite_numbers_survive_by_name(count: int) -> None:
    values = {"loss_value": math.nan, "a": math.inf, "b": -math.inf}
    for row in rows_of(*(logged(values) for _ in range(count))):
        assert row["loss_value"] == "NaN"
        assert row["extra"] == {"a": "Infinity", "b": "-Infinity"}


@pytest.mark.parametrize("count", [1, 10])
def test_a_value_the_field_cannot_have_is_kept_beside_it(count: int) -> None:
    said = Complaints()
    items = [logged({"win_rate": 120.0, "epsilon": 0.5}) for _ in range(count)]
    batch = parse_batch(batch_body(items, "b", said))
    row = next(batch.records[0].rows())
    assert row["extra"] == {"win_rate": 120.0}
    assert row["epsilon"] == 0.5
    assert "win_rate" in said[0]


def test_a_text_among_the_metrics_is_left_out_and_said() -> None:
    said = Complaints()
    batch = parse_batch(batch_body([logged({"a": "hello", "b": "1.5"})], "b", said))
    (row,) = batch.records[0].rows()
    assert row["extra"] == {"a": None, "b": 1.5}
    assert "'a'" in said[0]


def test_huge_integers_become_floats() -> None:
    (row,) = rows_of(logged({"n": 2**70, "m": 10**400}))
    assert row["extra"] == {"n": float(2**70), "m": "Infinity"}


def test_scalars_of_numpy_and_nested_names() -> None:
    said = Complaints()
    out = plain(
        {
            "a": np.float32(0.5),
            "b": np.array(3),
            "c": np.bool_(True),
            "loss": {"policy": np.float64(1), "value": 2},
            "extra": {"d": 4},
            "shape": np.zeros(3),
            "thing": object(),
        },
        said,
    )
    assert out == {"a": 0.5, "b": 3, "c": True, "loss/policy": 1.0, "loss/value": 2, "d": 4}
    assert len(said) == 2
    assert all(type(v) in (float, int, bool) for v in out.values())


def test_lists_are_copied_all_the_way_down() -> None:
    inner = [1, 2]
    copy = listed({"a": inner, "b": np.arange(3), "c": (np.float32(1.5),)})
    inner.append(3)
    assert copy == {"a": [1, 2], "b": [0, 1, 2], "c": [1.5]}


@pytest.mark.parametrize("bad", [-1, 1.5, math.nan, "3", None])
def test_a_count_is_whole_and_not_negative(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        whole(bad)
    assert whole(np.int64(3)) == whole(3.0) == 3


def test_a_graph_is_left_as_it_is() -> None:
    point = {"timestamp": AT, "value": math.nan}
    (row,) = rows_of(Ready(GRAPH, {"graph_id": "g", "data_points": {"m": [point]}}))
    assert row["data_points"]["m"][0]["value"] == "NaN"


numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.booleans(),
    st.none(),
    st.text(max_size=5),
)
names = st.sampled_from(
    ["current_reward", "win_rate", "epsilon", "total_episodes", "algorithm_x", "x", "a/b", ""]
)


@given(st.lists(st.dictionaries(names, numbers, max_size=5), min_size=1, max_size=12))
def test_whatever_is_logged_makes_a_batch_the_server_takes(logs: list[dict[str, Any]]) -> None:
    items = [logged(values, i) for i, values in enumerate(logs)]
    batch = parse_batch(batch_body(items, "b", Complaints()))
    assert batch.count == len(logs)


def test_scalar_of_a_tensor() -> None:
    torch = pytest.importorskip("torch")
    assert scalar(torch.tensor(1.5)) == 1.5
    with pytest.raises((ValueError, RuntimeError)):
        scalar(torch.zeros(2))
