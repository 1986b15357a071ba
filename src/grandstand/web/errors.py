"""Failures as answers: one body everywhere, never a trace in it."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from grandstand import logs
from grandstand.clock import Clock
from grandstand.errors import GrandstandError, NotFound, ValidationFailed
from grandstand.model.telemetry import encode, finite_or_name, malformed
from grandstand.web.audit import ERROR

logger = logging.getLogger("grandstand.web")


def error_body(error: GrandstandError, clock: Clock) -> dict[str, Any]:
    """The body of an error: what a program reads and what a person reads."""
    return {
        "error": error.code,
        "message": error.message,
        "detail": error.detail,
        "details": finite_or_name(error.details),
        "timestamp": clock.now(),
    }


def error_response(error: GrandstandError, clock: Clock) -> Response:
    """The answer that says what went wrong."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(
        encode(error_body(error, clock)),
        status_code=error.http_status,
        media_type="application/json",
        headers=headers,
    )


def from_validation(error: RequestValidationError) -> GrandstandError:
    """FastAPI's complaint about a request, as one of ours, naming every field."""
    problems = []
    for item in error.errors():
        if item["type"] == "json_invalid":
            return malformed(item.get("ctx", {}).get("error", item["msg"]))
        place = [str(p) for p in item["loc"] if p not in ("body", "query", "path")]
        context = {k: v for k, v in (item.get("ctx") or {}).items() if k != "error"}
        problem = item["msg"].removeprefix("Value error, ")
        problems.append({"field": ".".join(place) or "body", "problem": problem, **context})
    first = problems[0]
    problem = str(first["problem"])
    return ValidationFailed(
        f"{first['field']}: {problem[:1].lower()}{problem[1:]}",
        detail="" if len(problems) == 1 else f"{len(problems)} fields are wrong; see details.",
        details={"errors": problems},
    )


def install(app: FastAPI, clock: Clock) -> None:
    """Teach `app` to answer failures."""

    @app.exception_handler(GrandstandError)
    async def ours(request: Request, error: GrandstandError) -> Response:
        request.scope[ERROR] = error.code
        return error_response(error, clock)

    @app.exception_handler(RequestValidationError)
    async def refused(request: Request, error: RequestValidationError) -> Response:
        known = from_validation(error)
        request.scope[ERROR] = known.code
        return error_response(known, clock)

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            path = request.url.path
            return error_response(
                NotFound(f"there is nothing at {path}", detail="See /docs for what there is."),
                clock,
            )
        if isinstance(error.__cause__, GrandstandError):  # from reading the body
            return error_response(error.__cause__, clock)
        if error.status_code == 400:
            return error_response(malformed(error.__cause__ or error), clock)
        known = GrandstandError(str(error.detail), code=f"http_{error.status_code}")
        if error.status_code == 405:
            known = GrandstandError(
                f"nothing at {request.url.path} takes {request.method}",
                code="method_not_allowed",
                detail="See /docs for what there is.",
            )
        response = error_response(known, clock)
        response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(Exception)
    async def other(request: Request, error: Exception) -> Response:
        return unexpected(request.method, request.url.path, error, clock)


def unexpected(method: str, path: str, error: Exception, clock: Clock) -> Response:
    """The answer to a failure nobody foresaw; the log says what it was."""
    request_id = logs.of_request() or secrets.token_hex(6)
    logger.error("request %s failed unexpectedly: %s %s", request_id, method, path, exc_info=error)
    known = GrandstandError(
        "something went wrong on the server",
        detail=f"Its log says more, under request {request_id}.",
        details={"request_id": request_id},
    )
    return error_response(known, clock)
