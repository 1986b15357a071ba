"""Cells add up without losing an extreme, and packed columns come back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grandstand.store.cells import (
    COUNT,
    FINITE,
    LAST,
    MAX,
    MIN,
    SUM,
    Cells,
    axis_row,
    pack,
    unpack,
)

VALUES = hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(width=64))


def points(values: np.ndarray) -> Cells:
    n = len(values)
    x = np.stack([np.arange(n), np.arange(n) % 7, np.arange(n) * 3, np.arange(n)[::-1]])
    return Cells.of_points(x, values)


@given(
    hnp.arrays(np.int64, st.tuples(st.integers(0, 4), st.integers(1, 80))),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_packed_columns_come_back_bit_for_bit(ints, rows, random):
    floats = np.array([random.uniform(-9, 9) for _ in range(rows * ints.shape[1])])
    floats = floats.reshape(rows, ints.shape[1])
    floats[floats > 8] = np.nan
    floats[floats < -8] = -0.0
    got_ints, got_floats = unpack(pack(ints, floats))
    assert np.array_equal(got_ints, ints)
    assert got_floats.tobytes() == floats.tobytes()


def test_steady_counters_cost_next_to_nothing():
    steady = np.stack([np.arange(4096), np.arange(4096) * 12])
    assert len(pack(steady, np.empty((0, 0)))) < 200


def test_a_block_of_a_newer_version_is_refused_and_says_so():
    body = bytearray(pack(np.zeros((1, 3), np.int64), np.zeros((1, 3))))
    body[0] = 9
    with pytest.raises(ValueError, match="version 9"):
        unpack(bytes(body))


@given(VALUES, st.data())
def test_adding_up_in_any_steps_gives_the_exact_extremes(values, data):
    cells = points(values)
    while len(cells) > 1:
        cells = cells.at_most(data.draw(st.integers(1, len(cells) - 1)))
    finite = values[np.isfinite(values)]
    assert cells.ints[COUNT, 0] == len(values)
    assert cells.ints[FINITE, 0] == len(finite)
    assert cells.floats[MIN, 0] == (finite.min() if len(finite) else np.inf)
    assert cells.floats[MAX, 0] == (finite.max() if len(finite) else -np.inf)
    assert np.array_equal(cells.floats[LAST, 0], values[-1], equal_nan=True)
    assert cells.ints[axis_row("seq", 2), 0] == len(values) - 1
    assert cells.ints[axis_row("time", 0), 0] == 0
    assert cells.ints[axis_row("time", 1), 0] == len(values) - 1


@given(VALUES, st.integers(1, 300))
def test_never_more_than_asked_for_and_none_lost(values, most):
    cells = points(values).at_most(most)
    assert 1 <= len(cells) <= most
    assert cells.points == len(values)


def test_sums_are_over_finite_points():
    cells = points(np.array([1.0, np.nan, 2.0, np.inf])).at_most(1)
    assert cells.floats[SUM, 0] == 3.0
    assert cells.ints[FINITE, 0] == 2


def test_cells_pack_as_columns_do():
    cells = points(np.array([1.0, np.nan, -3.5]))
    again = Cells.unpack(cells.pack())
    assert np.array_equal(again.ints, cells.ints)
    assert again.floats.tobytes() == cells.floats.tobytes()
