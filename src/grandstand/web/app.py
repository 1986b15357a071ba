"""The application: every door, in one place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import grandstand
from grandstand.assembly import Assembly
from grandstand.model.wire import OURS, VERSION_HEADER, WIRE_HEADER
from grandstand.web import errors, frames, prometheus, reports
from grandstand.web.answers import components
from grandstand.web.audit import AuditTrail
from grandstand.web.auth import Authority, Guard
from grandstand.web.ingest import register_ingest
from grandstand.web.outbound import Webhooks, endpoints_of
from grandstand.web.requests import Requests, Traffic
from grandstand.web.routes import (
    arrivals,
    auth,
    history,
    media,
    models,
    rooms,
    scenarios,
    server,
    sessions,
    supervisors,
    training,
)
from grandstand.web.socketio import (
    PING_INTERVAL_SECONDS,
    PING_TIMEOUT_SECONDS,
    mount_socketio,
)
from grandstand.web.websocket import register_websocket


def _webhooks(house: Assembly) -> Webhooks | None:
    """Who tells other programs what becomes of sessions, where there is one to tell."""
    told = house.settings.integration
    endpoints = endpoints_of(told.webhook_endpoints, told.game_server_url)
    if not endpoints:
        return None
    secret = told.webhook_secret.get_secret_value() if told.webhook_secret else None
    return Webhooks(house.database, house.bus, house.clock, endpoints, secret)


def make_app(
    house: Assembly,
    *,
    supervise_at: str | None = None,
    pings: tuple[float, float] = (PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS),
) -> ASGIApp:
    """The ASGI application around an assembly.

    Args:
        supervise_at: take jobs as soon as the application is up, with workers reporting to this
            URL; None leaves that to whoever serves it.
        pings: seconds between pings to a Socket.IO client, and until a silent one is let go.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await house.open()
        try:
            if (webhooks := _webhooks(house)) is not None:
                await webhooks.open()
                house.spawn(webhooks.serve())
            house.spawn(authority.keeper.rounds())
            if supervise_at is not None:
                house.spawn(house.supervise(supervise_at))
            yield
        finally:
            await house.aclose()
            await authority.limits.aclose()

    app = FastAPI(
        title="Grandstand",
        version=grandstand.__version__,
        summary="Train agents, record what they report, watch and steer them live.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        debug=False,
    )
    traffic = Traffic()
    authority = Authority(house.access, house.settings, house.clock)
    trail = AuditTrail(app, house.database, house.clock)
    errors.install(app, house.clock)
    register_websocket(app, house, authority)
    register_ingest(app, house, authority)
    taker = reports.Reports(house)
    app.include_router(reports.routes(taker, authority))
    app.include_router(frames.routes(house, authority))
    app.include_router(auth.routes(house, authority, trail))
    app.include_router(prometheus.routes(house, authority, traffic))
    for part in (
        sessions,
        arrivals,
        rooms,
        history,
        media,
        training,
        supervisors,
        models,
        scenarios,
        server,
    ):
        app.include_router(part.routes(house, authority))
    _document(app)
    root_path = house.settings.root_path.rstrip("/")
    guard = Guard(
        mount_socketio(trail, house, authority, ping_interval=pings[0], ping_timeout=pings[1]),
        authority.doors,
        house.clock,
        house.settings.performance.max_body_bytes,
        house.settings.training.max_archive_bytes,
    )
    origins = house.settings.security.cors_origins
    whole = CORSMiddleware(
        _below(root_path, Requests(guard, traffic)),
        allow_origins=origins,
        allow_credentials="*" not in origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
        max_age=600,
    )
    return reports.ShortWay(_introduced(whole), taker, authority, guard, root_path, traffic)


def _introduced(app: ASGIApp) -> ASGIApp:
    """`app`, whose answers tell this server's version and wire. Reports on the short way are
    answered without: who reports has opened a session before."""
    told = [
        (VERSION_HEADER.lower().encode(), grandstand.__version__.encode()),
        (WIRE_HEADER.lower().encode(), str(OURS).encode()),
    ]

    async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        await app(scope, receive, tell if scope["type"] == "http" else send)

    return introduced


def _below(root_path: str, app: ASGIApp) -> ASGIApp:
    """`app` told that a proxy serves it below a path, whether the proxy takes that off or not."""
    if not root_path:
        return app

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": root_path}, receive, send)

    return told


DOOR_ANSWERS = {
    "400": "The request makes no sense now, or knocks at the wrong door.",
    "401": "No token that holds.",
    "403": "Not allowed.",
    "410": "The room that the token is from is closed.",
    "429": "Too many; come back later.",
    "503": "Not now.",
}


def _with_doors(operation: dict[str, Any]) -> None:
    """Put what the doors answer beside what a route documents of itself."""
    asks = "security" in operation
    for status, words in DOOR_ANSWERS.items():
        if asks or status in ("400", "503"):
            operation["responses"].setdefault(
                status,
                {
                    "description": words,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                },
            )


def _document(app: FastAPI) -> None:
    """Put the shapes that msgspec decodes beside pydantic's in the OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, summary=app.summary, routes=app.routes
            )
            known = schema.setdefault("components", {}).setdefault("schemas", {})
            known.update(components())
            # Our validation errors have the one error body.
            for name in ("HTTPValidationError", "ValidationError"):
                known.pop(name, None)
            for path in schema["paths"].values():
                for operation in path.values():
                    _with_doors(operation)
                    refused = operation.get("responses", {}).get("422", {})
                    if refused:
                        refused["content"] = {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                        }
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
