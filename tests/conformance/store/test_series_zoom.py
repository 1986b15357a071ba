"""Whatever is reported, in whatever pieces: the answer is the plain one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grandstand.model.session import new_id
from grandstand.store.blocks import Shape
from grandstand.store.series import SeriesStore

NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
VALUE = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]))
SMALL = Shape(segment=8, cell=2, fan=3)
"""Every level comes into play within a hundred rows."""


def numbers(values: list[float | str]) -> list[float]:
    return [NAMES[v] if isinstance(v, str) else v for v in values]


@st.composite
def runs(draw):
    """Rows of a run, and where it is cut into records: (episodes, values, ends of records)."""
    n = draw(st.integers(1, 160))
    values = draw(st.lists(st.one_of(st.none(), VALUE), min_size=n, max_size=n))
    rewinds = draw(st.booleans())
    jumps = draw(st.lists(st.integers(-3 if rewinds else 0, 4), min_size=n, max_size=n))
    episodes = np.maximum(np.cumsum(jumps), 0).tolist()
    ends = sorted(draw(st.sets(st.integers(1, n), max_size=12)) | {n})
    return episodes, values, ends


def records(episodes, values, columnar):
    if columnar:
        extra = {"v": list(values), "always": list(episodes)}
        columns = {"episode": list(episodes), "extra": extra}
        return [{"type": "training_metrics", "columns": columns}]
    return [
        {"type": "training_metrics", "data": {"episode": e, "extra": {"v": v, "always": e}}}
        for e, v in zip(episodes, values, strict=True)
    ]


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    run=runs(),
    columnar=st.lists(st.booleans(), min_size=13, max_size=13),
    max_points=st.integers(1, 60),
    ends=st.tuples(st.integers(0, 80), st.integers(0, 80)),
    axis=st.sampled_from(["episode", "seq"]),
    restart=st.booleans(),
)
async def test_any_range_at_any_zoom(
    database, opening, run, columnar, max_points, ends, axis, restart
):
    episodes, values, cuts = run
    reporter = await opening.session(database, new_id())
    store = SeriesStore(database, shape=SMALL)
    await store.open()
    start = 0
    for end, as_columns in zip(cuts, columnar, strict=False):
        part = records(episodes[start:end], values[start:end], as_columns)
        await reporter.report(part, hears=store)
        start = end
    await store.query(reporter.pk, [])
    if restart:
        store = SeriesStore(database, shape=SMALL)
    low, high = min(ends), max(ends)
    answer = await store.query(reporter.pk, ["v"], axis, low, high, max_points)
    whole = await store.query(reporter.pk, ["v", "always"], "seq", max_points=max_points)
    assert answer["last_seq"] == len(values)
    seqs = list(range(1, len(values) + 1))
    on_axis = seqs if axis == "seq" else episodes
    inside = [
        (x, seq, v)
        for x, seq, v in zip(on_axis, seqs, values, strict=True)
        if v is not None and low <= x <= high
    ]
    check(answer["series"]["v"], inside, max_points)
    told = [(s, s, v) for s, v in zip(seqs, values, strict=True) if v is not None]
    check(whole["series"]["v"], told, max_points)
    always = [(s, s, float(e)) for s, e in zip(seqs, episodes, strict=True)]
    check(whole["series"]["always"], always, max_points)


async def test_every_end_of_a_range_is_exact(database, reporter):
    store = SeriesStore(database, shape=SMALL)
    n = 90
    await reporter.report(records(range(n), range(n), columnar=True))
    for low in range(n):
        for high in (low, min(n - 1, low + 7), min(n - 1, low + 50)):
            answer = await store.query(reporter.pk, ["v"], "episode", low, high, 6)
            told = [(e, e + 1, float(e)) for e in range(low, high + 1)]
            check(answer["series"]["v"], told, 6)


@pytest.mark.parametrize("count", [100, 256, 700, 3000])
@pytest.mark.parametrize("most", [7, 60])
async def test_a_short_run_that_has_ended_is_drawn_as_finely_as_asked(
    database, reporter, count, most
):
    """Not in the four cells that 256 points fill of a block."""
    series = SeriesStore(database)
    await series.open()
    columns = {"episode": list(range(count)), "loss_value": [float(n) for n in range(count)]}
    await reporter.report([{"type": "training_metrics", "columns": columns}], series)
    await series.finish(reporter.pk)
    got = await series.query(reporter.pk, ["loss_value"], max_points=most)
    assert most * 0.9 <= len(got["series"]["loss_value"]["x"]) <= most
    await series.aclose()


def check(got, points, max_points) -> None:
    """`got` stands for exactly `points`: (x, seq, value), in order."""
    size = len(got["x"])
    assert size <= max_points
    assert got["points"] == len(points) == sum(got["count"])
    assert all(len(got[name]) == size for name in ("seq", "min", "max", "mean", "last", "count"))
    if len(points) <= max_points:
        assert got["count"] == [1] * len(points)
    at = 0
    broken = got.get("not_finite", [0] * size)
    for i, count in enumerate(got["count"]):
        bucket = points[at : at + count]
        at += count
        x, seq, last = bucket[-1]
        assert (got["x"][i], got["seq"][i]) == (x, seq)
        finite = [v for _, _, v in bucket if math.isfinite(v)]
        assert broken[i] == len(bucket) - len(finite)
        low, high, mean, told = numbers([got[name][i] for name in ("min", "max", "mean", "last")])
        np.testing.assert_equal(told, last)
        if finite:
            assert (low, high) == (min(finite), max(finite))
            np.testing.assert_allclose(mean, sum(finite) / len(finite), rtol=1e-9, atol=1e-6)
        else:
            np.testing.assert_equal([low, high, mean], [last] * 3)
