"""Writes docs/asyncapi.yaml: ``python -m grandstand.web.vocabulary.asyncapi``.

AsyncAPI 3.0, https://www.asyncapi.com/docs/reference/specification/v3.0.0; it speaks for the
server: *send* is what the server sends.
"""

from __future__ import annotations

import re
import sys
from typing import Any, Final, TypeAlias

import yaml

import grandstand
from grandstand.model.frames import FRAME
from grandstand.model.telemetry import DATA_OF, METRICS, RECORD_TYPES
from grandstand.web.answers import components
from grandstand.web.vocabulary.reporter import ANSWERS, FRAMES
from grandstand.web.vocabulary.spectator import (
    ASKED,
    ENVELOPE,
    FRAME_EXAMPLE,
    FRAME_HEADER,
    PARAMETERS,
    TOLD,
)
from grandstand.web.vocabulary.words import AT, Asked, Field, Told

Schema: TypeAlias = dict[str, Any]

HEAD: Final = "# Written by `make docs` out of src/grandstand/web/vocabulary/; change it there.\n"
TOKEN: Final = Field("token", "string", "for browsers, which cannot send a header", False)
ONLY: Final = {"type": "string", "minLength": 1, "maxLength": 128}


def document() -> dict[str, Any]:
    """The sockets' description."""
    told = {_name(t.type, t.event): _told(t) for t in TOLD}
    told["agent_at_play"] = {  # a frame on the wire is something else
        "name": FRAME,
        "summary": "The agent at play, for those who subscribed to it.",
        "description": "Binary: the length of a header (4 bytes, big-endian), the header (JSON), "
        "the image. The payload described here is the header.",
        "contentType": "application/octet-stream",
        "payload": _object(FRAME_HEADER),
        "examples": [{"payload": FRAME_EXAMPLE}],
    }
    asked = {_name(a.type): _asked(a) for a in ASKED}
    acknowledged, refused = ANSWERS
    ingest = {
        "frame": {
            "summary": "A record, a list of records, or a batch.",
            "payload": {
                "oneOf": [
                    _ref("Record"),
                    {"type": "array", "items": _ref("Record")},
                    _ref("Batch"),
                ]
            },
            "examples": [{"name": _name(f.name), "payload": f.example} for f in FRAMES],
        },
        "acknowledgement": {
            "summary": f"{_sentence(acknowledged.meaning)}.",
            "payload": _object(acknowledged.fields),
            "examples": [{"payload": acknowledged.example}],
        },
        "refusal": {
            "summary": f"{_sentence(refused.meaning)}.",
            "payload": {
                "allOf": [_ref("Error"), _object(f for f in refused.fields if f.name == "at")]
            },
            "examples": [{"payload": refused.example}],
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Grandstand's sockets",
            "version": grandstand.__version__,
            "description": "What a client says and hears; wire.md explains it.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8000",
                "protocol": "ws",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            "watch": _channel(
                "/ws/{session_id}", "Follow a session live.", PARAMETERS, told, asked
            ),
            "ingest": _channel("/ws/{session_id}/ingest", "Report.", (TOKEN,), ingest),
        },
        "operations": {
            "tell": _operation("send", "watch", told, "What a spectator is told."),
            "ask": {
                **_operation("receive", "watch", asked, "What a spectator may say."),
                "reply": _messages("watch", [n for n in told if n.startswith(("conn", "error"))]),
            },
            "report": {
                **_operation("receive", "ingest", ["frame"], "What a reporter sends."),
                "reply": _messages("ingest", ["acknowledgement", "refusal"]),
            },
        },
        "components": {
            "messages": {**told, **asked, **ingest},
            "schemas": {**_records(), **components()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Where the server wants tokens.",
                }
            },
        },
    }


def text() -> str:
    """The whole file."""
    return HEAD + yaml.dump(
        document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )


class _Plain(yaml.SafeDumper):
    """Without anchors: they spare lines and hide what is meant."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _told(told: Told) -> Schema:
    if told.type in DATA_OF and told.event is None:
        data = _ref(DATA_OF[told.type].__name__)
    elif told.fields and told.event is None:
        data = _ref("Error")
    else:
        data = _object(told.fields)
    if told.event is not None:
        properties = {"event": {"const": told.event}, **data["properties"]}
        data = {**data, "required": ["event", *data["required"]], "properties": properties}
    envelope = _object(ENVELOPE)
    envelope["properties"] |= {"type": {"const": told.type}, "data": data}
    example = {
        "type": told.type,
        "session_id": "my_run",
        "seq": told.seq,
        "timestamp": AT,
        "data": told.data,
    }
    return {
        "summary": f"{_sentence(told.meaning)}.",
        "payload": envelope,
        "examples": [{"payload": example}],
    }


def _asked(asked: Asked) -> Schema:
    payload = _object(asked.fields)
    payload["properties"] = {"type": {"const": asked.type}, **payload["properties"]}
    payload["required"] = ["type", *payload["required"]]
    return {
        "summary": f"{_sentence(asked.meaning)}.",
        "payload": payload,
        "examples": [{"payload": asked.example}],
    }


def _records() -> dict[str, Schema]:
    """What a reporter's frame is made of; `RecordIn` leaves its data open."""
    kinds: list[Schema] = []
    for name in RECORD_TYPES:
        parts = {"data": DATA_OF[name].__name__}
        if name == METRICS:
            parts["columns"] = "Columns"
        for part, shape in parts.items():
            kinds.append(
                {
                    "type": "object",
                    "required": ["type", part],
                    "additionalProperties": False,
                    "properties": {
                        "type": {"const": name},
                        part: _ref(shape),
                        "key": {**ONLY, "type": ["string", "null"]},
                    },
                }
            )
    batch = {
        "type": "object",
        "required": ["records"],
        "additionalProperties": False,
        "properties": {
            "batch_id": {**ONLY, "type": ["string", "null"]},
            "records": {"type": "array", "items": _ref("Record")},
        },
    }
    return {"Record": {"oneOf": kinds}, "Batch": batch}


def _channel(
    address: str, description: str, parameters: tuple[Field, ...], *messages: dict[str, Schema]
) -> Schema:
    names = [name for group in messages for name in group]
    return {
        "address": address,
        "description": description,
        "parameters": {"session_id": {"description": "The session's id."}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"ws": {"method": "GET", "query": _object(parameters)}},
    }


def _operation(action: str, channel: str, names: Any, summary: str) -> Schema:
    return {"action": action, **_messages(channel, list(names)), "summary": summary}


def _messages(channel: str, names: list[str]) -> Schema:
    where = f"#/channels/{channel}"
    return {
        "channel": {"$ref": where},
        "messages": [{"$ref": f"{where}/messages/{name}"} for name in names],
    }


def _object(fields: Any) -> Schema:
    properties, required = {}, []
    for f in fields:
        kinds = [k for k in f.kind.split(" or ") if k != "any"]
        kind: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
        properties[f.name] = {**kind, "description": f.meaning}
        if f.name == "session" and f.kind == "object":
            properties[f.name] = _ref("Session")
        if f.always:
            required.append(f.name)
    return {"type": "object", "required": required, "properties": properties}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _name(*parts: str | None) -> str:
    return re.sub(r"\W+", "_", " ".join(p for p in parts if p)).strip("_")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    sys.stdout.write(text())
