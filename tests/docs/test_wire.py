"""docs/wire.md and docs/asyncapi.yaml are what the table says, and the table has every word that
the code knows. `test_wire_examples.py` has a server say them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from grandstand.errors import tree
from grandstand.live.presence import Presence
from grandstand.model.media import MEDIA
from grandstand.model.telemetry import DATA_OF, MESSAGE_TYPES, BatchIn, RecordIn
from grandstand.web import auth, socketio, training_events, websocket
from grandstand.web.vocabulary import asyncapi, page
from grandstand.web.vocabulary.http import CALLS
from grandstand.web.vocabulary.reporter import FRAMES
from grandstand.web.vocabulary.spectator import ASKED, PARAMETERS, REFUSALS, TOLD, TYPES
from grandstand.web.vocabulary.trainings import EVENTS
from grandstand.web.vocabulary.words import CLOSES, ERROR_FIELDS, SESSION

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/grandstand"
NEVER_SENT = {1006}
"""What a client's own library says when no close frame came."""


def nodes(source: Any) -> Iterator[ast.AST]:
    """Everything in a file, a folder of files, or a module, class or function."""
    if not isinstance(source, Path):
        yield from ast.walk(ast.parse(inspect.cleandoc("\n" + inspect.getsource(source))))
        return
    for file in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
        yield from ast.walk(ast.parse(file.read_text()))


def calls(source: Any, *names: str) -> Iterator[ast.Call]:
    """The calls of functions or methods of these names."""
    for node in nodes(source):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in names:
                yield node


def text(node: ast.AST | None) -> str | None:
    """A string that is written out."""
    said = node.value if isinstance(node, ast.Constant) else None
    return said if isinstance(said, str) else None


def values_of(source: Any, key: str) -> set[str]:
    """What is written out under a key of the dictionaries in `source`."""
    return {
        said
        for node in nodes(source)
        if isinstance(node, ast.Dict)
        for name, value in zip(node.keys, node.values, strict=True)
        if text(name) == key and (said := text(value)) is not None
    }


# The pages.


async def test_the_page_is_what_the_table_says(serving: Any) -> None:
    told = await serving.ok("GET", "/openapi.json")
    assert (ROOT / "docs/wire.md").read_text() == page.page(told), "run `make docs`"
    assert told == await page.openapi()


def test_the_asyncapi_document_is_what_the_table_says() -> None:
    written = (ROOT / "docs/asyncapi.yaml").read_text()
    assert written == asyncapi.text(), "run `make docs`"
    document = yaml.safe_load(written)
    assert document["asyncapi"] == "3.0.0"
    for reference in references(document):
        found = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/")]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_page_can_be_read_in_a_sitting() -> None:
    written = (ROOT / "docs/wire.md").read_text()
    assert len(written.splitlines()) <= 640
    assert not re.search(r"\{\{\w+\}\}", written), "a part was not filled in"


# The table has every word.


async def test_every_route_is_there_and_every_call_has_a_route(serving: Any) -> None:
    paths = (await serving.ok("GET", "/openapi.json"))["paths"]
    written = (ROOT / "docs/wire.md").read_text()
    for path, item in paths.items():
        for method in item:
            assert f"| {method.upper()} | `{path}` |" in written
    for call in CALLS:
        assert call.method.lower() in paths[call.route], call.what
    shown = {(call.method, call.route.rpartition("}/")[2]) for call in CALLS}
    for name in ("metrics", "bot_decision", "graph_update", "records"):
        assert ("POST", name) in shown
    for name in ("history", "series", "export"):
        assert ("GET", name) in shown


def test_every_socket_is_there() -> None:
    found = {text(call.args[1]) for call in calls(PACKAGE / "web", "add_socket")}
    assert found == {c["address"] for c in asyncapi.document()["channels"].values()}


def test_every_message_type_and_event_is_there() -> None:
    assert {told.type for told in TOLD} == set(MESSAGE_TYPES)
    assert list(MESSAGE_TYPES) == TYPES
    said = values_of(websocket, "event")
    assert {t.event for t in TOLD if t.type == "connection_status"} == said
    happen = values_of(Presence, "event")
    for part in ("service", "worker", "launch", "live"):
        for call in calls(PACKAGE / part, "event"):
            named = [text(argument) for argument in call.args if text(argument) is not None]
            assert len(named) == 1, ast.dump(call)
            happen |= set(named)
    happen |= set(MEDIA)
    listed = {t.event for t in TOLD if t.type == "training_status"} - {None}
    assert listed == happen


