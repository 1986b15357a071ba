"""Reporting over HTTP: the routes that take records, and the short way to them.

Trainers report thousands of times a second, and between uvicorn and an endpoint of FastAPI lie a
dozen layers that cost several times what storing a record does. So a report of a program (one
without Origin) is recognised by its path before them and answered by the same code. The routes
are there all the same: for browsers, for other prefixes, and for the API's description.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, cast

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from grandstand.assembly import Assembly
from grandstand.errors import GrandstandError
from grandstand.model.session import Wanted
from grandstand.model.telemetry import (
    DECISION,
    GRAPH,
    METRICS,
    encode,
    parse_batch,
    parse_record,
)
from grandstand.service.access import Grant, Scope
from grandstand.service.telemetry import Receipt
from grandstand.web.addresses import address_of
from grandstand.web.answers import RECEIPT, gives, raw, shape, takes
from grandstand.web.auth import Authority, Guard
from grandstand.web.errors import error_response, unexpected
from grandstand.web.requests import Traffic

BASE: Final = "/api/training/sessions"
TYPE_OF: Final = {"metrics": METRICS, "bot_decision": DECISION, "graph_update": GRAPH}
ROUTES: Final = {what: f"{BASE}/{{session_id}}/{what}" for what in (*TYPE_OF, "records")}
_PATH: Final = re.compile(BASE + r"/([^/]+)/(metrics|bot_decision|graph_update|records)")

Take = Callable[[str, bytes, Grant], Awaitable[bytes]]


def asides(receipt: Receipt) -> dict[str, Any]:
    """What an answer tells besides, where there is something to tell: what was odd about the
    records, and what people want of the session if that is not that it runs."""
    told: dict[str, Any] = {}
    if receipt.warnings:
        told["warnings"] = receipt.warnings
    if receipt.wanted is not Wanted.RUNNING:
        told["wanted"] = receipt.wanted
    return told


class Reports:
    """Takes bodies, gives the bodies of answers; raises what refuses them."""

    def __init__(self, house: Assembly) -> None:
        self._house = house

    async def one(self, type: str, session_id: str, body: bytes, grant: Grant) -> bytes:
        """Store a single record of a type.

        Raises:
            GrandstandError: see `parse_record` and `Telemetry.record`.
        """
        batch = parse_record(type, body)
        receipt = await self._house.telemetry.record(session_id, batch, grant)
        if not receipt.warnings and receipt.wanted is Wanted.RUNNING:
            return b'{"message":"recorded","seq":%d}' % receipt.last_seq
        told: dict[str, Any] = {"message": "recorded", "seq": receipt.last_seq}
        return encode(told | asides(receipt))

    async def many(self, session_id: str, body: bytes, grant: Grant) -> bytes:
        """Store a batch.

        Raises:
            GrandstandError: see `parse_batch` and `Telemetry.record`.
        """
        batch = parse_batch(body)
        receipt = await self._house.telemetry.record(session_id, batch, grant)
        told: dict[str, Any] = {
            "accepted": receipt.accepted,
            "last_seq": receipt.last_seq,
            "duplicate": receipt.duplicate,
        }
        return encode(told | asides(receipt))

    async def take(self, what: str, session_id: str, body: bytes, grant: Grant) -> bytes:
        """Store the body of a request to ``…/{session_id}/{what}``."""
        if what == "records":
            return await self.many(session_id, body, grant)
        return await self.one(TYPE_OF[what], session_id, body, grant)


def routes(reports: Reports, authority: Authority) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["sessions"])
    report = authority.require(Scope.REPORT)
    errors = (400, 404, 409, 413, 415, 422, 503)

    @router.post(
        BASE + "/{session_id}/metrics",
        openapi_extra=takes("TrainingMetrics"),
        **gives(RECEIPT, *errors),
    )
    async def post_metrics(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Record metrics; answered once they are stored for good."""
        return raw(await reports.one(METRICS, session_id, await request.body(), grant))

    @router.post(
        BASE + "/{session_id}/bot_decision",
        openapi_extra=takes("BotDecision"),
        **gives(RECEIPT, *errors),
    )
    async def post_decision(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Record a decision."""
        return raw(await reports.one(DECISION, session_id, await request.body(), grant))

    @router.post(
        BASE + "/{session_id}/graph_update",
        openapi_extra=takes("PerformanceGraph"),
        **gives(RECEIPT, *errors),
    )
    async def post_graph(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Append points to a graph."""
        return raw(await reports.one(GRAPH, session_id, await request.body(), grant))

    @router.post(
        BASE + "/{session_id}/records",
        openapi_extra=takes("BatchIn"),
        **gives(shape("BatchReceipt"), *errors),
    )
    async def post_records(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Record a batch; a `batch_id` makes sending it again harmless."""
        return raw(await reports.many(session_id, await request.body(), grant))

    return router


class ShortWay:
    """The ASGI layer that answers reports of programs; everything else goes on to `app`.

    Args:
        app: what answers the rest, and reports that come with an Origin.
        root_path: the path a proxy serves this server below.
        traffic: where answers are counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        reports: Reports,
        authority: Authority,
        guard: Guard,
        root_path: str,
        traffic: Traffic,
    ) -> None:
        self._app = app
        self._take = reports.take
        self._authority = authority
        self._guard = guard
        self._root = root_path
        self._traffic = traffic

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            found = _PATH.fullmatch(scope["path"].removeprefix(self._root))
            if found is not None:
                headers = dict(scope["headers"])
                if b"origin" not in headers:
                    await self._answer(scope, receive, send, headers, *found.groups())
                    return
        await self._app(scope, receive, send)

    async def _answer(
        self,
        scope: AsgiScope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, bytes],
        session_id: str,
        what: str,
    ) -> None:
        clock = self._guard.clock
        begun, route = perf_counter(), ROUTES[what]
        try:
            receive = self._guard.admit_report(scope, headers, receive)
            grant = await self._authority.of_header(headers.get(b"authorization"))
            grant.check(Scope.REPORT, session_id)
            body = await _body(receive)
            if body is None:
                return  # it has gone, and took half of its report with it
            if self._authority.limits.enabled:
                address = address_of(scope)
                await self._authority.limits.request(grant, address)
                await self._authority.limits.ingest(grant, address, len(body))
            told = await self._take(what, session_id, body, grant)
        except GrandstandError as error:
            self._traffic.note("POST", route, error.http_status, perf_counter() - begun)
            await error_response(error, clock)(scope, receive, send)
            return
        except Exception as error:
            self._traffic.note("POST", route, 500, perf_counter() - begun)
            answer = unexpected(scope["method"], scope["path"], error, clock)
            await answer(scope, receive, send)
            return
        self._traffic.note("POST", route, 200, perf_counter() - begun)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(told)),
                ],
            }
        )
        await send({"type": "http.response.body", "body": told})


async def _body(receive: Receive) -> bytes | None:
    """All of a request's body; None when the client has gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        return None
    first = cast(bytes, message.get("body", b""))
    if not message.get("more_body", False):
        return first
    parts = [first]
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
    return b"".join(parts)
