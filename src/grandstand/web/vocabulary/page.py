"""Writes docs/wire.md: ``python -m grandstand.web.vocabulary.page > docs/wire.md``."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.types import Message

from grandstand.assembly import build
from grandstand.errors import GrandstandError, tree
from grandstand.model.telemetry import STATUS
from grandstand.model.wire import WIRE
from grandstand.settings import load_settings
from grandstand.web.app import make_app
from grandstand.web.vocabulary.http import CALLS, Call
from grandstand.web.vocabulary.reporter import ANSWERS, FRAMES
from grandstand.web.vocabulary.spectator import (
    ASKED,
    ENVELOPE,
    FRAME_EXAMPLE,
    FRAME_HEADER,
    PARAMETERS,
    REFUSALS,
    SKIPPED,
    TOLD,
)
from grandstand.web.vocabulary.trainings import EVENTS
from grandstand.web.vocabulary.words import AT, CLOSES, Field, Told

WIDTH: Final = 112
URL: Final = "http://127.0.0.1:8000"


def page(openapi: dict[str, Any]) -> str:
    """The whole page, as Markdown.

    Args:
        openapi: the server's own description, for its routes.
    """
    made = {
        "wire": f"{WIRE}",
        "calls": "\n".join(map(_call, CALLS)),
        "frames": _frames(),
        "parameters": _table(("in the address", "JSON", "what it does"), _fields(PARAMETERS)),
        "envelope": _table(("field", "JSON", "what it is"), _fields(ENVELOPE)),
        "told": _told(),
        "skipped": _table(("in `data`", "JSON", "what it is"), _fields(SKIPPED)),
        "asked": _asked(),
        "frame": _facts(FRAME_HEADER),
        "frame_example": f"```json\n{_wrapped(FRAME_EXAMPLE)}\n```",
        "events": _events(),
        "errors": _errors(),
        "closes": _closes(),
        "routes": _routes(openapi),
    }
    text = Path(__file__).with_name("wire.md").read_text(encoding="utf-8")
    for name, part in made.items():
        text = text.replace("{{" + name + "}}", part.rstrip("\n"))
    return text


def _call(call: Call) -> str:
    lines = [f"curl -X {call.method} '{URL}{call.path}'"]
    if call.method == "GET":
        lines = [f"curl '{URL}{call.path}'"]
    if call.body is not None:
        lines[0] += " -H 'Content-Type: application/json' \\"
        lines.append(f"  -d '{_wrapped(call.body, WIDTH - 6).replace(chr(10), chr(10) + '  ')}'")
    asked = "\n".join(lines)
    whole = call.method == "GET" and call.path.endswith("/my_run")
    if call.answer is None:
        told = ""
    elif isinstance(call.answer, str):
        told = f"```\n{call.answer}```\n"
    else:
        told = f"```json\n{_wrapped(call.answer, whole=whole)}\n```\n"
    status = f" Status {call.status}." if call.status != 200 else ""
    return f"{call.what}.{status}\n\n```bash\n{asked}\n```\n{told}"


def _frames() -> str:
    rows = ((f.name, f"`{_line(f.example)}`", f.meaning) for f in FRAMES)
    parts = [_table(("a frame is", "such as", ""), rows)]
    for answer in ANSWERS:
        parts.append(f"The **{answer.name}**: {answer.meaning}.\n")
        parts.append(f"```json\n{_wrapped(answer.example)}\n```\n")
    parts.append(_table(("field", "JSON", "what it is"), _fields(ANSWERS[0].fields)))
    return "\n".join(parts)


def _told() -> str:
    rows = (
        (
            f"`{told.type}`",
            f"`{told.event}`" if told.event else "any other" if told.type == STATUS else "",
            told.meaning,
            _facts(told.fields),
        )
        for told in TOLD
    )
    table = _table(("type", "`data.event`", "when", "in `data`"), rows)
    examples = "\n".join(_wrapped(envelope(told)) for told in TOLD)
    return f"{table}\nOne of each:\n\n```json\n{examples}\n```\n"


def envelope(told: Told) -> dict[str, Any]:
    """The whole message of an example."""
    return {
        "type": told.type,
        "session_id": "my_run",
        "seq": told.seq,
        "timestamp": AT,
        "data": told.data,
    }


def _asked() -> str:
    rows = (
        (
            f"`{_line(asked.example)}`",
            asked.meaning,
            f"`{asked.answer}`" + (f", or `error` {asked.refusal}" if asked.refusal else ""),
        )
        for asked in ASKED
    )
    codes = "; ".join(f"`{code}`: {meaning}" for code, meaning in REFUSALS.items())
    table = _table(("send", "to", "answered by"), rows)
    return f"{table}\nCodes of an `error`: {codes}. It closes nothing.\n"


def _events() -> str:
    rows = ((f"`{event.name}`", event.meaning, _facts(event.fields)) for event in EVENTS)
    examples = "\n".join(f'["{event.name}", {_wrapped(event.example)}]' for event in EVENTS)
    table = _table(("event", "what it says", "its data"), rows)
    acknowledged = "".join(
        f"\n`{event.name}` is acknowledged with {_facts(event.answer)}.\n"
        for event in EVENTS
        if event.answer
    )
    return f"{table}{acknowledged}\nOne of each:\n\n```json\n{examples}\n```\n"


def _errors() -> str:
    rows = (
        (
            str(kind.http_status),
            f"`{kind.default_code}`",
            (kind.__doc__ or "").partition("\n")[0].partition(";")[0].rstrip("."),
            "yes, later" if kind.retryable else "",
        )
        for kind in tree()
        # A trainer has failures of its own, which never reach the wire.
        if kind.__module__ == GrandstandError.__module__
        if kind is not GrandstandError
    )
    unforeseen = (
        "500",
        "`internal_error`",
        "Something failed on the server; its log says what",
        "",
    )
    return _table(("status", "usual code", "what happened", "again?"), (*rows, unforeseen))


def _closes() -> str:
    rows = (
        (str(close.code), close.meaning, "come back" if close.again else "**do not** come back")
        for close in CLOSES
    )
    return _table(("code", "why", "then"), rows)


def _routes(openapi: dict[str, Any]) -> str:
    rows = []
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            text = operation.get("description") or operation["summary"]
            what = " ".join(text.split()).rstrip(".").replace("|", "\\|")
            rows.append((method.upper(), f"`{path}`", what))
    return _table(("", "path", "what for"), rows)


def _facts(fields: Iterable[Field]) -> str:
    return "; ".join(f"`{f.name}`{'' if f.always else '?'}: {f.meaning}" for f in fields)


def _fields(fields: Iterable[Field]) -> Iterator[tuple[str, str, str]]:
    for f in fields:
        yield f"`{f.name}`", f.kind, f.meaning


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _wrapped(value: Any, width: int = WIDTH, *, whole: bool = False) -> str:
    """JSON in lines of about `width`, cut between members; sessions shortened unless `whole`."""
    text = _line(value if whole else _short(value))
    text = text.replace('"…": "…"', "…")
    if len(text) <= width or not isinstance(value, dict):
        return text
    pieces = [
        f"{_line(name)}: " + _line(part if whole else _short(part)).replace('"…": "…"', "…")
        for name, part in value.items()
    ]
    lines, now = [], "{"
    for i, piece in enumerate(pieces):
        end = "}" if i == len(pieces) - 1 else ","
        if now.strip() != "{" and len(now) + len(piece) + 1 > width:
            lines.append(now)
            now = " "
        now += ("" if now in ("{", " ") else " ") + piece + end
    return "\n".join([*lines, now])


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        if "training_session_id" in value and "kind" in value:
            return {"session_id": value["session_id"], "status": value["status"], "…": "…"}
        return {name: _short(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_short(part) for part in value]
    return value


async def openapi() -> dict[str, Any]:
    """The OpenAPI document of a server with the settings as they come."""
    with tempfile.TemporaryDirectory() as folder:
        house = build(load_settings(env={}, flags={"data_storage_path": folder}))
        try:
            return await _asked_of(make_app(house))
        finally:
            await house.aclose()


async def _asked_of(app: Any) -> dict[str, Any]:
    body = bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        body.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/openapi.json",
        "raw_path": b"/openapi.json",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": None,
        "server": ("localhost", 80),
    }
    await app(scope, receive, send)
    document: dict[str, Any] = msgspec.json.decode(bytes(body))
    return document


if __name__ == "__main__":
    sys.stdout.write(page(asyncio.run(openapi())))
