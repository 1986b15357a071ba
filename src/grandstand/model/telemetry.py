"""What a session reports: metrics, decisions, graphs, events and media, and how it is read.

One accepted body is a *record* and takes one `seq`; one scalar in it is a *point*. A columnar
record stands for as many records as it has rows. Decoding happens once, here, with msgspec; the
bytes that arrived are kept and sent on as they are.

RL sends NaN. Valid JSON has none, so a non-finite number is always the string ``"NaN"``,
``"Infinity"`` or ``"-Infinity"`` in what is stored and sent; on input the bare literals pass too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from grandstand.errors import BadRequest, TooLarge, ValidationFailed
from grandstand.model.media import (
    HISTOGRAM,
    IMAGE,
    MEDIA,
    TEXT,
    HistogramRecord,
    ImageRecord,
    StoredImage,
    TextRecord,
    image_address,
    stored_image,
)
from grandstand.model.refusals import refusal

METRICS: Final = "training_metrics"
DECISION: Final = "bot_decision"
GRAPH: Final = "graph_update"
STATUS: Final = "training_status"
CONNECTION: Final = "connection_status"
ERROR: Final = "error"

MESSAGE_TYPES: Final = (METRICS, DECISION, GRAPH, STATUS, CONNECTION, ERROR)
"""The six types a spectator may receive."""
RECORD_MESSAGES: Final = (METRICS, DECISION, GRAPH, STATUS)
"""The four of them that tell of records."""
RECORD_TYPES: Final = (*RECORD_MESSAGES, *MEDIA)
"""What a session can report; each takes a seq and is stored. Media are told of as events."""

FIRST_MOMENT: Final = datetime.min.replace(tzinfo=UTC)
LAST_MOMENT: Final = datetime.max.replace(tzinfo=UTC)

PLAYED: Final = "played"
"""A decision with this name in its `extra` is not of the training: the policy played an episode to
be looked at, as ``greedy`` or however else the value says, after the episode the decision names."""

MAX_BATCH_RECORDS: Final = 10_000
"""Most records in one batch, rows of columnar ones counted."""

MAX_WARNINGS: Final = 20
"""Most warnings in one answer."""

NonFinite: TypeAlias = Literal["NaN", "Infinity", "-Infinity"]
Number: TypeAlias = float | NonFinite
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
Positive: TypeAlias = Annotated[float, Meta(ge=0)] | NonFinite
Percent: TypeAlias = Annotated[float, Meta(ge=0, le=100)] | NonFinite
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)] | NonFinite
Text: TypeAlias = Annotated[str, Meta(max_length=256)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]


class TrainingMetrics(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One episode's (or step's) figures; all but `episode` may be missing or null (unknown)."""

    timestamp: datetime | None = None
    episode: Count
    step: Count | None = None
    total_episodes: Count | None = None
    current_reward: Number | None = None
    average_reward: Number | None = None
    best_reward: Number | None = None
    episode_length: Positive | None = None
    win_rate: Percent | None = None
    """Per cent, 0 to 100."""
    loss_value: Number | None = None
    learning_rate: Positive | None = None
    epsilon: Share | None = None
    """Exploration rate, 0 to 1."""
    model_generation: Count | None = None
    algorithm: Text | None = None
    training_time_elapsed: Positive | None = None
    """Seconds since the training started, pauses left out."""
    actions_per_second: Positive | None = None
    frames_per_second: Positive | None = None
    memory_usage_mb: Positive | None = None
    extra: dict[Name, Number | bool | None] | None = None
    """Any other scalar, by name, ``group/name`` if you like."""


class BotDecision(Struct, kw_only=True, forbid_unknown_fields=True):
    """One decision of the agent: what it weighed and what it chose."""

    timestamp: datetime | None = None
    action_probabilities: dict[Name, Number] | None = None
    """Probability of each action, 0 to 1, by name; they should add up to 1."""
    state_values: Number | list[Number] | None = None
    q_values: list[Number] | None = None
    selected_action: str | int | None = None
    confidence_score: Share | None = None
    episode: Count | None = None
    step: Count | None = None
    extra: dict[Name, Number | bool | str | None] | None = None
    """What else explains the decision, such as the goal it followed."""


