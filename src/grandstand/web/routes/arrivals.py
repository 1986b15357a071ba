"""What workers on other machines exchange with the server: checkpoints and models as archives."""

from __future__ import annotations

import asyncio
import tempfile
from typing import IO, Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from grandstand.assembly import Assembly
from grandstand.errors import NotFound
from grandstand.model.archives import IN_MEMORY
from grandstand.service.access import Grant, Scope
from grandstand.service.arrivals import Arrived, newest_checkpoint, take_checkpoint, take_model
from grandstand.web.answers import answer, gives, zipped
from grandstand.web.auth import Authority
from grandstand.web.reports import BASE

_ZIP: Final = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
_BODY: Final = {"requestBody": {"required": True, "content": _ZIP}}
_TAKEN: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "files", "size_bytes"],
    "properties": {
        "name": {"type": "string"},
        "files": {"type": "array", "items": {"type": "string"}},
        "size_bytes": {"type": "integer"},
    },
}


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["workers"])
    report = authority.require(Scope.REPORT)
    config = house.settings.training

    @router.put(
        BASE + "/{session_id}/checkpoints/{episode}",
        openapi_extra=_BODY,
        **gives(_TAKEN, 403, 404, 409, 413, 415, 422, 503),
    )
    async def put_checkpoint(
        session_id: str,
        episode: Annotated[int, Path(ge=0, le=2**53)],
        request: Request,
        grant: Grant = report,
    ) -> Response:
        """Keep a checkpoint of the worker that has this session: a zip archive of its files."""
        await house.training.at_work(session_id, grant)
        folder = house.sessions.folder(session_id)
        with await _body(request) as file:
            await house.training.at_work(session_id, grant)  # it may have taken a while
            arrived = await asyncio.to_thread(
                take_checkpoint,
                folder,
                episode,
                file,
                keep=config.keep_checkpoints,
                most_bytes=config.max_archive_bytes,
            )
        return _told(arrived)

    @router.put(
        BASE + "/{session_id}/model",
        openapi_extra=_BODY,
        **gives(_TAKEN, 403, 404, 409, 413, 415, 422, 503),
    )
    async def put_model(session_id: str, request: Request, grant: Grant = report) -> Response:
        """Keep the model that the worker of this session ended with: a zip archive of its files."""
        session = await house.training.at_work(session_id, grant)
        with await _body(request) as file:
            arrived = await asyncio.to_thread(
                take_model,
                house.sessions.folder(session_id),
                str(session.scenario_name),
                file,
                most_bytes=config.max_archive_bytes,
            )
        return _told(arrived)

    @router.get(
        BASE + "/{session_id}/order/checkpoint",
        response_class=StreamingResponse,
        **gives(None, 403, 404, 409, 422, files=("application/zip",)),
    )
    async def get_order_checkpoint(
        session_id: str,
        of: Annotated[
            Literal["own", "source"],
            Query(description="The session's own newest whole one, or the one it starts from."),
        ] = "own",
        grant: Grant = report,
    ) -> StreamingResponse:
        """The checkpoint that the worker of this session is to go on from, as a zip archive."""
        await house.training.at_work(session_id, grant)
        if of == "own":
            folder, episode = house.sessions.folder(session_id), None
        else:
            order = await house.training.order(session_id, grant)
            source = order.get("resume_from")
            if not source:
                raise NotFound("this training starts from nothing", code="nothing_to_start_from")
            folder = house.sessions.folder(source["session_id"])
            episode = source.get("checkpoint")
        found = await asyncio.to_thread(newest_checkpoint, folder, episode)
        if found is None:
            raise NotFound("there is no whole checkpoint", code="checkpoint_not_found")
        name, file = found
        return zipped(file, f"{name}.zip")

    return router


async def _body(request: Request) -> IO[bytes]:
    """The body, in memory as long as it is small; read from its start."""
    file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes
    try:
        async for part in request.stream():
            if file.tell() + len(part) > IN_MEMORY:
                await asyncio.to_thread(file.write, part)
            else:
                file.write(part)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _told(arrived: Arrived) -> Response:
    return answer({"name": arrived.name, "files": arrived.files, "size_bytes": arrived.size_bytes})
