"""WS /ws/{session_id}/ingest: where reporters' sockets come in.

A frame is a record, a list of records, or the body of ``POST …/records``. Its answer is
``{"acked", "frames", "last_seq"}``: how many records and frames of this connection are dealt with,
counted from its beginning, once they are committed; one answer covers as many as there are. A frame
that is refused is answered by itself (``{"error", …, "at": its number}``): nothing of it is stored,
the others go on. What no later frame could mend closes the socket, with the code that says why.
docs/wire.md has it all.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, WebSocket

from grandstand.assembly import Assembly
from grandstand.bus.base import Deleted, News
from grandstand.errors import Conflict, GrandstandError, TooMany
from grandstand.live.outbox import Outbox, QueueOutbox, WireOutbox
from grandstand.service.access import Grant, Scope
from grandstand.web.addresses import address_of
from grandstand.web.auth import Authority
from grandstand.web.keeper import Held
from grandstand.web.reporter import Reporter
from grandstand.web.transport import Wire, wire_of
from grandstand.web.websocket import add_socket, both, ender, refuse

DELETED = 4410
METER_SECONDS = 1.0


def register_ingest(app: FastAPI, house: Assembly, authority: Authority) -> None:
    """Put the reporters' socket into `app`."""
    reporters = Reporters(house, authority)

    async def report(websocket: WebSocket) -> None:
        session_id = str(websocket.path_params["session_id"])
        address = address_of(websocket.scope)
        await authority.accept(websocket)
        try:
            house.hub.enter(address)
        except GrandstandError as error:
            await refuse(websocket, error)
            return
        try:
            grant = await authority.authorize_socket(websocket, Scope.REPORT, session_id)
            await reporters.serve(websocket, session_id, grant)
        except GrandstandError as error:
            await refuse(websocket, error)
        finally:
            house.hub.leave(address)

    add_socket(app, "/ws/{session_id}/ingest", report)


class Reporters:
    """The open reporters' sockets, for what all of them have to hear."""

    def __init__(self, house: Assembly, authority: Authority) -> None:
        self._house = house
        self._keeper = authority.keeper
        self._limits = authority.limits
        self._open: set[Reporter] = set()
        house.bus.subscribe(self._hear)
        house.hub.at_close(self._goodbye)

    async def serve(self, websocket: WebSocket, session_id: str, grant: Grant) -> None:
        """Take what a reporter sends until its socket closes, and see it committed.

        Raises:
            NotFound: no such session.
            Conflict: a newer attempt has taken over.
        """
        session = await self._house.sessions.get(session_id)
        if grant.attempt is not None and grant.attempt != session.attempt:
            raise Conflict(
                f"attempt {grant.attempt} of session {session_id} was superseded",
                code="attempt_superseded",
                details={"attempt": session.attempt},
            )
        wire = wire_of(websocket.scope)
        if wire is not None:
            await self._read_wire(websocket, session_id, grant, wire)
        else:
            await self._read_queue(websocket, session_id, grant)

    async def _read_wire(
        self, websocket: WebSocket, session_id: str, grant: Grant, wire: Wire
    ) -> None:
        reporter = self._reporter(session_id, grant, WireOutbox(wire), wire.hold)
        async with self._among(reporter, address_of(websocket.scope)):
            wire.listen(reporter.take)
            while (await websocket.receive())["type"] != "websocket.disconnect":
                pass  # what was queued before the wire was listened to is with the reporter
            await reporter.left()

    async def _read_queue(self, websocket: WebSocket, session_id: str, grant: Grant) -> None:
        """The same under any ASGI server."""
        outbox = QueueOutbox(websocket.send_text, ender(websocket))
        free = asyncio.Event()
        free.set()

        def hold(held: bool) -> None:
            if held:
                free.clear()
            else:
                free.set()

        reporter = self._reporter(session_id, grant, outbox, hold)

        async def listen() -> None:
            while (message := await websocket.receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                reporter.take([text.encode() if text is not None else message["bytes"]])
                await free.wait()

        async with self._among(reporter, address_of(websocket.scope)):
            await both(outbox, listen())
            await reporter.left()

    def _reporter(
        self, session_id: str, grant: Grant, outbox: Outbox, hold: Callable[[bool], None]
    ) -> Reporter:
        return Reporter(
            self._house, session_id, grant, outbox, hold, lambda: 1 / max(1, len(self._open))
        )

    @contextlib.asynccontextmanager
    async def _among(self, reporter: Reporter, address: str) -> AsyncIterator[None]:
        self._open.add(reporter)
        held = Held(reporter.grant, Scope.REPORT, reporter.session_id, reporter.close)
        meter = (
            asyncio.create_task(self._meter(reporter, address)) if self._limits.enabled else None
        )
        try:
            with self._keeper.keep(held):
                yield
        finally:
            self._open.discard(reporter)
            if meter is not None:
                meter.cancel()
                await asyncio.wait((meter,))

    async def _meter(self, reporter: Reporter, address: str) -> None:
        """Count what a reporter sends, once a second."""
        counted = 0
        while True:
            await self._house.clock.sleep(METER_SECONDS)
            size, counted = reporter.taken_bytes - counted, reporter.taken_bytes
            if not size:
                continue
            try:
                await self._limits.ingest(reporter.grant, address, size)
            except TooMany as error:
                seconds = error.retry_after_seconds or METER_SECONDS
                reporter.close(error.close_code, f"{seconds:.0f} seconds: {error.message}")
                return

    def _hear(self, news: News) -> None:
        if isinstance(news, Deleted):
            for reporter in tuple(self._open):
                if reporter.session_id == news.session_id:
                    reporter.close(DELETED, "the session was deleted")

    async def _goodbye(self) -> None:
        await asyncio.gather(*(reporter.goodbye() for reporter in self._open))
