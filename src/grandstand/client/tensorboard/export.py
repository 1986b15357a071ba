"""A session written as an event file, for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from grandstand.client.tensorboard.writer import EventWriter
from grandstand.client.transport import Transport, call
from grandstand.model.media import HISTOGRAM, IMAGE, TEXT
from grandstand.model.telemetry import METRICS, SCALAR_FIELDS, number

PAGE: Final = 2000
"""Records read at a time."""
LISTS: Final = {
    METRICS: "metrics_data",
    TEXT: "texts",
    HISTOGRAM: "histograms",
    IMAGE: "images",
}
"""What is written, and where a page of history has it."""
HYPERPARAMETERS: Final = "hyperparameters/text_summary"


class Written(NamedTuple):
    """An event file that was written, and how much is in it.

    Attributes:
        missing: images whose bytes the server has no more.
    """

    path: Path
    scalars: int
    texts: int
    histograms: int
    images: int
    missing: int


def export(transport: Transport, session_id: str, folder: Path) -> Written:
    """Write what a session has reported into a folder of its own below `folder`.

    A record stands at the step it told, or else at its episode. It is read page by page, and the
    file gets its name when it is whole; writing it again replaces it.

    Raises:
        NotFound, Unavailable and the like: what the server says.
        OSError: the disk does not take it.
    """
    path = f"/api/training/sessions/{quote(session_id, safe='')}"
    session = call(transport, "GET", path, repeatable=True)
    begun = _seconds(session["created_at"])
    home = folder / session["session_id"]
    home.mkdir(parents=True, exist_ok=True)
    whole = home / f"events.out.tfevents.{int(begun)}.grandstand"
    unfinished = home / f".unfinished-{os.getpid()}"
    try:
        with unfinished.open("wb") as file:
            writing = _Writing(EventWriter(file, begun), transport, path)
            writing.config(session["config"], begun)
            for kind, item in _records(transport, path, session["last_seq"]):
                writing.take(kind, item)
        unfinished.replace(whole)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise
    return Written(whole, *(writing.count[what] for what in (*LISTS, "missing")))


class _Writing:
    """One file in the making."""

    def __init__(self, writer: EventWriter, transport: Transport, path: str) -> None:
        self.count = dict.fromkeys((*LISTS, "missing"), 0)
        self._writer = writer
        self._transport = transport
        self._path = path

    def config(self, config: dict[str, Any], at: float) -> None:
        """The hyperparameters, as the table that scripts write them as."""
        rows = [f"|{name}|{value}|" for name, value in config.items()]
        if rows:
            table = "\n".join(["|param|value|", "|-|-|", *rows])
            self._writer.text(HYPERPARAMETERS, table, 0, at)

    def take(self, type: str, item: dict[str, Any]) -> None:
        """One record of a page of history."""
        step = item.get("step")
        step = int(item.get("episode") or 0) if step is None else int(step)
        at = _seconds(item["timestamp"])
        tag = item.get("name", "")
        if type == METRICS:
            values = list(_scalars(item))
            self.count[type] += len(values)
            if values:
                self._writer.scalars(values, step, at)
            return
        if type == TEXT:
            self._writer.text(tag, item["text"], step, at)
        elif type == HISTOGRAM:
            self._writer.histogram(tag, item["counts"], item["edges"], step, at)
        else:
            reply = self._transport.request(
                "GET", f"{self._path}/media/{item['seq']}", repeatable=True
            )
            if reply.status in (404, 410):
                self.count["missing"] += 1
                return
            if reply.status >= 400:
                raise reply.error()
            self._writer.image(tag, reply.body, item["width"], item["height"], step, at)
        self.count[type] += 1


def _records(
    transport: Transport, path: str, last_seq: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the session has reported up to now, in order."""
    asked = {"type": ",".join(LISTS), "limit": PAGE, "until_seq": last_seq}
    cursor: str | None = None
    while True:
        query = urlencode({**asked, "cursor": cursor} if cursor else asked)
        page = call(transport, "GET", f"{path}/history?{query}", repeatable=True)
        found = [(kind, item) for kind, name in LISTS.items() for item in page[name]]
        yield from sorted(found, key=lambda pair: pair[1]["seq"])
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _scalars(item: dict[str, Any]) -> Iterator[tuple[str, float]]:
    extra = item.get("extra") or {}
    for name in SCALAR_FIELDS:
        value = number(item.get(name))
        if value is not None:
            yield name, value
    for name, told in extra.items():
        if (value := number(told)) is not None:
            yield name, value


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
