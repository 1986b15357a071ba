"""Frames of the agent at play: one is put here by whoever trains, and given to those who look."""

from __future__ import annotations

import hashlib
from email.utils import format_datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from grandstand.assembly import Assembly
from grandstand.errors import NotFound, TooLarge, UnsupportedMedia
from grandstand.model.frames import MAX_FRAME_BYTES, MEDIA_TYPES, Frame, media_type_of
from grandstand.service.access import Grant, Scope
from grandstand.web.answers import answer, gives
from grandstand.web.auth import Authority
from grandstand.web.reports import BASE

_IMAGE: Final = {"schema": {"type": "string", "format": "binary"}}
_BODY: Final = {"requestBody": {"required": True, "content": dict.fromkeys(MEDIA_TYPES, _IMAGE)}}
_TAKEN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["accepted"],
    "properties": {
        "accepted": {"type": "boolean", "description": "False: one too many within a second."}
    },
}
Number = Annotated[int | None, Query(ge=0, le=2**53)]


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["sessions"])
    watch = authority.require(Scope.WATCH)
    report = authority.require(Scope.REPORT)
    gallery = house.hub.gallery

    @router.put(
        BASE + "/{session_id}/frame",
        openapi_extra=_BODY,
        **gives(_TAKEN, 404, 409, 413, 415, 422, status=202),
    )
    async def put_frame(
        session_id: str,
        request: Request,
        grant: Grant = report,
        episode: Number = None,
        step: Number = None,
        told: Annotated[
            float | None,
            Query(alias="return", allow_inf_nan=False, description="The episode's return so far."),
        ] = None,
    ) -> Response:
        """Show a frame of the agent at play: JPEG or WebP, at most 256 KiB and ten a second."""
        image = await _image(request)
        media_type = _media_type(request, image)
        await house.telemetry.admit(session_id, grant)
        frame = Frame(image, media_type, episode, step, told, house.clock.now())
        return answer({"accepted": house.hub.show(session_id, frame)}, 202)

    @router.get(
        BASE + "/{session_id}/frame",
        response_class=Response,
        **gives(None, 404, 422, files=MEDIA_TYPES),
    )
    async def get_frame(
        session_id: str,
        request: Request,
        grant: Grant = watch,
        which: Literal["latest", "best"] = "latest",
    ) -> Response:
        """The newest frame, or the last one of the best finished episode; gone with a restart."""
        await house.sessions.get(session_id)
        frame = gallery.best(session_id) if which == "best" else gallery.newest(session_id)
        if frame is None:
            raise NotFound(
                f"session {session_id} has no such frame",
                code="frame_not_found",
                detail="They are kept in memory, of the sessions that showed one last.",
                details={"session_id": session_id, "which": which},
            )
        headers = _headers(frame)
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(frame.image, media_type=frame.media_type, headers=headers)

    return router


async def _image(request: Request) -> bytes:
    """The body, refused as soon as it is seen to be too large."""
    told = request.headers.get("content-length", "0")
    if int(told) > MAX_FRAME_BYTES:  # the guard has seen that it is a number
        raise _too_large()
    image = bytearray()
    async for part in request.stream():
        image += part
        if len(image) > MAX_FRAME_BYTES:
            raise _too_large()
    return bytes(image)


def _too_large() -> TooLarge:
    return TooLarge(
        f"a frame may have at most {MAX_FRAME_BYTES:,} bytes",
        code="frame_too_large",
        detail="Make it smaller, or compress it more.",
        details={"limit": MAX_FRAME_BYTES},
    )


def _media_type(request: Request, image: bytes) -> str:
    """What the image is, by its first bytes, which must be what its Content-Type says."""
    told = request.headers.get("content-type", "").split(";")[0].strip().lower()
    found = media_type_of(image)
    if found is None or told != found:
        raise UnsupportedMedia(
            f"a frame is {' or '.join(MEDIA_TYPES)}, this one says {told or 'nothing'} and is "
            f"{found or 'neither'}",
            detail="Send the image itself as the body, with its own Content-Type.",
            details={"content_type": told or None, "found": found},
        )
    return found


def _headers(frame: Frame) -> dict[str, str]:
    headers = {
        "ETag": f'"{hashlib.blake2b(frame.image, digest_size=12).hexdigest()}"',
        "Last-Modified": format_datetime(frame.at, usegmt=True),
        "Cache-Control": "no-cache",
    }
    told = {"X-Episode": frame.episode, "X-Step": frame.step, "X-Return": frame.value}
    return headers | {name: str(value) for name, value in told.items() if value is not None}