class GraphPoint(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One point of a graph, placed in time."""

    timestamp: datetime
    value: Number


class PerformanceGraph(Struct, kw_only=True, forbid_unknown_fields=True):
    """Points for one graph; later bodies of the same `graph_id` append to it."""

    graph_id: Annotated[str, Meta(min_length=1, max_length=128)]
    title: Text | None = None
    y_label: Text | None = None
    metrics: list[Name] = []
    data_points: dict[Name, list[GraphPoint]] = {}
    max_points: Annotated[int, Meta(ge=1, le=100_000)] = 1000


class StatusEvent(Struct, kw_only=True):
    """Anything without a type of its own; `event` names it, the rest is free."""

    event: Annotated[str, Meta(min_length=1, max_length=64)]


DATA_OF: Final[dict[str, type[Struct]]] = {
    METRICS: TrainingMetrics,
    DECISION: BotDecision,
    GRAPH: PerformanceGraph,
    STATUS: StatusEvent,
    TEXT: TextRecord,
    HISTOGRAM: HistogramRecord,
    IMAGE: ImageRecord,
}

SCALAR_FIELDS: Final = tuple(
    name
    for name in TrainingMetrics.__struct_fields__
    if name not in ("timestamp", "extra", "algorithm", "episode", "step")
)
"""The fields of a metrics record that make a series (beside everything in `extra`)."""


class Columns(Struct, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Many metrics records at once, a list per field, all equally long."""

    timestamp: list[datetime | None] | None = None
    episode: list[Count]
    step: list[Count | None] | None = None
    total_episodes: list[Count | None] | None = None
    current_reward: list[Number | None] | None = None
    average_reward: list[Number | None] | None = None
    best_reward: list[Number | None] | None = None
    episode_length: list[Positive | None] | None = None
    win_rate: list[Percent | None] | None = None
    loss_value: list[Number | None] | None = None
    learning_rate: list[Positive | None] | None = None
    epsilon: list[Share | None] | None = None
    model_generation: list[Count | None] | None = None
    algorithm: list[Text | None] | None = None
    training_time_elapsed: list[Positive | None] | None = None
    actions_per_second: list[Positive | None] | None = None
    frames_per_second: list[Positive | None] | None = None
    memory_usage_mb: list[Positive | None] | None = None
    extra: dict[Name, list[Number | bool | None]] | None = None

    def row(self, i: int) -> dict[str, Any]:
        """Row `i` as the data of a metrics record, without what is unknown."""
        data: dict[str, Any] = {}
        for name in self.__struct_fields__:
            if name == "extra":
                continue
            column = getattr(self, name)
            if column is not None and column[i] is not None:
                data[name] = column[i]
        if self.extra:
            extra = {k: v[i] for k, v in self.extra.items() if v[i] is not None}
            if extra:
                data["extra"] = extra
        return data


class RecordIn(Struct, kw_only=True, forbid_unknown_fields=True):
    """One record of a batch: `data`, or `columns` for many rows at once."""

    type: Literal[
        "training_metrics",
        "bot_decision",
        "graph_update",
        "training_status",
        "text",
        "histogram",
        "image",
    ]
    data: Raw | UnsetType = UNSET
    columns: Raw | UnsetType = UNSET
    key: Key | None = None
    """A name for this record within its session: one already stored is not stored again."""


class BatchIn(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST …/records``."""

    records: list[RecordIn]
    batch_id: Key | None = None
    """Makes a retry harmless: the same id is answered again and not stored again."""


# The usual records, read in one go, which is twice as quick as reading `RecordIn` and then its
# data. Whatever they do not fit is read as `RecordIn`, which says what is wrong with it.


class MetricsIn(Struct, forbid_unknown_fields=True, tag_field="type", tag=METRICS, gc=False):
    """A `RecordIn` with the data of metrics."""

    data: TrainingMetrics
    key: Key | None = None


class DecisionIn(Struct, forbid_unknown_fields=True, tag_field="type", tag=DECISION, gc=False):
    """A `RecordIn` with a decision."""

    data: BotDecision
    key: Key | None = None


TYPE_OF: Final[dict[type[Struct], str]] = {MetricsIn: METRICS, DecisionIn: DECISION}


class _RawBatch(Struct, forbid_unknown_fields=True):
    records: Raw
    batch_id: Key | None = None


class Bodies:
    """The JSON list of a batch, taken apart into its records' bodies when one is asked for."""

    __slots__ = ("_bodies", "text")

    def __init__(self, text: bytes = b"[]") -> None:
        self.text = text
        self._bodies: list[bytes] | None = None

    def __getitem__(self, place: int) -> bytes:
        """The JSON of a record's data or columns."""
        if self._bodies is None:
            self._bodies = [_body_of(item) for item in _stored_decoder.decode(self.text)]
        return self._bodies[place]


class Record(Struct, gc=False, eq=False):
    """One decoded record: where its bytes are and what they say.

    Attributes:
        type: one of `RECORD_TYPES`.
        source: its `body`, or what that is taken out of when somebody wants it: most records are
            stored and drawn without.
        value: the decoded shape: `TrainingMetrics`, `BotDecision`, `PerformanceGraph`, a dict for
            an event, `Columns`, `TextRecord`, `HistogramRecord` or `StoredImage`.
        count: how many seqs it takes: its rows if columnar, else 1.
        key: see `RecordIn.key`.
        place: where in `source` the body is, if that is a batch's list.
        size: bytes of its body, roughly.
        image: of an image on its way to the store, the file; its body is told without it.
    """

    type: str
    source: bytes | Bodies
    value: Any
    count: int = 1
    key: str | None = None
    place: int = 0
    size: int = 0
    image: bytes = b""

    @property
    def body(self) -> bytes:
        """The JSON of its data (or of its columns), as received."""
        source = self.source
        return source if isinstance(source, bytes) else source[self.place]

    @property
    def columnar(self) -> bool:
        """Whether it stands for several rows."""
        return isinstance(self.value, Columns)

    def data(self, row: int = 0) -> bytes:
        """The JSON of one row's data."""
        return encode(self.value.row(row)) if isinstance(self.value, Columns) else self.body

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row's data as plain values."""
        if isinstance(self.value, Columns):
            for i in range(self.count):
                yield self.value.row(i)
        else:
            yield cast("dict[str, Any]", msgspec.json.decode(self.body))

    def timestamp(self, row: int, arrived_at: datetime) -> datetime:
        """When the row says it happened, or else when it arrived. Aware, UTC."""
        told = getattr(self.value, "timestamp", None)
        if isinstance(told, list):
            told = told[row]
        return as_utc(told) if told is not None else arrived_at


class Batch:
    """What one request (or frame) brought: the bytes to store and the records in them.

    Attributes:
        kind: a record type when `body` is that record's data, or ``"batch"`` when `body` is a
            JSON list of ``{type, data|columns, key?}``.
        body: what the log keeps.
        records: decoded, in order.
        batch_id: see `BatchIn.batch_id`.
        warnings: sentences for the reporter about odd but accepted values.
    """

    __slots__ = ("batch_id", "body", "kind", "records", "warnings")

    def __init__(
        self,
        kind: str,
        body: bytes,
        records: list[Record],
        batch_id: str | None = None,
        warnings: list[str] | None = None,
    ) -> None:
        self.kind = kind
        self.body = body
        self.records = records
        self.batch_id = batch_id
        self.warnings = warnings or []

    @property
    def count(self) -> int:
        """How many seqs it takes."""
        return sum(record.count for record in self.records)

    def without(self, keys: frozenset[str] | set[str]) -> Batch:
        """The same batch less the records whose key is in `keys` (already stored)."""
        kept = [r for r in self.records if r.key is None or r.key not in keys]
        return Batch("batch", joined(kept), kept, self.batch_id, self.warnings)

    def once(self) -> Batch:
        """The same batch, of records with the same key only the first."""
        seen: set[str] = set()
        kept = []
        for record in self.records:
            if record.key is not None:
                if record.key in seen:
                    continue
                seen.add(record.key)
            kept.append(record)
        if len(kept) == len(self.records):
            return self
        return Batch("batch", joined(kept), kept, self.batch_id, self.warnings)


_encoder = msgspec.json.Encoder()
_columns_decoder = msgspec.json.Decoder(Columns)
_batch_decoder = msgspec.json.Decoder(BatchIn)
_raw_batch_decoder = msgspec.json.Decoder(_RawBatch)
_usual_decoder = msgspec.json.Decoder(list[MetricsIn | DecisionIn])
_stored_decoder = msgspec.json.Decoder(list[RecordIn])
_data_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(shape) for name, shape in DATA_OF.items()
}
_kept_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    **_data_decoders,
    IMAGE: msgspec.json.Decoder(StoredImage),
}
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_bare_non_finite = re.compile(rb"\b(?:NaN|Infinity)\b")


