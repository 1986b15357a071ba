"""The way to a server: open sessions, look at them, start and steer trainings."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, runtime_checkable
from urllib.parse import quote, urlencode
from weakref import WeakValueDictionary

import msgspec

from grandstand.client.address import Address, Mode
from grandstand.client.buffer import DEFAULT_LIMIT
from grandstand.client.encoding import listed
from grandstand.client.handshake import NOT_OURS, not_ours
from grandstand.client.in_process import HERE, AppThread, ASGIApp, AsgiTransport
from grandstand.client.info import SessionInfo, SessionPage
from grandstand.client.leaving import watch_over
from grandstand.client.rooms import RoomVerbs
from grandstand.client.session import Session
from grandstand.client.spool import Spool, spool_folder
from grandstand.client.transport import HttpTransport, Transport, call
from grandstand.errors import GrandstandError, Unavailable, ValidationFailed
from grandstand.model.session import new_id, session_id_of

if TYPE_CHECKING:
    from grandstand.client.history import Axis, History
    from grandstand.client.tensorboard.export import Written
    from grandstand.client.watch import Event, Post

log = logging.getLogger("grandstand.client")


@runtime_checkable
class Served(Protocol):
    """A server object in this process, such as `grandstand.TrainingMetricsServer`."""

    def transport(self, token: str | None = None) -> Transport:
        """A way into its ASGI app."""


Target: TypeAlias = str | Served | ASGIApp | None

_opened: WeakValueDictionary[tuple[int, str, str], Session] = WeakValueDictionary()
"""Sessions this process opened, by process, server and id: a cell that is run again goes on."""


class Client(RoomVerbs):
    """A server, seen from a script. Methods wait for its answer; any thread may call them.

    Args:
        target: the server's URL; or a server object or a started ASGI app in this process. By
            default ``GRANDSTAND_URL``, else http://127.0.0.1:8000.
        token: what it asks for when its auth is on; by default ``GRANDSTAND_TOKEN``.
        mode: "online"; "offline" to keep on disk what is reported, for `grandstand sync`; or
            "disabled" to report nothing. By default ``GRANDSTAND_MODE``.

    Raises:
        ValidationFailed: an address or mode that makes no sense.
    """

    def __init__(
        self, target: Target = None, token: str | None = None, *, mode: str | None = None
    ) -> None:
        address = Address.find(target if isinstance(target, str) else None, token, mode)
        self.mode = address.mode
        self.url: str | None = None
        self._hosts = {}
        self._thread: AppThread | None = None
        self._transport: Transport
        if target is None or isinstance(target, str):
            self.url = address.url
            self._transport = HttpTransport(address.url, address.token)
            self._post: tuple[str, str | None] | None = (address.url, address.token)
        elif isinstance(target, Served):
            self._transport = target.transport(token)
            place = getattr(target, "url", None)
            self._post = (place, token) if isinstance(place, str) else None
        else:
            self._post = None
            self._thread = AppThread(target)
            self._transport = AsgiTransport(target, self._thread.loop, token)

    @classmethod
    def over(cls, transport: Transport) -> Client:
        """A client that speaks through `transport`, whatever that is."""
        client = cls.__new__(cls)
        client.mode = Mode.ONLINE
        client.url = None
        client._post = None
        client._hosts = {}
        client._thread = None
        client._transport = transport
        return client

    def bearing(self, token: str | None) -> Client:
        """The same server, asked with another token."""
        other = Client.over(self._transport.bearing(token))
        other.mode, other.url = self.mode, self.url
        if self._post is not None:
            other._post = self._post[0], token
        return other

    def _shown_at(self) -> str | None:
        return self._post[0] if self._post is not None else None

    def request(self, method: str, path: str, json: Any = None, *, timeout: float = 30.0) -> Any:
        """Any route of the API: the decoded answer.

        Raises:
            GrandstandError: the class the server refused with, or `Unavailable` where none answers.
        """
        return call(
            self._transport, method, path, json, timeout=timeout, repeatable=method == "GET"
        )

    # ---- sessions ----------------------------------------------------------------------------

    def open_session(
        self,
        training_session_id: str | None = None,
        *,
        algorithm: str,
        total_episodes: int | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        model_generation: int = 1,
        room_code: str | None = None,
        enable_spectators: bool = True,
        resume: bool = False,
        limit: int = DEFAULT_LIMIT,
        lossless: bool = False,
    ) -> Session:
        """Begin to report a training.

        With the server away it begins all the same: records wait on disk, in a folder below
        `.grandstand` (``GRANDSTAND_SPOOL``), and are sent when it answers, by this process or, when
        that has ended, by ``grandstand sync``. With a server in this process they wait in memory.

        Args:
            training_session_id: your own name for the run; a fresh one if not given.
            algorithm: such as "DQN" or "PPO".
            total_episodes: how many are planned, for the progress shown.
            name: for people, if another than the id.
            tags: words to find it by.
            config: hyperparameters and the like, anything JSON can hold.
            model_generation: which generation of your model this trains, from 0.
            room_code: a code under which spectators join.
            enable_spectators: whether people may watch it live.
            resume: go on with the session of that id if there is one.
            limit: most records kept in memory; then the oldest are dropped.
            lossless: hold `log()` back instead of dropping.

        Raises:
            Conflict: the id is taken and `resume` is not set.
            ValidationFailed: a value the server refuses, by name.
            Unauthenticated, Forbidden: it wants a (better) token.
            Unavailable: something else than a Grandstand server answers there.
            GrandstandError: the server speaks another wire (code ``wire_mismatch``).
        """
        own_id = training_session_id or new_id()
        if self.mode is Mode.DISABLED:
            return Session(None, session_id_of(own_id), own_id)
        body = {
            "training_session_id": own_id,
            "algorithm": algorithm,
            "total_episodes": total_episodes,
            "name": name,
            "tags": list(tags),
            "config": listed(config or {}),
            "model_generation": model_generation,
            "room_code": room_code,
            "enable_spectators": enable_spectators,
            "resume": resume,
        }
        body = {key: value for key, value in body.items() if value is not None}
        session_id, opening = session_id_of(own_id), None
        if self.mode is Mode.OFFLINE:
            opening = body
        else:
            try:
                self._take_over(session_id, body)
                session_id = self._open(body)
            except Unavailable as error:
                if error.code == NOT_OURS:
                    raise
                log.warning("%s; the session starts without it, records are kept", error.message)
                opening = again(body, error)
        session = Session(
            self._transport,
            session_id,
            own_id,
            limit=limit,
            lossless=lossless,
            opening=opening,
            link=f"{self.url}/sessions/{session_id}" if self.url else None,
            spool=self._spool(session_id, body, opened=opening is None),
            offline=self.mode is Mode.OFFLINE,
        )
        watch_over(session)
        if self._post is not None:
            _opened[os.getpid(), self._post[0], session_id] = session
        return session

    def _open(self, body: dict[str, Any]) -> str:
        """Have the server make the session; its id."""
        answer = self.request("POST", "/api/training/sessions", body)
        if not isinstance(answer, dict) or not isinstance(answer.get("session_id"), str):
            raise not_ours(self.url or HERE, "its answer tells of no session")
        return str(answer["session_id"])

    def _take_over(self, session_id: str, body: dict[str, Any]) -> None:
        """Where this very process opened the session before, have that object give way, and go on
        with the session: a notebook's cell may be run again."""
        if self._post is None or body["resume"]:
            return
        earlier = _opened.pop((os.getpid(), self._post[0], session_id), None)
        if earlier is not None:
            earlier.give_way()
            body["resume"] = True
            log.info("session %s: opened again by this process, it goes on", session_id)

    def _spool(self, session_id: str, body: Mapping[str, Any], *, opened: bool) -> Spool | None:
        """Where records wait on disk; with a server in this process they need not.

        Raises:
            ValidationFailed: everything is to be kept on disk, but that is switched off.
        """
        parent = spool_folder()
        if self.mode is Mode.OFFLINE and parent is None:
            raise ValidationFailed(
                "offline, everything goes to disk, but GRANDSTAND_SPOOL is off",
                code="no_spool",
                detail="Set GRANDSTAND_SPOOL to a folder, or GRANDSTAND_MODE to disabled.",
            )
        if parent is None or self.url is None:
            return None
        told = {"session_id": session_id, "url": self.url, "opening": body, "opened": opened}
        return Spool(parent, told)

    def attach(
        self,
        session_id: str,
        *,
        limit: int = DEFAULT_LIMIT,
        lossless: bool = False,
        heartbeat: bool = True,
    ) -> Session:
        """Report into a session that exists, without asking the server first.

        Args:
            session_id: its id.
            limit: as in `open_session`.
            lossless: as in `open_session`.
            heartbeat: whether to keep it alive while nothing is logged.
        """
        online = None if self.mode is Mode.DISABLED else self._transport
        return Session(online, session_id, limit=limit, lossless=lossless, heartbeat=heartbeat)

    def sessions(
        self,
        *,
        status: str | Sequence[str] | None = None,
        algorithm: str | None = None,
        tag: str | None = None,
        q: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SessionPage:
        """Sessions, by default those not ended.

        Args:
            status: one or several of them, or "all".
            algorithm: only of this one.
            tag: only with this one.
            q: text in the name or id.
            sort: as the server knows it.
            limit: most to return at once.
            cursor: the `next_cursor` of the page before.
        """
        asked = {
            "status": status if status is None or isinstance(status, str) else ",".join(status),
            "algorithm": algorithm,
            "tag": tag,
            "q": q,
            "sort": sort,
            "limit": limit,
            "cursor": cursor,
        }
        query = urlencode({k: v for k, v in asked.items() if v is not None})
        answer = self.request("GET", "/api/training/sessions" + (f"?{query}" if query else ""))
        page = msgspec.convert(answer, SessionPage, strict=False)
        for info in page.sessions:
            info.found_at(self._transport, self.url)
        return page

    def session(self, session_id: str) -> SessionInfo:
        """One session as the server sees it.

        Raises:
            NotFound: there is none of that id.
        """
        return self._info(self.request("GET", _of(session_id)))

    def update_session(self, session_id: str, **changes: Any) -> SessionInfo:
        """Change name, notes, tags, archived, total_episodes, status (a wish for managed ones) …"""
        return self._info(self.request("PUT", _of(session_id), listed(changes)))

    def delete_session(self, session_id: str, *, force: bool = False, files: bool = False) -> None:
        """Delete a session and its records.

        Args:
            session_id: its id.
            force: also while a worker trains it.
            files: its model files as well.

        Raises:
            Conflict: it is running and `force` is not set.
        """
        query = urlencode({"force": str(force).lower(), "files": str(files).lower()})
        self.request("DELETE", f"{_of(session_id)}?{query}")

    # ---- watching and reading ----------------------------------------------------------------

    def watch(
        self,
        session_id: str,
        *,
        since: int | None = None,
        types: Iterable[str] | None = None,
        max_hz: float = 0.0,
        decisions: bool = True,
        follow: bool = False,
    ) -> Generator[Event, None, None]:
        """What a session reports, live: every record once and in order, until it has ended.

        It connects again by itself, with waits of 0.5 to 15 s, and goes on where it was. Where
        records cannot be had again, a "connection_status" event with ``data["recovered"]`` false
        says so, and the logger ``grandstand.client`` does. Leaving the loop closes the socket.

        Args:
            session_id: its id.
            since: first what came after this seq, 0 for everything; by default what comes next.
            types: of "training_metrics", "bot_decision", "graph_update", "training_status" (and
                "connection_status": snapshots, who watches); by default the first four.
            max_hz: metrics and decisions a second at most, 0 to 1000, the newest count (an event
                that stands for more has ``skipped_from`` and ``skipped_to``); 0 for every one.
            decisions: whether to give decisions out.
            follow: go on when the session has ended: it may be resumed.

        Raises:
            ValidationFailed: a type nobody knows; a server without a port (a bare ASGI app).
            Unavailable: while iterating, no server answers at the first attempt.
            NotFound, Gone, Unauthenticated, Forbidden: while iterating, the server refuses.
        """
        from grandstand.client.watch import Feed, watching

        feed = Feed(
            session_id,
            since=since,
            types=types,
            max_hz=max_hz,
            decisions=decisions,
            follow=follow,
        )
        return watching(self.socket_post(), feed)

    def socket_post(self) -> Post:
        """Where the server's sockets are.

        Raises:
            ValidationFailed: it has none, being an ASGI app in this process.
        """
        from grandstand.client.watch import Post

        if self._post is None:
            raise ValidationFailed(
                "watching needs a server that listens at a port, and this one is an ASGI app",
                code="no_socket",
                detail="Connect to a URL, or to a running grandstand.TrainingMetricsServer.",
            )
        return Post(*self._post)

    def history(
        self,
        session_id: str,
        names: str | Sequence[str] | None = None,
        x: Axis = "episode",
        max_points: int | None = None,
    ) -> History:
        """The metrics of a session as columns, for plots and data frames.

        Args:
            session_id: its id.
            names: the metrics, all if not given; ``group/name`` as they were logged.
            x: what they are drawn over: "episode", "step" or "time".
            max_points: at most so many points (buckets with mean, least and greatest value) for
                each metric; by default every record, exactly.

        Raises:
            NotFound: no session of that id.
            ValidationFailed: an `x` nobody knows, `max_points` out of bounds.
        """
        from grandstand.client.history import read_history

        wanted = [names] if isinstance(names, str) else names
        return read_history(self._transport, session_id, wanted, x, max_points)

    def export_tensorboard(self, session_id: str, folder: str | os.PathLike[str]) -> Written:
        """Write a session as an event file for TensorBoard, into a folder of its own.

        Args:
            session_id: its id.
            folder: the log directory to give to TensorBoard; the session's folder is made in it.

        Returns:
            Where it is, and how many scalars, texts, histograms and images are in it.

        Raises:
            NotFound: no session of that id.
            OSError: the disk does not take it.
        """
        from grandstand.client.tensorboard.export import export

        return export(self._transport, session_id, Path(folder))

    # ---- trainings ---------------------------------------------------------------------------

    def start_training(self, scenario_name: str, **options: Any) -> dict[str, Any]:
        """Start one of the server's own trainings.

        Args:
            scenario_name: one of the server's scenarios, such as "bologna_coppia".
            options: num_episodes, save_interval, eval_episodes, seed, queue, pace, ranks,
                overrides, labels …

        Returns:
            The answer, with `session_id` and `status`.

        Raises:
            TrainingBusy: one is running already; `queue=True` waits its turn.
            NotFound: no such scenario.
        """
        body = {"scenario_name": scenario_name, **listed(options)}
        return dict(self.request("POST", "/api/training/start", body))

    def stop_training(self, session_id: str | None = None) -> dict[str, Any]:
        """Stop the running training, keeping its model.

        Raises:
            BadRequest: none is running.
            Conflict: several are, and none was named.
        """
        body = {} if session_id is None else {"session_id": session_id}
        return dict(self.request("POST", "/api/training/stop", body))

    def pause(self, session_id: str) -> dict[str, Any]:
        """Have a training pause at its next update, keeping its place.

        Returns:
            ``{session_id, status, wanted, changed}``, as for the three below. Asking again changes
            nothing.

        Raises:
            NotFound: no such session.
            Conflict: its status does not allow it; `details` names what it does.
        """
        return self._order(session_id, "pause")

    def resume(self, session_id: str) -> dict[str, Any]:
        """Have a paused training go on, or a stopped, failed or lost one from its newest
        checkpoint. See `pause`."""
        return self._order(session_id, "resume")

    def stop(self, session_id: str) -> dict[str, Any]:
        """Have a training stop at its next update, after a checkpoint; its model is kept. Does not
        wait for it (`stop_training` does, for up to 5 s). See `pause`."""
        return self._order(session_id, "stop")

    def checkpoint(self, session_id: str) -> dict[str, Any]:
        """Have a training take a checkpoint at its next update. See `pause`."""
        return self._order(session_id, "checkpoint")

    def queue(self) -> list[dict[str, Any]]:
        """The trainings that wait, the next one first: position, priority, session."""
        return list(self.request("GET", "/api/training/queue")["queue"])

    def move_in_queue(
        self,
        session_id: str,
        *,
        priority: int | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """Give a waiting training another priority, or the place before or after another one;
        returns the queue as it then is.

        Raises:
            NotFound: no such session.
            Conflict: it does not wait, or the other one does not (code ``not_waiting``).
        """
        told = {"priority": priority, "before": before, "after": after}
        body = {name: value for name, value in told.items() if value is not None}
        path = f"/api/training/queue/{quote(session_id, safe='')}"
        return list(self.request("PATCH", path, body)["queue"])

    def _order(self, session_id: str, verb: str) -> dict[str, Any]:
        return dict(self.request("POST", f"{_of(session_id)}/{verb}"))

    def status(self) -> dict[str, Any]:
        """What is being trained right now, if anything."""
        return dict(self.request("GET", "/api/training/status"))

    # ---- ending ------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the connection. Sessions opened from here have their own and go on."""
        self._transport.close()
        if self._thread is not None:
            self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _info(self, answer: Any) -> SessionInfo:
        info = msgspec.convert(answer, SessionInfo, strict=False)
        info.found_at(self._transport, self.url)
        return info


def again(body: Mapping[str, Any], error: GrandstandError) -> dict[str, Any]:
    """The body with which to open a session after an attempt that nobody answered: one that may
    have arrived has perhaps made the session, which is then the one to go on with."""
    return {**body, "resume": True} if error.details.get("sent") else dict(body)


def _of(session_id: str) -> str:
    return f"/api/training/sessions/{quote(session_id, safe='')}"


def connect(target: Target = None, token: str | None = None, *, url: str | None = None) -> Client:
    """A `Client` for `target`; `url` is another word for it."""
    return Client(url if target is None else target, token)


def open_session(
    training_session_id: str | None = None,
    *,
    algorithm: str,
    total_episodes: int | None = None,
    url: str | None = None,
    token: str | None = None,
    mode: str | None = None,
    **options: Any,
) -> Session:
    """Begin to report a training, in one call; see `Client.open_session` for what it takes.

    Args:
        training_session_id: your own name for the run; a fresh one if not given.
        algorithm: such as "DQN" or "PPO".
        total_episodes: how many are planned.
        url: the server's; by default ``GRANDSTAND_URL``, else http://127.0.0.1:8000.
        token: by default ``GRANDSTAND_TOKEN``.
        mode: "online", "offline" or "disabled"; by default ``GRANDSTAND_MODE``, else online.
        options: name, tags, config, model_generation, resume and the others.
    """
    with Client(url, token, mode=mode) as client:
        return client.open_session(
            training_session_id, algorithm=algorithm, total_episodes=total_episodes, **options
        )
