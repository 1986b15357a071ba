"""A session's metrics as columns: for plots, and for pandas or polars where they are installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args
from urllib.parse import quote, urlencode

import numpy as np
import numpy.typing as npt

from grandstand.client.notebook import history_html
from grandstand.client.transport import Transport, call
from grandstand.errors import NotFound, Unavailable, ValidationFailed

if TYPE_CHECKING:
    import pandas
    import polars

Axis: TypeAlias = Literal["episode", "step", "time"]
Column: TypeAlias = npt.NDArray[Any]

PLACES: Final = ("seq", "timestamp", "episode", "step")
"""Columns that say where a row belongs; all others are metrics."""
WHOLE: Final = frozenset({"seq", "episode", "step"})
ROWS: Final = 50_000
"""Rows turned into numbers in one go, so that their text is not in memory all at once."""
READ_SECONDS: Final = 120.0


class History:
    """Columns of one length, by name.

    Read exactly, there are ``seq`` and ``episode`` and ``step`` (int64), ``timestamp``
    (datetime64[us], UTC), and a float64 column for each metric, in the order of ``seq``; a record
    without a step stands at the last one told before it. Read with `max_points`, there is the x
    column, and for each metric ``name`` (the mean of a bucket), ``name.min`` and ``name.max``, in
    the order of x. What was not reported is NaN, as a NaN that was reported is.

    Attributes:
        session_id: whose.
        x: name of the column the others are drawn over.
        columns: names of all columns, those of the place first.
        names: names of the metrics.
    """

    def __init__(
        self, session_id: str, x: str, columns: Mapping[str, Column], names: Sequence[str]
    ) -> None:
        self.session_id = session_id
        self.x = x
        self.names = list(names)
        self._columns = dict(columns)

    @property
    def columns(self) -> list[str]:
        return list(self._columns)

    def __len__(self) -> int:
        """Rows, not columns."""
        return len(self._columns[self.x])

    def __getitem__(self, name: str) -> Column:
        """A column.

        Raises:
            KeyError: there is none of that name; names those there are.
        """
        if name not in self._columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def keys(self) -> list[str]:
        """Names of all columns, so that ``dict(history)`` is a mapping of them."""
        return self.columns

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __bool__(self) -> bool:
        return len(self) > 0

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas data frame with a row for each row, x as its index.

        Raises:
            Unavailable: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise _missing("pandas") from error
        frame = pandas.DataFrame(self._columns).set_index(self.x)
        if frame.index.dtype.kind == "M":
            return frame.tz_localize("UTC")
        if "timestamp" in frame:
            frame["timestamp"] = frame["timestamp"].dt.tz_localize("UTC")
        return frame

    def to_polars(self) -> polars.DataFrame:
        """A polars data frame with the same columns.

        Raises:
            Unavailable: polars is not installed.
        """
        try:
            import polars
        except ImportError as error:
            raise _missing("polars") from error
        frame = polars.DataFrame(self._columns)
        if "timestamp" in self._columns:
            aware = polars.col("timestamp").dt.replace_time_zone("UTC")
            frame = frame.with_columns(aware)
        return frame

    def __repr__(self) -> str:
        return f"History({self.session_id!r}, {len(self):,} rows: {', '.join(self._columns)})"

    def _repr_html_(self) -> str:
        return history_html(self.session_id, self.x, self.names, self._columns)


def read_history(
    transport: Transport,
    session_id: str,
    names: Sequence[str] | None = None,
    x: Axis = "episode",
    max_points: int | None = None,
) -> History:
    """See `Client.history`."""
    if x not in get_args(Axis):
        raise ValidationFailed(
            f"x: must be {', '.join(get_args(Axis))}, not {x!r}",
            details={"field": "x", "allowed": list(get_args(Axis))},
        )
    base = f"/api/training/sessions/{quote(session_id, safe='')}"
    if max_points is None:
        return _exact(transport, base, session_id, names, x)
    return _buckets(transport, base, session_id, names, x, max_points)


def _exact(
    transport: Transport, base: str, session_id: str, names: Sequence[str] | None, x: Axis
) -> History:
    asked = {"format": "csv"}
    if names is not None and not any("," in name for name in names):
        asked["metrics"] = ",".join(names)
    reply = transport.request(
        "GET", f"{base}/export?{urlencode(asked)}", timeout=READ_SECONDS, repeatable=True
    )
    if reply.status >= 400:
        raise reply.error()
    columns = table(reply.body)
    metrics = [name for name in columns if name not in PLACES]
    if names is not None:
        if missing := [name for name in names if name not in metrics]:
            raise _unknown(session_id, missing[0], _reported(transport, base))
        kept = {name: columns[name] for name in names}
        columns = {place: columns[place] for place in PLACES} | kept
        metrics = list(dict.fromkeys(names))
    return History(session_id, "timestamp" if x == "time" else x, columns, metrics)


def table(body: bytes) -> dict[str, Column]:
    """The columns of a CSV export of metrics."""
    rows = csv.reader(io.StringIO(body.decode(), newline=""))
    heads = next(rows)
    parts: list[list[Column]] = [[] for _ in heads]
    while block := list(islice(rows, ROWS)):
        for part, head, cells in zip(parts, heads, zip(*block, strict=True), strict=True):
            part.append(_column(head, cells))
    return {
        head: np.concatenate(part) if part else _column(head, ())
        for head, part in zip(heads, parts, strict=True)
    }


def _column(head: str, cells: Sequence[str]) -> Column:
    if head == "timestamp":
        return np.array([cell.removesuffix("Z") for cell in cells], "datetime64[us]")
    if head in WHOLE:
        return np.array([int(cell) for cell in cells], np.int64)
    return np.array([float(cell) if cell else np.nan for cell in cells], np.float64)


def _buckets(
    transport: Transport,
    base: str,
    session_id: str,
    names: Sequence[str] | None,
    x: Axis,
    max_points: int,
) -> History:
    asked: dict[str, Any] = {"x": x, "max_points": max_points}
    if names is not None:
        asked["metrics"] = ",".join(names)
    told = call(
        transport, "GET", f"{base}/series?{urlencode(asked)}", timeout=READ_SECONDS, repeatable=True
    )
    series: dict[str, Any] = told["series"]
    for name in names or ():
        if name not in told["metrics"]:
            raise _unknown(session_id, name, told["metrics"])
    places = {name: np.array(one["x"], np.float64) for name, one in series.items()}
    every = np.unique(np.concatenate([*places.values(), np.empty(0)]))
    axis = "timestamp" if x == "time" else x
    columns: dict[str, Column] = {axis: _axis_column(axis, every)}
    for name, one in series.items():
        # Where a run was rewound x comes twice, and the later counts.
        rows = np.searchsorted(every, places[name])
        for part, head in (("mean", name), ("min", f"{name}.min"), ("max", f"{name}.max")):
            column = np.full(len(every), np.nan)
            column[rows] = [np.nan if value is None else float(value) for value in one[part]]
            columns[head] = column
    return History(session_id, axis, columns, list(series))


def _axis_column(axis: str, every: npt.NDArray[np.float64]) -> Column:
    if axis == "timestamp":
        return np.rint(every * 1e6).astype(np.int64).view("datetime64[us]")
    return every.astype(np.int64)


def _reported(transport: Transport, base: str) -> list[str]:
    told = call(transport, "GET", f"{base}/series?metrics=&max_points=1", repeatable=True)
    return list(told["metrics"])


def _unknown(session_id: str, name: str, there: Sequence[str]) -> NotFound:
    return NotFound(
        f"session {session_id} has no metric {name!r}",
        code="no_such_metric",
        detail=f"It has: {', '.join(there)}." if there else "Nothing was reported yet.",
        details={"metric": name, "metrics": list(there)},
    )


def _missing(package: str) -> Unavailable:
    return Unavailable(
        f"{package} is not installed",
        code="not_installed",
        detail=f"pip install {package}, or use the columns as they are: history['name'].",
    )