def as_utc(moment: datetime) -> datetime:
    """`moment` in UTC; a naive one is taken as UTC.

    In the first and last hours of the calendar (years 1 and 9999) the offset may lead out of it;
    then it is the calendar's edge.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return FIRST_MOMENT if moment.year == 1 else LAST_MOMENT


def finite_or_name(value: Any) -> Any:
    """`value` with every non-finite float in it as its name, so that it can be JSON."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {k: finite_or_name(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_name(v) for v in value]
    return value


def number(value: float | str | bool | None) -> float | None:
    """A stored number as a float: the names become nan and inf again, None stays None."""
    return None if value is None else float(value)


def encode(value: Any) -> bytes:
    """JSON of `value`; times as ISO 8601 with Z. Non-finite floats must already be names."""
    return _encoder.encode(value)


def envelope(type: str, session_id: str, seq: int | None, at: datetime, data: bytes) -> bytes:
    """The message a spectator receives, around data already encoded."""
    return b'{"type":"%b","session_id":%b,"seq":%b,"timestamp":%b,"data":%b}' % (
        type.encode(),
        _encoder.encode(session_id),
        b"null" if seq is None else b"%d" % seq,
        _encoder.encode(at),
        data,
    )


def message_type(type: str) -> str:
    """The type of the message that tells of a record of this type."""
    return STATUS if type in MEDIA else type


