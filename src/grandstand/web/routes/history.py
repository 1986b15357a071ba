"""What a session reported: history, series, export."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from grandstand.assembly import Assembly
from grandstand.model.media import image_address
from grandstand.model.telemetry import METRICS, as_utc
from grandstand.service.access import Grant, Scope
from grandstand.store.episodes import MAX_LIMIT, Sort, episodes
from grandstand.store.export import EVERYTHING, MEDIA, Format, export
from grandstand.store.history import Sieve, history
from grandstand.store.series import MAX_POINTS
from grandstand.web.answers import ANY, answer, gives, raw
from grandstand.web.auth import Authority
from grandstand.web.reports import BASE
from grandstand.web.routes.sessions import names_in


def sieve(
    type: Annotated[str | None, Query(description="Record types, with commas.")] = None,
    metrics: Annotated[str | None, Query(description="Metric names, with commas.")] = None,
    after: datetime | None = None,
    before: datetime | None = None,
    since_seq: Annotated[int | None, Query(ge=0)] = None,
    until_seq: Annotated[int | None, Query(ge=0)] = None,
    episode_from: Annotated[int | None, Query(ge=0)] = None,
    episode_to: Annotated[int | None, Query(ge=0)] = None,
) -> Sieve:
    """The records asked for. Every bound is included, but for `since_seq`: the last one has it."""
    return Sieve.asked(
        names_in(type),
        names_in(metrics),
        as_utc(after) if after else None,
        as_utc(before) if before else None,
        since_seq,
        until_seq,
        episode_from,
        episode_to,
    )


def routes(house: Assembly, authority: Authority) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["history"])
    watch = authority.require(Scope.WATCH)
    sessions = house.sessions

    @router.get(BASE + "/{session_id}/history", **gives(ANY, 404, 422))
    async def get_history(
        session_id: str,
        asked: Annotated[Sieve, Depends(sieve)],
        grant: Grant = watch,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        cursor: str | None = None,
    ) -> Response:
        """What was reported, in order, a page at a time."""
        pk = await sessions.key(session_id)
        found = await house.database.read(
            lambda connection: history(connection, pk, asked, limit=limit, cursor=cursor)
        )
        for image in found.get("images", ()):
            image["url"] = image_address(session_id, image["seq"], image["digest"])
        return answer({"session_id": session_id, **found})

    @router.get(BASE + "/{session_id}/episodes", **gives(ANY, 404, 422))
    async def get_episodes(
        session_id: str,
        grant: Grant = watch,
        sort: Annotated[Sort, Query(description="`-` in front: the largest first.")] = "-episode",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
        episode: Annotated[
            int | None, Query(ge=0, description="Begin at this one, instead of `offset`.")
        ] = None,
    ) -> Response:
        """Finished episodes, a page of them, each with where its decisions are."""
        pk = await sessions.key(session_id)
        found = await episodes(
            house.database,
            house.series,
            pk,
            sort=sort,
            offset=offset,
            limit=limit,
            episode=episode,
        )
        return answer({"session_id": session_id, **found})

    @router.get(BASE + "/{session_id}/series", **gives(ANY, 404, 422))
    async def get_series(
        session_id: str,
        grant: Grant = watch,
        metrics: Annotated[str | None, Query(description="Metric names, with commas.")] = None,
        x: Literal["episode", "step", "time", "seq"] = "episode",
        from_: Annotated[float | None, Query(alias="from")] = None,
        to: float | None = None,
        max_points: Annotated[int, Query(ge=1, le=MAX_POINTS)] = 1000,
        max_total: Annotated[
            int | None,
            Query(ge=1, description="Buckets that all metrics share; each has at least 100."),
        ] = None,
    ) -> Response:
        """Curves, as columns of at most `max_points` buckets each."""
        pk = await sessions.key(session_id)
        body = await house.series.query_json(
            pk,
            names_in(metrics),
            x,
            from_,
            to,
            max_points,
            max_total=max_total,
            session_id=session_id,
        )
        return raw(body)

    @router.get(
        BASE + "/{session_id}/export",
        response_class=StreamingResponse,
        **gives(None, 404, 422, 503, files=tuple(MEDIA.values())),
    )
    async def get_export(
        session_id: str,
        asked: Annotated[Sieve, Depends(sieve)],
        request: Request,
        grant: Grant = watch,
        format: Format = "csv",
    ) -> StreamingResponse:
        """Everything reported, as a file: CSV or Parquet (a table of metrics, or of decisions), or
        NDJSON (every record as it came)."""
        pk = await sessions.key(session_id)
        if "type" not in request.query_params:
            types = EVERYTHING if format == "ndjson" else frozenset({METRICS})
            asked = asked.of(types)
        stream = await export(house.database, house.series, pk, format, asked)
        name = f"{session_id}.{format}"
        return StreamingResponse(
            stream,
            media_type=MEDIA[format],
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    return router
