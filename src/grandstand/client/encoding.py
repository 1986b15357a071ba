"""From what a script logs to the JSON of a batch.

The calling thread only makes values safe to keep (`plain`); everything else happens in the sender
thread. Neighbouring rows with the same names become one columnar record, which is smaller and
several times cheaper to write and to read than a record each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from math import inf, isfinite
from typing import Any, Final, NamedTuple

import msgspec

from grandstand.model.telemetry import METRICS, TrainingMetrics, finite_or_name

Complain = Callable[[str, str], None]
"""Called with a topic (said once each) and a sentence."""

PLAIN: Final = frozenset({float, int, bool, str, type(None)})
"""Types that can be kept as they are: nobody can change them behind our back."""

COLUMNAR_FROM: Final = 4
"""Fewer rows than this are sent as records of their own."""

ROW_BYTES: Final = 512
"""What a row of ten metrics takes, about."""

_FIELDS: Final = frozenset(TrainingMetrics.__struct_fields__) - {"extra", "episode", "step"}
_WHOLE: Final = frozenset({"total_episodes", "model_generation"})
_AS_GIVEN: Final = frozenset({"timestamp", "algorithm"})
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "episode_length": (0, inf),
    "win_rate": (0, 100),
    "learning_rate": (0, inf),
    "epsilon": (0, 1),
    "total_episodes": (0, 2**53),
    "model_generation": (0, 2**53),
    "training_time_elapsed": (0, inf),
    "actions_per_second": (0, inf),
    "frames_per_second": (0, inf),
    "memory_usage_mb": (0, inf),
}
_NON_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_JSON_INT: Final = 2**63

_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """One `log()` call: plain values by name, and where in the training it belongs."""

    at: datetime
    values: dict[str, Any]
    episode: int
    step: int | None


class Ready(NamedTuple):
    """One record whose data (or columns) is already in its final shape, values aside."""

    type: str
    body: Mapping[str, Any]
    columnar: bool = False
    key: str | None = None
    rows: int = 1
    size: int = 0
    """Bytes of it, where they are many."""

    @property
    def weight(self) -> int:
        """The rows of the same size, by which what waits is bounded."""
        return self.rows + self.size // ROW_BYTES


Item = Row | Ready


def plain(metrics: Mapping[str, Any], complain: Complain) -> dict[str, Any]:
    """A copy of `metrics` that nobody can change any more.

    Scalars of NumPy, PyTorch and the like become Python's through their ``item()``; a mapping
    inside becomes names with a slash (``{"loss": {"policy": .1}}`` is ``loss/policy``), `extra`
    being the one that adds nothing to the names. What is no scalar is left out, and said once.
    """
    out: dict[str, Any] = {}
    for name, value in metrics.items():
        key = name if isinstance(name, str) else str(name)
        if type(value) in PLAIN or isinstance(value, datetime):
            out[key] = value
        elif isinstance(value, Mapping):
            prefix = "" if key == "extra" else f"{key}/"
            for inner, kept in plain(value, complain).items():
                out[prefix + inner] = kept
        else:
            try:
                out[key] = scalar(value)
            except (TypeError, ValueError, RuntimeError):
                complain(
                    f"shape of {key}",
                    f"{key!r} is a {type(value).__name__}, not a single number; it is left out "
                    "of every log() call (log its mean, or a name per value)",
                )
    return out


def scalar(value: Any) -> float | int | bool | str | None:
    """One Python scalar from `value`.

    Raises:
        TypeError, ValueError, RuntimeError: it is not one value (the last two are what NumPy and
            PyTorch say of an array with several).
    """
    if type(value) in PLAIN:
        return value  # type: ignore[no-any-return]
    item = getattr(value, "item", None)
    found = item() if callable(item) else value
    if type(found) in PLAIN:
        return found  # type: ignore[no-any-return]
    if isinstance(found, (bool, int, str)):  # enums and other subclasses
        return int(found) if isinstance(found, int) else str(found)
    return float(found)


def listed(value: Any) -> Any:
    """`value` with arrays and tensors in it as lists, a copy all the way down."""
    if type(value) in PLAIN or isinstance(value, datetime):
        return value
    if isinstance(value, Mapping):
        return {str(k): listed(v) for k, v in value.items()}
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    return [listed(v) for v in value] if isinstance(value, Iterable) else scalar(value)


def whole(value: Any) -> int:
    """A count from whatever number a script has at hand.

    Raises:
        TypeError, ValueError, OverflowError, RuntimeError: not a whole number of at least 0.
    """
    number = scalar(value)
    if number is None or isinstance(number, str) or number != int(number) or number < 0:
        raise ValueError(f"not a whole number of at least 0: {value!r}")
    return int(number)


def batch_body(items: Sequence[Item], batch_id: str, complain: Complain) -> bytes:
    """The body of ``POST …/records`` for `items`, in their order.

    Raises:
        TypeError, ValueError, OverflowError: a value that no JSON can hold.
    """
    parts: list[bytes] = []
    for _, run in groupby(items, key=_alike):
        group = list(run)
        if isinstance(group[0], Ready):
            parts.extend(_ready(item) for item in group if isinstance(item, Ready))
        else:
            rows = [item for item in group if isinstance(item, Row)]
            if len(rows) >= COLUMNAR_FROM:
                parts.append(b'{"type":"training_metrics","columns":%b}' % _columns(rows, complain))
            else:
                parts.extend(_single(row, complain) for row in rows)
    return b'{"batch_id":"%b","records":[%b]}' % (batch_id.encode(), b",".join(parts))


def finite_body(value: Mapping[str, Any]) -> bytes:
    """A mapping as JSON, NaN and infinities by name."""
    return _encode(finite_or_name(value))


def halves(body: bytes) -> tuple[tuple[bytes, int], tuple[bytes, int]] | None:
    """A batch in two, each with its rows and an id of its own; None where there is one row only."""
    batch = msgspec.json.decode(body)
    records: list[Any] = batch["records"]
    if len(records) > 1:
        middle = len(records) // 2
        first, second = records[:middle], records[middle:]
    else:
        rows = _rows(records[0])
        if rows < 2:
            return None
        first, second = ([_part(records[0], side, rows // 2)] for side in "ab")
    return _batch(batch["batch_id"], "a", first), _batch(batch["batch_id"], "b", second)


def _batch(batch_id: str, side: str, records: list[Any]) -> tuple[bytes, int]:
    body = _encode({"batch_id": f"{batch_id}{side}", "records": records})
    return body, sum(map(_rows, records))


def _rows(record: Mapping[str, Any]) -> int:
    return len(record["columns"]["episode"]) if "columns" in record else 1


def _part(record: Mapping[str, Any], side: str, middle: int) -> dict[str, Any]:
    """The rows of a columnar record before `middle` (side "a") or from there on ("b")."""
    cut = slice(None, middle) if side == "a" else slice(middle, None)
    columns = {
        name: {key: values[cut] for key, values in column.items()}
        if isinstance(column, Mapping)
        else column[cut]
        for name, column in record["columns"].items()
    }
    key = {"key": f"{record['key']} {side}"} if "key" in record else {}
    return {**record, "columns": columns, **key}


def _alike(item: Item) -> tuple[Any, ...]:
    """Rows with an equal answer may share a columnar record."""
    if isinstance(item, Ready):
        return (None,)
    return (tuple(item.values), item.step is None)


def _ready(item: Ready) -> bytes:
    key = b',"key":%b' % _encode(item.key) if item.key is not None else b""
    part = b"columns" if item.columnar else b"data"
    clean = {k: _clean_column(v) for k, v in item.body.items()}
    return b'{"type":"%b","%b":%b%b}' % (item.type.encode(), part, _encode(clean), key)


def _clean_column(value: Any) -> Any:
    """`value` with NaN and infinities by name; a list of finite numbers is not even copied."""
    if isinstance(value, Mapping):
        return {k: _clean_column(v) for k, v in value.items()}
    if isinstance(value, list):
        try:
            if all(map(isfinite, value)):
                return value
        except (TypeError, OverflowError):
            pass  # None, strings or shapes among them: look at each.
    return finite_or_name(value)


def _single(row: Row, complain: Complain) -> bytes:
    columns = _body([row], complain)
    data = {k: v[0] for k, v in columns.items() if k != "extra" and v[0] is not None}
    if "extra" in columns:
        data["extra"] = {k: v[0] for k, v in columns["extra"].items()}
    return b'{"type":"%b","data":%b}' % (METRICS.encode(), _encode(data))


def _columns(rows: list[Row], complain: Complain) -> bytes:
    return _encode(_body(rows, complain))


def _body(rows: list[Row], complain: Complain) -> dict[str, Any]:
    body: dict[str, Any] = {
        "timestamp": [row.at for row in rows],
        "episode": [row.episode for row in rows],
    }
    if rows[0].step is not None:
        body["step"] = [row.step for row in rows]
    extra: dict[str, list[Any]] = {}
    names = rows[0].values
    for name, *column in zip(names, *(row.values.values() for row in rows), strict=True):
        if name in _AS_GIVEN:
            body[name] = column
            continue
        column = _numbers(name, column, complain)
        if name in _FIELDS and _fits(name, column):
            body[name] = column
            continue
        if name in _FIELDS:
            complain(
                f"bounds of {name}",
                f"{name!r} is defined as {_meaning(name)}; other values are kept in `extra`",
            )
        if not 1 <= len(name) <= 256:
            complain("long name", "a metric's name has 1 to 256 characters; others are left out")
            continue
        extra[name] = column
    if extra:
        body["extra"] = extra
    return body


def _numbers(name: str, column: list[Any], complain: Complain) -> list[Any]:
    try:
        if all(map(isfinite, column)) and max(column) < _JSON_INT and min(column) >= -_JSON_INT:
            return column
    except (TypeError, OverflowError):
        pass  # None, strings or huge integers among them: look at each.
    return [_number(name, value, complain) for value in column]


def _number(name: str, value: Any, complain: Complain) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_JSON_INT <= value < _JSON_INT else _huge(value)
    if isinstance(value, float):
        return finite_or_name(value)
    if isinstance(value, str):
        if value in _NON_FINITE:
            return value
        try:
            return finite_or_name(float(value))
        except ValueError:
            pass
    complain(
        f"shape of {name}",
        f"{name!r} is {value!r}, not a number; it is left out (texts belong in tags, config or "
        "an event)",
    )
    return None


def _huge(value: int) -> Any:
    try:
        return float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"


def _fits(name: str, column: Iterable[Any]) -> bool:
    """Whether every known value of the column is one the documented field may have."""
    low, high = _BOUNDS.get(name, (-inf, inf))
    for value in column:
        if value is None:
            continue
        if isinstance(value, bool):
            return False
        if name in _WHOLE and not isinstance(value, int):
            return False
        if not isinstance(value, str) and not low <= value <= high:
            return False
    return True


def _meaning(name: str) -> str:
    low, high = _BOUNDS.get(name, (-inf, inf))
    kind = "a whole number" if name in _WHOLE else "a number"
    if low == -inf:
        return kind
    return f"{kind} of at least {low:g}" if high in (inf, 2**53) else f"{kind} from {low} to {high}"


def sentence(error: Exception) -> str:
    """An exception as half a line of text, however long its own message."""
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "…"