def event_of_media(type: str, session_id: str, seq: int, data: bytes) -> bytes:
    """The data of a media record as watchers are told of it: an event, and of an image the
    address of its bytes."""
    where = b""
    if type == IMAGE:
        digest: str = msgspec.json.decode(data)["digest"]
        where = b'"url":%b,' % _encoder.encode(image_address(session_id, seq, digest))
    return b'{"event":"%b",%b%b' % (type.encode(), where, data.lstrip()[1:])


def envelope_line(type: str, seq: int, at: datetime, data: bytes) -> bytes:
    """A stored record as a line of an export, around data already encoded."""
    return b'{"type":"%b","seq":%d,"timestamp":%b,"data":%b}\n' % (
        type.encode(),
        seq,
        _encoder.encode(at),
        data,
    )


def decode(body: bytes, decoder: msgspec.json.Decoder[Any], where: str = "") -> tuple[Any, bytes]:
    """Decode `body`, giving back the value and the bytes to keep (valid JSON for certain).

    Raises:
        BadRequest: not JSON (code ``malformed_json``).
        ValidationFailed: JSON of another shape, naming the field.
    """
    try:
        return decoder.decode(body), body
    except msgspec.ValidationError as error:
        raise refusal(error, where, body, decoder) from None
    except UNREADABLE as error:
        if not _bare_non_finite.search(body):
            raise malformed(error) from None
    # Python, NumPy and most trainers write bare NaN; it is no JSON, yet a fact worth keeping.
    try:
        kept = encode(finite_or_name(json.loads(body)))
    except (ValueError, RecursionError) as error:
        raise malformed(error) from None
    try:
        return decoder.decode(kept), kept
    except msgspec.ValidationError as error:
        raise refusal(error, where, kept, decoder) from None


def malformed(error: object) -> BadRequest:
    """The answer to a body that is no JSON."""
    return BadRequest(
        "the body is not valid JSON",
        code="malformed_json",
        detail=f"The parser says: {error}.",
    )


def parse_record(type: str, body: bytes) -> Batch:
    """One record's body, as the single-record routes receive it.

    Raises:
        BadRequest, ValidationFailed: see `decode`.
    """
    value, kept = decode(body, _data_decoders[type])
    record = _record(type, value, kept, None, "")
    return Batch(type, record.body, [record], warnings=warnings_of([record]))


