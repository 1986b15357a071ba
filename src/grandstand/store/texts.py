"""Texts as every database can hold them.

PostgreSQL holds no NUL (U+0000) in a text, so none of our databases is given one: whoever looks for
such a name finds nothing, whoever brings one is told so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from grandstand.errors import ValidationFailed
from grandstand.model.telemetry import GRAPH, METRICS, Batch, Record

_ESCAPED: Final = b"\\u0000"
"""The only way in which JSON can hold NUL."""


def storable(text: str) -> bool:
    """Whether a text column can hold it."""
    return "\0" not in text


def check_batch(batch: Batch) -> None:
    """Hold that whatever of a batch gets a column of its own can be stored; its body always can.

    Raises:
        ValidationFailed: naming the first field that cannot.
    """
    if batch.batch_id is not None and not storable(batch.batch_id):
        raise _refusal("batch_id")
    if _ESCAPED not in batch.body:
        return
    for i, record in enumerate(batch.records):
        for field, text in _names(record):
            if not storable(text):
                raise _refusal(
                    f"records[{i}].{field}"
                    if batch.kind == "batch"
                    else field.removeprefix("data.")
                )


def _names(record: Record) -> Iterator[tuple[str, str]]:
    if record.key is not None:
        yield "key", record.key
    value = record.value
    if record.type == METRICS:
        field = "columns.extra" if record.columnar else "data.extra"
        yield from ((field, name) for name in value.extra or ())
    elif record.type == GRAPH:
        texts = ((field, getattr(value, field)) for field in ("graph_id", "title", "y_label"))
        yield from ((f"data.{field}", text) for field, text in texts if text is not None)


def _refusal(field: str) -> ValidationFailed:
    return ValidationFailed(
        f"{field}: must not hold NUL (U+0000)",
        detail="No database of ours keeps it in a name.",
        details={"field": field},
    )
