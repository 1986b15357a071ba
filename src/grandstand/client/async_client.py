"""The SDK for async code: the same objects, with `await` where there is something to wait for.

The sender stays a thread of its own, so `log()` and its sisters are the very same calls, and a
busy event loop does not delay what is reported. Calls that wait for an answer run in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from grandstand.client.client import Client, Served, Target
from grandstand.client.in_process import AsgiTransport
from grandstand.client.info import SessionInfo, SessionPage
from grandstand.client.rooms import Invitation, Opened, Place, RoomInfo, SeatInfo
from grandstand.client.session import FINISH_SECONDS, Session

if TYPE_CHECKING:
    from grandstand.client.history import Axis, History
    from grandstand.client.watch import Event


class AsyncSession:
    """A `Session` whose `flush` and `finish` are awaited; everything else is the same call.

    Used with ``async with`` it finishes by itself, as a `Session` does.
    """

    def __init__(self, session: Session) -> None:
        self.sync = session
        self.session_id = session.session_id
        self.training_session_id = session.training_session_id
        self.url = session.url
        self.log = session.log
        self.decision = session.decision
        self.graph = session.graph
        self.event = session.event
        self.columns = session.columns
        self.frame = session.frame
        self.text = session.text
        self.histogram = session.histogram
        self.image = session.image
        self.should_stop = session.should_stop
        self.on_wish = session.on_wish

    @property
    def wanted(self) -> str:
        """See `Session.wanted`."""
        return self.sync.wanted

    async def wait_if_paused(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """See `Session.wait_if_paused`."""
        if self.sync.wanted != "paused":
            return self.sync.wait_if_paused(0)
        return await asyncio.to_thread(self.sync.wait_if_paused, timeout)

    @property
    def spooled(self) -> int:
        """See `Session.spooled`."""
        return self.sync.spooled

    @property
    def sent(self) -> int:
        """See `Session.sent`."""
        return self.sync.sent

    @property
    def dropped(self) -> int:
        """See `Session.dropped`."""
        return self.sync.dropped

    async def flush(self, timeout: float | None = FINISH_SECONDS) -> bool:  # noqa: ASYNC109
        """See `Session.flush`."""
        return await asyncio.to_thread(self.sync.flush, timeout)

    async def finish(self, *args: Any, **kwargs: Any) -> bool:
        """See `Session.finish`, which takes the same."""
        return await asyncio.to_thread(self.sync.finish, *args, **kwargs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            await self.finish("stopped", "the task was cancelled")
        else:
            await asyncio.to_thread(self.sync.__exit__, kind, error, trace)


class AsyncPlace:
    """A `Place` to await."""

    def __init__(self, place: Place) -> None:
        self.sync = place
        self.room = place.room
        self.session_id = place.session_id

    @property
    def seat_id(self) -> str | None:
        """See `Place.seat_id`."""
        return self.sync.seat_id

    @property
    def token(self) -> str:
        """See `Place.token`."""
        return self.sync.token

    def watch(
        self,
        *,
        since: int | None = None,
        types: Iterable[str] | None = None,
        max_hz: float = 0.0,
        decisions: bool = True,
        follow: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """See `Place.watch`; for ``async for``."""
        from grandstand.client.watch import Feed, watching_async

        feed = Feed(
            self.session_id,
            since=since,
            types=types,
            max_hz=max_hz,
            decisions=decisions,
            follow=follow,
        )
        return watching_async(self.sync.post(), feed)

    async def session(self) -> SessionInfo:
        """See `Place.session`."""
        return await asyncio.to_thread(self.sync.session)

    async def history(
        self,
        names: str | Sequence[str] | None = None,
        x: Axis = "episode",
        max_points: int | None = None,
    ) -> History:
        """See `Place.history`."""
        return await asyncio.to_thread(self.sync.history, names, x, max_points)

    async def leave(self) -> None:
        """See `Place.leave`."""
        await asyncio.to_thread(self.sync.leave)


class AsyncClient:
    """A `Client` to await. Build it where its event loop runs.

    Args:
        target: as for `Client`; an ASGI app must be started already and live on the running loop.
        token: as for `Client`.
        mode: as for `Client`.
    """

    def __init__(
        self, target: Target = None, token: str | None = None, *, mode: str | None = None
    ) -> None:
        if target is None or isinstance(target, (str, Served)):
            self.sync = Client(target, token, mode=mode)
        else:
            self.sync = Client.over(AsgiTransport(target, asyncio.get_running_loop(), token))

    async def _do(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(method, *args, **kwargs)

    async def request(self, method: str, path: str, json: Any = None) -> Any:
        """See `Client.request`."""
        return await self._do(self.sync.request, method, path, json)

    async def open_session(
        self, training_session_id: str | None = None, *, algorithm: str, **options: Any
    ) -> AsyncSession:
        """See `Client.open_session`, which takes the same options."""
        session: Session = await self._do(
            self.sync.open_session, training_session_id, algorithm=algorithm, **options
        )
        return AsyncSession(session)

    async def attach(self, session_id: str, **options: Any) -> AsyncSession:
        """See `Client.attach`."""
        return AsyncSession(self.sync.attach(session_id, **options))

    async def sessions(self, **filters: Any) -> SessionPage:
        """See `Client.sessions`."""
        page: SessionPage = await self._do(self.sync.sessions, **filters)
        return page

    async def session(self, session_id: str) -> SessionInfo:
        """See `Client.session`."""
        info: SessionInfo = await self._do(self.sync.session, session_id)
        return info

    async def update_session(self, session_id: str, **changes: Any) -> SessionInfo:
        """See `Client.update_session`."""
        info: SessionInfo = await self._do(self.sync.update_session, session_id, **changes)
        return info

    async def delete_session(
        self, session_id: str, *, force: bool = False, files: bool = False
    ) -> None:
        """See `Client.delete_session`."""
        await self._do(self.sync.delete_session, session_id, force=force, files=files)

    def watch(
        self,
        session_id: str,
        *,
        since: int | None = None,
        types: Iterable[str] | None = None,
        max_hz: float = 0.0,
        decisions: bool = True,
        follow: bool = False,
    ) -> AsyncGenerator[Event, None]:
        """See `Client.watch`; for ``async for``."""
        from grandstand.client.watch import Feed, watching_async

        feed = Feed(
            session_id,
            since=since,
            types=types,
            max_hz=max_hz,
            decisions=decisions,
            follow=follow,
        )
        return watching_async(self.sync.socket_post(), feed)

    async def create_room(self, session_id: str, **options: Any) -> Opened:
        """See `Client.create_room`, which takes the same options."""
        opened: Opened = await self._do(self.sync.create_room, session_id, **options)
        return opened

    async def rooms(self) -> list[RoomInfo]:
        """See `Client.rooms`."""
        found: list[RoomInfo] = await self._do(self.sync.rooms)
        return found

    async def room(self, code: str) -> RoomInfo:
        """See `Client.room`."""
        found: RoomInfo = await self._do(self.sync.room, code)
        return found

    async def change_room(self, code: str, **changes: Any) -> tuple[RoomInfo, str | None]:
        """See `Client.change_room`."""
        changed: tuple[RoomInfo, str | None] = await self._do(
            self.sync.change_room, code, **changes
        )
        return changed

    async def close_room(self, code: str) -> None:
        """See `Client.close_room`."""
        await self._do(self.sync.close_room, code)

    async def join_room(
        self,
        code: str,
        user_name: str | None = None,
        *,
        password: str | None = None,
        invitation: str | None = None,
    ) -> AsyncPlace:
        """See `Client.join_room`."""
        place: Place = await self._do(
            self.sync.join_room, code, user_name, password=password, invitation=invitation
        )
        return AsyncPlace(place)

    async def seats(self, code: str) -> list[SeatInfo]:
        """See `Client.seats`."""
        found: list[SeatInfo] = await self._do(self.sync.seats, code)
        return found

    async def kick(self, code: str, who: str) -> None:
        """See `Client.kick`."""
        await self._do(self.sync.kick, code, who)

    async def invite(self, code: str, hours: float = 24.0) -> Invitation:
        """See `Client.invite`."""
        made: Invitation = await self._do(self.sync.invite, code, hours)
        return made

    async def history(
        self,
        session_id: str,
        names: str | Sequence[str] | None = None,
        x: Axis = "episode",
        max_points: int | None = None,
    ) -> History:
        """See `Client.history`."""
        found: History = await self._do(self.sync.history, session_id, names, x, max_points)
        return found

    async def start_training(self, scenario_name: str, **options: Any) -> dict[str, Any]:
        """See `Client.start_training`."""
        return dict(await self._do(self.sync.start_training, scenario_name, **options))

    async def stop_training(self, session_id: str | None = None) -> dict[str, Any]:
        """See `Client.stop_training`."""
        return dict(await self._do(self.sync.stop_training, session_id))

    async def status(self) -> dict[str, Any]:
        """See `Client.status`."""
        return dict(await self._do(self.sync.status))

    async def aclose(self) -> None:
        """See `Client.close`."""
        await asyncio.to_thread(self.sync.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def connect_async(
    target: Target = None, token: str | None = None, *, url: str | None = None
) -> AsyncClient:
    """An `AsyncClient` for `target`; `url` is another word for it."""
    return AsyncClient(url if target is None else target, token)


async def open_session_async(
    training_session_id: str | None = None,
    *,
    algorithm: str,
    url: str | None = None,
    token: str | None = None,
    mode: str | None = None,
    **options: Any,
) -> AsyncSession:
    """Begin to report a training from async code; see `Client.open_session` for the options."""
    async with AsyncClient(url, token, mode=mode) as client:
        return await client.open_session(training_session_id, algorithm=algorithm, **options)