def parse_batch(body: bytes) -> Batch:
    """The body of ``POST …/records``: up to 10,000 records, columnar ones by their rows.

    Raises:
        BadRequest, ValidationFailed: see `decode`.
        TooLarge: more than `MAX_BATCH_RECORDS`.
    """
    try:
        raw = _raw_batch_decoder.decode(body)
    except UNREADABLE:
        pass
    else:
        if (usual := _usual_batch(bytes(raw.records), raw.batch_id)) is not None:
            return usual
    value, _ = decode(body, _batch_decoder)
    batch = cast(BatchIn, value)
    records = [record_of(item, f"records[{i}]") for i, item in enumerate(batch.records)]
    return make_batch(records, batch.batch_id)


def parse_list(text: bytes) -> Batch:
    """A list of records, as a frame of a reporter's socket may bring it.

    Raises:
        BadRequest, ValidationFailed, TooLarge: see `parse_batch`.
    """
    if (usual := _usual_batch(text, None)) is not None:
        return usual
    items, _ = decode(text, _stored_decoder)
    return make_batch([record_of(item, f"[{i}]") for i, item in enumerate(items)])


def _usual_batch(text: bytes, batch_id: str | None) -> Batch | None:
    """A list of nothing but usual records; None when there is anything else in it."""
    try:
        items: list[MetricsIn | DecisionIn] = _usual_decoder.decode(text)
    except UNREADABLE:
        return None
    _check_count(len(items))
    bodies, size = Bodies(text), len(text) // max(1, len(items))
    records = [
        Record(TYPE_OF[type(item)], bodies, item.data, 1, item.key, place, size)
        for place, item in enumerate(items)
    ]
    return Batch("batch", text, records, batch_id, warnings_of(records))


def make_batch(records: Sequence[Record], batch_id: str | None = None) -> Batch:
    """A batch of records already decoded.

    Raises:
        TooLarge: more than `MAX_BATCH_RECORDS` rows.
    """
    _check_count(sum(r.count for r in records))
    return Batch("batch", joined(records), list(records), batch_id, warnings_of(records))


def _check_count(count: int) -> None:
    if count > MAX_BATCH_RECORDS:
        raise TooLarge(
            f"a batch holds at most {MAX_BATCH_RECORDS} records, this one has {count}",
            code="batch_too_large",
            details={"limit": MAX_BATCH_RECORDS, "records": count},
        )


def make_record(type: str, data: Mapping[str, Any], key: str | None = None) -> Record:
    """A record made by the server itself, such as an event.

    Raises:
        ValidationFailed: the data is not of that type's shape.
    """
    body = encode(finite_or_name(data))
    value, kept = decode(body, _data_decoders[type])
    return Record(type, kept, _event(kept) if type == STATUS else value, key=key, size=len(kept))


def unpack(kind: str, body: bytes) -> list[Record]:
    """The records of a stored log row, in the order of their seqs."""
    if kind != "batch":
        value = _kept_decoders[kind].decode(body)
        return [Record(kind, body, _event(body) if kind == STATUS else value, size=len(body))]
    return [record_of(item, "", _kept_decoders) for item in _stored_decoder.decode(body)]


def merge_latest(latest: dict[str, Any] | None, record: Record) -> dict[str, Any]:
    """`latest` brought up to date by a metrics record: what it leaves unknown stays as it was."""
    if isinstance(record.value, Columns):
        new = msgspec.to_builtins(record.value.row(record.count - 1))  # times as text
    else:
        new = cast("dict[str, Any]", msgspec.json.decode(record.body))
    merged = dict(latest or {})
    extra = {**(merged.get("extra") or {})}
    extra.update({k: v for k, v in (new.pop("extra", None) or {}).items() if v is not None})
    merged.update({k: v for k, v in new.items() if v is not None})
    if extra:
        merged["extra"] = extra
    return merged