def test_a_worker_s_events_have_their_fields() -> None:
    shown = {told.event: told.data for told in TOLD if told.type == "training_status"}
    for call in calls(PACKAGE / "worker", "event"):
        given = {k.arg for k in call.keywords if k.arg} - {"key"}
        if all(k.arg for k in call.keywords):
            name = text(call.args[0])
            assert shown[name].keys() == given | {"event", "timestamp"}, name


def test_every_message_of_a_client_is_there() -> None:
    obeyed: set[str] = set()
    for node in nodes(websocket._Spectator._obey):
        if isinstance(node, ast.Compare) and getattr(node.left, "id", "") == "kind":
            for right in node.comparators:
                several = right.elts if isinstance(right, ast.Tuple) else [right]
                obeyed |= {said for item in several if (said := text(item)) is not None}
    assert {asked.type for asked in ASKED} == obeyed
    events = {told.event for told in TOLD}
    assert {asked.answer for asked in ASKED} <= events
    codes = {text(call.args[0]) for call in calls(websocket, "_error")}
    assert set(REFUSALS) == codes
    assert {asked.refusal for asked in ASKED} - {None} <= codes


def test_every_query_parameter_is_there() -> None:
    read = {text(call.args[0]) for call in calls(websocket.register_websocket, "get")}
    asked = [
        call
        for call in calls(auth._brought, "get")
        if isinstance(call.func, ast.Attribute)
        and getattr(call.func.value, "attr", "") == "query_params"
    ]
    assert {p.name for p in PARAMETERS} == read | {text(call.args[0]) for call in asked}


def test_every_event_of_socketio_is_there() -> None:
    sent = {text(call.args[0]) for call in calls(socketio, "emit")}
    sent |= set(training_events.ENDS.values())
    for node in nodes(training_events.event_of):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            name = text(node.elts[0])
            sent |= {name} if name is not None else set()
    assert {event.name for event in EVENTS if not event.answer} == sent
    heard = {text(call.args[0]) for call in calls(socketio, "on")} - {"connect", "disconnect"}
    assert {event.name for event in EVENTS if event.answer} == heard


def test_every_close_code_is_there() -> None:
    known = {kind.close_code for kind in tree()}
    named: set[str] = set()
    for part in ("web", "live"):
        for call in calls(PACKAGE / part, "close", "leave", "fail"):
            for first in call.args[:1]:
                if isinstance(first, ast.Constant) and isinstance(first.value, int):
                    known.add(first.value)
                elif isinstance(first, ast.Name) and first.id.isupper():
                    named.add(first.id)
        for node in nodes(PACKAGE / part):
            if isinstance(node, ast.Dict):
                said = {text(k): v for k, v in zip(node.keys, node.values, strict=True)}
                code = said.get("code")
                if text(said.get("type")) == "websocket.close" and isinstance(code, ast.Constant):
                    known.add(code.value)
    assert named
    for part in ("web", "live"):
        for node in nodes(PACKAGE / part):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in named:
                assert isinstance(node.value, ast.Constant)
                known.add(node.value.value)
    assert {close.code for close in CLOSES} == known | NEVER_SENT
    again = {close.code for close in CLOSES if close.again}
    assert {kind.close_code for kind in tree() if kind.retryable} <= again


# Its examples are of the shapes that the code has.


def test_examples_of_records_are_records() -> None:
    for told in TOLD:
        if told.type in DATA_OF:
            msgspec.convert(told.data, DATA_OF[told.type])
    for frame in FRAMES:
        body = msgspec.json.encode(frame.example)
        shape: Any = list[RecordIn] if isinstance(frame.example, list) else RecordIn
        if isinstance(frame.example, dict) and "records" in frame.example:
            shape = BatchIn
        msgspec.json.decode(body, type=shape)


def test_examples_have_the_fields_they_are_said_to_have() -> None:
    for told in TOLD:
        if told.fields and told.event != "evaluation":
            names = {f.name for f in told.fields} | {"event", "timestamp"}
            assert told.data.keys() <= names, told.name
            assert {f.name for f in told.fields if f.always} <= told.data.keys(), told.name
    for event in EVENTS:
        assert event.example.keys() <= {f.name for f in event.fields}, event.name
        assert {f.name for f in event.fields if f.always} <= event.example.keys(), event.name
    for asked in ASKED:
        assert asked.example.keys() - {"type"} == {f.name for f in asked.fields}
    schema = asyncapi.document()["components"]["schemas"]
    assert SESSION.keys() == schema["Session"]["properties"].keys()
    assert [f.name for f in ERROR_FIELDS] == list(schema["Error"]["properties"])
