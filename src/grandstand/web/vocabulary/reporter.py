"""/ws/{session_id}/ingest: what a reporter sends, and how it is answered."""

from __future__ import annotations

from typing import Final

from grandstand.model.media import HISTOGRAM, IMAGE, TEXT
from grandstand.model.telemetry import DECISION, GRAPH, METRICS, STATUS
from grandstand.web.vocabulary.words import (
    COLUMNS,
    DECIDED,
    DRAWN,
    ERROR_FIELDS,
    FAILURE,
    LATEST,
    PAINTED,
    PHASE,
    SPREAD,
    WROTE,
    Field,
    Frame,
)

FRAMES: Final = (
    Frame("a record", "the plainest", {"type": METRICS, "data": LATEST}),
    Frame(
        "a record with a key",
        "a key that the session has already is acknowledged and not stored again",
        {"type": DECISION, "data": DECIDED, "key": "update 41, decision 7"},
    ),
    Frame(
        "rows in columns",
        "many episodes; each row is a record",
        {"type": METRICS, "columns": COLUMNS, "key": "update 42"},
    ),
    Frame(
        "a list of records",
        "stored together or not at all",
        [{"type": GRAPH, "data": DRAWN}, {"type": STATUS, "data": PHASE}],
    ),
    Frame(
        "media",
        "a text of at most 65,536 characters, a histogram of at most 512 bins (values in none: "
        "`nan`, `positive_infinity`, `negative_infinity`), a JPEG, WebP or PNG file of at most "
        "256 KiB in base64 (`caption`?); each with `episode`, `step`",
        [
            {"type": TEXT, "data": WROTE},
            {"type": HISTOGRAM, "data": SPREAD},
            {"type": IMAGE, "data": PAINTED},
        ],
    ),
    Frame(
        "the body of `POST …/records`",
        "its `batch_id` makes the whole frame harmless to send again",
        {"batch_id": "b17", "records": [{"type": METRICS, "data": {"episode": 4}}]},
    ),
)
ANSWERS: Final = (
    Frame(
        "acknowledgement",
        "everything up to here is on disk, or was refused",
        {"acked": 10, "frames": 6, "last_seq": 11},
        (
            Field("acked", "integer", "records of this connection that are stored"),
            Field("frames", "integer", "frames of this connection that are dealt with"),
            Field("last_seq", "integer", "the session's seq of the last of them"),
            Field("warnings", "array", "what was odd about them, at most 20", False),
            Field("wanted", "string", "`paused` or `stopped`, if people want that of it", False),
        ),
    ),
    Frame(
        "refusal",
        "nothing of this frame is stored; the others go on",
        {**FAILURE, "at": 7},
        (*ERROR_FIELDS, Field("at", "integer", "which frame of this connection, from 1")),
    ),
)