def newest(records: Sequence[Record]) -> Sequence[Record]:
    """Those among a batch's metrics records that `merge_latest` has to see, in their order.

    Of each figure only the newest value counts, so of thousands of records it is one or two.
    """
    if len(records) < 3:
        return records
    values = [
        TrainingMetrics(**value.row(record.count - 1)) if isinstance(value, Columns) else value
        for record in reversed(records)
        for value in (record.value,)
    ]
    last = values[0]
    chosen = {0}
    for name in TrainingMetrics.__struct_fields__:
        if name == "extra" or getattr(last, name) is not None:
            continue
        column = list(map(attrgetter(name), values))
        if column.count(None) < len(column):
            chosen.add(next(i for i, told in enumerate(column) if told is not None))
    seen: set[str] = set()
    for i, extra in enumerate(map(attrgetter("extra"), values)):
        if extra and not extra.keys() <= seen:
            fresh = {k for k, told in extra.items() if told is not None} - seen
            if fresh:
                seen |= fresh
                chosen.add(i)
    return [records[len(records) - 1 - i] for i in sorted(chosen, reverse=True)]


def _event(body: bytes) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.json.decode(body))


def record_of(
    item: RecordIn,
    where: str,
    decoders: Mapping[str, msgspec.json.Decoder[Any]] = _data_decoders,
) -> Record:
    """A record of any type, read with care.

    Args:
        where: what stands before the names of fields in a refusal.
        decoders: by type, of what is reported or of what is kept.

    Raises:
        BadRequest, ValidationFailed: see `decode`.
    """
    within = f"{where}." if where else ""
    if (item.data is UNSET) == (item.columns is UNSET):
        raise ValidationFailed(
            f"{where or 'record'}: give either data or columns", details={"field": where or None}
        )
    if item.data is not UNSET:
        value, kept = decode(bytes(item.data), decoders[item.type], f"{within}data")
        return _record(item.type, value, kept, item.key, f"{within}data.")
    if item.type != METRICS:
        raise ValidationFailed(
            f"{within}columns: only {METRICS} may be columnar, not {item.type}",
            details={"field": f"{within}columns"},
        )
    columns, kept = decode(bytes(cast(Raw, item.columns)), _columns_decoder, f"{within}columns")
    rows = len(columns.episode)
    lengths = {
        **{
            name: len(column)
            for name in Columns.__struct_fields__
            if name != "extra" and (column := getattr(columns, name)) is not None
        },
        **{f"extra.{k}": len(v) for k, v in (columns.extra or {}).items()},
    }
    if rows == 0 or any(n != rows for n in lengths.values()):
        raise ValidationFailed(
            f"{within}columns: every column must have the same number of rows, at least one",
            details={"field": f"{within}columns", "lengths": lengths},
        )
    return Record(METRICS, kept, columns, rows, item.key, size=len(kept))


def _record(type: str, value: Any, kept: bytes, key: str | None, within: str) -> Record:
    """A record of decoded data; an image is parted from what is told of it."""
    if type == STATUS:
        value = _event(kept)
    elif isinstance(value, ImageRecord):
        told = stored_image(value)
        if told is None:
            raise ValidationFailed(
                f"{within}image: must be a JPEG, WebP or PNG file",
                details={"field": f"{within}image"},
            )
        kept = encode(told)
        return Record(type, kept, told, key=key, size=len(kept), image=value.image)
    return Record(type, kept, value, key=key, size=len(kept))


def joined(records: Sequence[Record]) -> bytes:
    """The JSON list of ``{type, data|columns, key?}`` that a log row keeps."""

    def one(record: Record) -> bytes:
        part = b"columns" if record.columnar else b"data"
        key = b',"key":%b' % _encoder.encode(record.key) if record.key is not None else b""
        return b'{"type":"%b","%b":%b%b}' % (record.type.encode(), part, record.body, key)

    return b"[%b]" % b",".join(map(one, records))


def warnings_of(records: Iterable[Record]) -> list[str]:
    """Sentences about what is odd in `records`, the first twenty."""
    found = []
    for record in records:
        if record.type == DECISION and record.value.action_probabilities:
            total = sum(number(p) or 0.0 for p in record.value.action_probabilities.values())
            if not abs(total - 1.0) <= 0.01:
                found.append(f"action_probabilities add up to {total:.4g}, not 1")
                if len(found) == MAX_WARNINGS:
                    break
    return found


def _body_of(item: RecordIn) -> bytes:
    return bytes(cast(Raw, item.columns if item.data is UNSET else item.data))


RecordParser: TypeAlias = Callable[[bytes], Batch]
