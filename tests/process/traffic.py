"""Who reports and who watches, whatever happens to the servers meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from .conftest import SESSIONS, Server, eventually

RUN = "run"
MORE = 20
"""Batches acknowledged after each blow before the next."""
AWAY = (httpx.HTTPError, WebSocketException, OSError, TimeoutError)


class Loop:
    """Something that goes on in a thread of its own, whatever happens to the servers."""

    def __init__(self, step: Callable[[threading.Event], None]) -> None:
        self._over = threading.Event()
        self.failure: BaseException | None = None

        def run() -> None:
            try:
                while not self._over.is_set():
                    with contextlib.suppress(*AWAY):
                        step(self._over)
                    self._over.wait(0.02)
            except BaseException as error:
                self.failure = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure


class Reporter:
    """Reports batches of two, each again until it is acknowledged."""

    def __init__(self, server: Server, name: str, *, socket: bool) -> None:
        self.acked: list[str] = []
        self._server = server
        self._name = name
        self._count = itertools.count()
        self._next = self._batch()
        self.loop = Loop(self._stream if socket else self._post)

    def _batch(self) -> dict[str, Any]:
        name = f"{self._name}-{next(self._count)}"
        data = [{"event": "told", "by": name, "half": half} for half in (0, 1)]
        records = [{"type": "training_status", "data": one} for one in data]
        return {"records": records, "batch_id": name}

    def _taken(self) -> None:
        self.acked.append(self._next["batch_id"])
        self._next = self._batch()

    def _post(self, over: threading.Event) -> None:
        with httpx.Client(base_url=self._server.url, timeout=10) as client:
            while not over.wait(0.005):
                answer = client.post(f"{SESSIONS}/{RUN}/records", json=self._next)
                if answer.status_code == 503:
                    return
                assert answer.status_code == 200, answer.text
                self._taken()

    def _stream(self, over: threading.Event) -> None:
        address = f"{self._server.url.replace('http', 'ws', 1)}/ws/{RUN}/ingest"
        with connect(address, compression=None, open_timeout=10, close_timeout=1) as socket:
            while not over.wait(0.005):
                socket.send(json.dumps(self._next))
                while "acked" not in (answer := json.loads(socket.recv(10))):
                    if "error" in answer:
                        assert answer["error"] == "database_unavailable", answer
                        return
                self._taken()


class Watcher:
    """Sees everything, coming back with `since` where it is thrown out.

    Attributes:
        codes: how its connections were closed.
    """

    def __init__(self, server: Server) -> None:
        self.seqs: list[int] = []
        self.codes: list[int] = []
        self._server = server
        self.loop = Loop(self._watch)

    def _watch(self, over: threading.Event) -> None:
        since = self.seqs[-1] if self.seqs else 0
        address = f"{self._server.url.replace('http', 'ws', 1)}/ws/{RUN}?max_hz=0&since={since}"
        with connect(address, compression=None, open_timeout=10, close_timeout=1) as socket:
            try:
                while not over.is_set():
                    with contextlib.suppress(TimeoutError):
                        message = json.loads(socket.recv(0.5))
                        if message["seq"] is not None:
                            self.seqs.append(message["seq"])
            except ConnectionClosed as closed:
                self.codes.append(closed.rcvd.code if closed.rcvd is not None else 1006)
                raise


def everybody_goes_on(reporters: Sequence[Reporter], watchers: Sequence[Watcher] = ()) -> None:
    """Wait until each of the reporters had more acknowledged; whoever failed fails the test."""
    before = [len(reporter.acked) for reporter in reporters]

    def on() -> bool:
        for one in (*reporters, *watchers):
            if one.loop.failure is not None:
                raise one.loop.failure
        return all(len(r.acked) >= n + MORE for r, n in zip(reporters, before, strict=True))

    eventually(on, f"{MORE} more batches of each")


def assert_nothing_lost(
    server: Server, reporters: Sequence[Reporter], watchers: Sequence[Watcher]
) -> tuple[int, int]:
    """End all of them: what was acknowledged is stored once, and each watcher saw everything once.

    Returns:
        how many records were acknowledged, and the last seq.
    """
    for reporter in reporters:
        reporter.loop.end()
    last = int(server.session(RUN)["last_seq"])
    for watcher in watchers:
        eventually(lambda w=watcher: w.seqs and w.seqs[-1] >= last, f"seq {last}")  # type: ignore[misc]
    for watcher in watchers:
        watcher.loop.end()
        assert watcher.seqs == list(range(1, last + 1))
    stored = [
        (event["by"], event["half"])
        for event in server.history(RUN, "training_status")
        if event.get("event") == "told"
    ]
    assert len(stored) == len(set(stored))
    acked = {(name, half) for r in reporters for name in r.acked for half in (0, 1)}
    assert acked <= set(stored)
    return len(acked), last
