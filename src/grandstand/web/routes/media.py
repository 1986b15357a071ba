"""Images that sessions reported, as the files they were."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from grandstand.assembly import Assembly
from grandstand.errors import NotFound
from grandstand.model.media import IMAGE_TYPES, type_of_image
from grandstand.service.access import Grant, Scope
from grandstand.store import media
from grandstand.web.answers import gives
from grandstand.web.auth import Authority
from grandstand.web.reports import BASE


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["history"])
    watch = authority.require(Scope.WATCH)

    @router.get(
        BASE + "/{session_id}/media/{seq}",
        response_class=Response,
        **gives(None, 404, 422, files=IMAGE_TYPES),
    )
    async def get_image(
        session_id: str,
        seq: Annotated[int, Path(ge=1, le=2**53)],
        grant: Grant = watch,
        v: str = "",
    ) -> Response:
        """An image that was reported: its bytes as they came. `v`, its digest, tells it from one
        that a deleted session of the same id had there."""
        pk = await house.sessions.key(session_id)
        found = await house.database.read(lambda connection: media.find(connection, pk, seq))
        # Looked at once more: nothing but an image may ever be shown from this address.
        if found is None or type_of_image(found.image) != found.media_type:
            raise NotFound(
                f"record {seq} of session {session_id} is no image",
                code="image_not_found",
                detail="List them with GET …/history?type=image.",
                details={"session_id": session_id, "seq": seq},
            )
        headers = {
            "Cache-Control": "private, max-age=31536000, immutable" if v else "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return Response(found.image, media_type=found.media_type, headers=headers)

    return router
