"""Answers as bytes, and their shapes for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

import msgspec
from fastapi import Response
from fastapi.responses import StreamingResponse

from grandstand.model.media import HistogramRecord, ImageRecord, TextRecord
from grandstand.model.session import Session
from grandstand.model.telemetry import (
    BatchIn,
    BotDecision,
    Columns,
    PerformanceGraph,
    StatusEvent,
    TrainingMetrics,
    encode,
)

SHAPES: Sequence[type] = (
    Session,
    TrainingMetrics,
    BotDecision,
    PerformanceGraph,
    StatusEvent,
    TextRecord,
    HistogramRecord,
    ImageRecord,
    Columns,
    BatchIn,
)
_REF = "#/components/schemas/{name}"

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Error",
    "required": ["error", "message", "detail", "details", "timestamp"],
    "properties": {
        "error": {"type": "string", "description": "A stable code, for programs."},
        "message": {"type": "string", "description": "A sentence, for people."},
        "detail": {"type": "string", "description": "What to do about it."},
        "details": {"type": "object"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
}


def answer(value: Any, status: int = 200) -> Response:
    """`value` as a JSON answer. Non-finite floats must already be names."""
    return Response(encode(value), status_code=status, media_type="application/json")


def raw(body: bytes) -> Response:
    """JSON already encoded."""
    return Response(body, media_type="application/json")


def zipped(file: IO[bytes], name: str) -> StreamingResponse:
    """A zip archive as a file to keep; closes it."""

    def parts() -> Iterator[bytes]:
        with file:
            while part := file.read(64 * 1024):
                yield part

    return StreamingResponse(
        parts(),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def shape(name: str) -> dict[str, Any]:
    """A reference to one of `SHAPES`."""
    return {"$ref": _REF.format(name=name)}


def gives(
    schema: dict[str, Any] | None, *errors: int, status: int = 200, files: Sequence[str] = ()
) -> dict[str, Any]:
    """Route arguments that document its answer (None: no body) and the errors it may give.

    Args:
        files: media types of an answer that is a file.
    """
    content: dict[str, Any] = {}
    if schema is not None:
        content = {"content": {"application/json": {"schema": schema}}}
    elif files:
        file = {"schema": {"type": "string", "format": "binary"}}
        content = {"content": {media.split(";")[0]: file for media in files}}
    responses: dict[int | str, Any] = {status: {"description": "Done.", **content}}
    words = {
        400: "The request makes no sense now.",
        401: "No token that holds.",
        410: "It is no more.",
        429: "Too many; come back later.",
        403: "Not allowed.",
        404: "No such thing.",
        409: "The present state forbids it.",
        413: "Too large.",
        415: "Not JSON.",
        422: "A value is missing, unknown or out of bounds.",
        503: "Not now.",
    }
    for code in errors:
        responses[code] = {
            "description": words[code],
            "content": {"application/json": {"schema": shape("Error")}},
        }
    return {"responses": responses, "status_code": status}


def takes(name: str) -> dict[str, Any]:
    """Route argument that documents a body decoded by msgspec."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": shape(name)}},
        }
    }


RECEIPT: dict[str, Any] = {
    "type": "object",
    "title": "Receipt",
    "required": ["message", "seq"],
    "properties": {
        "message": {"type": "string"},
        "seq": {"type": "integer"},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}
BATCH_RECEIPT: dict[str, Any] = {
    "type": "object",
    "title": "BatchReceipt",
    "required": ["accepted", "last_seq", "duplicate"],
    "properties": {
        "accepted": {"type": "integer", "description": "Records stored now."},
        "last_seq": {"type": "integer"},
        "duplicate": {"type": "boolean", "description": "All of it was stored before."},
        "warnings": {"type": "array", "items": {"type": "string"}},
    },
}


def components() -> dict[str, Any]:
    """Every shape of `SHAPES` as a JSON schema, by name."""
    _, found = msgspec.json.schema_components(SHAPES, ref_template=_REF)
    return {**found, "Error": ERROR_SCHEMA, "BatchReceipt": BATCH_RECEIPT}


def listing(plural: str, item: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list answer; `more` are schemas of what else it holds, by name."""
    return {
        "type": "object",
        "required": [plural, "total", *more, "next_cursor"],
        "properties": {
            plural: {"type": "array", "items": item},
            "total": {"type": "integer"},
            **more,
            "next_cursor": {"type": ["string", "null"]},
        },
    }


ANY: dict[str, Any] = {"type": "object"}
