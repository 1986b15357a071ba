"""/health, /status, /docs and the page."""

from __future__ import annotations

import html
import json
import mimetypes
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, HTMLResponse

import grandstand
from grandstand.assembly import Assembly
from grandstand.errors import NotFound, Unavailable
from grandstand.service.access import Grant, Scope
from grandstand.web.answers import ANY, answer, gives
from grandstand.web.auth import Authority

DIST = Path(__file__).parent.parent / "dist"
DOCS_FILES = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
RESERVED = ("api/", "ws/", "socket.io")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self' ws: wss:; "
    "style-src 'self'; script-src 'self'; frame-ancestors 'self'; base-uri 'self'"
)
AUTH = 'name="grandstand-auth" content=""'
"""Where the built page leaves room for what it would ask first."""
NOT_BUILT = """<!doctype html><meta charset="utf-8"><title>Grandstand</title>
<h1>The page was not built</h1>
<p>Grandstand was installed with SKIP_WEB=1, so it serves its API without a page.
Reinstall it without that variable to get the page, or browse the <a href="docs">API</a>.</p>"""


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router; its last route answers every other path with the page."""
    router = APIRouter(tags=["server"])
    watch = authority.require(Scope.WATCH)
    process = psutil.Process()
    root = house.settings.root_path.rstrip("/")

    @router.get("/health", **gives(ANY))
    async def health() -> Response:
        """Whether the server is up, is not about to leave, and its store answers."""
        if house.hub.closing:
            raise Unavailable("the server is restarting")
        await house.database.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
        return answer(
            {
                "status": "healthy",
                "version": grandstand.__version__,
                "timestamp": house.clock.now(),
                "uptime_seconds": _uptime(house),
            }
        )

    @router.get("/status", **gives(ANY))
    async def status(grant: Grant = watch) -> Response:
        """What the server is doing."""
        running = await house.sessions.listing(limit=1, locked=not grant.closed)
        every = await house.sessions.listing(
            statuses=[], archived=None, limit=1, locked=not grant.closed
        )
        return answer(
            {
                "status": "running",
                "version": grandstand.__version__,
                "timestamp": house.clock.now(),
                "uptime_seconds": _uptime(house),
                "sessions": {"active": running.total, "total": every.total},
                "connections": house.hub.connections,
                "workers": house.supervisor.running,
                "memory_mb": round(process.memory_info().rss / 1e6, 1),
                "commits": house.database.commits,
                "setup": asdict(house.runtime.setup()),
            }
        )

    @router.get("/docs", include_in_schema=False)
    def docs() -> Response:
        page = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>Grandstand API</title><base href="{html.escape(root)}/">
<link rel="icon" href="docs/favicon-32x32.png"><link rel="stylesheet" href="docs/swagger-ui.css">
</head><body><div id="swagger-ui"></div><script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script></body></html>"""
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY})

    @router.get("/docs/start.js", include_in_schema=False)
    def docs_start() -> Response:
        script = (
            "SwaggerUIBundle({url: new URL('openapi.json', document.baseURI).href, "
            "dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null});"
        )
        return Response(script, media_type="text/javascript")

    @router.get("/docs/{name}", include_in_schema=False)
    def docs_file(name: str, request: Request) -> Response:
        if name not in DOCS_FILES or not (DIST / "docs" / name).is_file():
            raise NotFound(f"there is no docs/{name}", detail="The page was not built.")
        return _sent(DIST / "docs" / name, request, "no-cache")

    index = _index(root)

    @router.get("/{path:path}", include_in_schema=False)
    def page(path: str, request: Request) -> Response:
        if path.startswith(RESERVED):
            raise NotFound(f"there is nothing at /{path}", detail="See /docs for what there is.")
        file = _file(path)
        if file is not None:
            forever = path.startswith("assets/")
            cache = "public, max-age=31536000, immutable" if forever else "no-cache"
            return _sent(file, request, cache)
        if path.startswith("assets/"):
            raise NotFound(f"there is nothing at /{path}")
        told = json.dumps(house.access.told())
        text = index.replace(AUTH, f'{AUTH[:-1]}{html.escape(told)}"')
        return HTMLResponse(
            text, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}
        )

    return router


def _uptime(house: Assembly) -> float:
    return round((house.clock.now() - house.opened_at).total_seconds(), 1)


def _index(root: str) -> str:
    path = DIST / "index.html"
    if not path.is_file():
        return NOT_BUILT
    text = path.read_text(encoding="utf-8")
    return text.replace('<base href="/" />', f'<base href="{html.escape(root)}/" />')


def _sent(file: Path, request: Request, cache: str) -> Response:
    """A file of the page: its packed copy where there is one and the browser takes it."""
    headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"}
    packed = file.with_name(file.name + ".gz")
    taken = {
        part.partition(";")[0].strip()
        for part in request.headers.get("accept-encoding", "").split(",")
        if not part.replace(" ", "").endswith(";q=0")
    }
    if "gzip" not in taken or not packed.is_file():
        return FileResponse(file, headers=headers)
    kind = mimetypes.guess_type(file.name)[0]
    return FileResponse(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=kind)


def _file(path: str) -> Path | None:
    """A built file of the page; nothing outside its folder, nothing for the page itself."""
    if not path or path == "index.html":
        return None
    file = (DIST / path).resolve()
    inside: Any = file.is_relative_to(DIST.resolve())
    return file if inside and file.is_file() else None
