"""A session as the script that reports it holds it: `log()` and its sisters."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

from grandstand.client.buffer import DEFAULT_LIMIT, Buffer
from grandstand.client.encoding import (
    PLAIN,
    Ready,
    Row,
    finite_body,
    listed,
    plain,
    scalar,
    whole,
)
from grandstand.client.failure import describe
from grandstand.client.frames import FrameSender
from grandstand.client.media import DEFAULT_BINS, histogram_body, image_body, text_body
from grandstand.client.spool import Spool
from grandstand.client.transport import TIMEOUT_SECONDS, Transport, call
from grandstand.clock import Clock, SystemClock
from grandstand.errors import GrandstandError, Unavailable
from grandstand.model.media import HISTOGRAM, IMAGE, MAX_TEXT, TEXT
from grandstand.model.telemetry import DECISION, GRAPH, METRICS, STATUS

log = logging.getLogger("grandstand.client")

FINISH_SECONDS = 30.0
HELD_SECONDS = 20.0
"""How long the server may hold its answer while a training is paused."""
AWAY_SECONDS = 2.0
GIVE_WAY_SECONDS = 5.0
COLUMN_ROWS = 2_000
"""A columnar record longer than this is sent in several."""

EndStatus = Literal["completed", "stopped", "failed", "released"]


class Session:
    """One training being reported. Get it from `grandstand.open_session` or `Client.attach`.

    Nothing here raises into the training or waits for the network, `flush` and `finish` aside,
    which wait with a bound. What cannot be stored is said once on the logger
    ``grandstand.client`` and counted in `dropped`. All methods may be called from any thread.

    Used as a context manager it finishes by itself: completed at the end of the block, failed with
    the reason when an exception leaves it, stopped on Ctrl-C.

    Attributes:
        session_id: its name in URLs.
        training_session_id: the name it was given.
        wanted: what people asked for ("running", "paused", "stopped") as last heard: with every
            answer to records, and at least every five seconds. A loop that wants to obey calls
            `should_stop` or `wait_if_paused`; only then are people offered to ask.
    """

    def __init__(
        self,
        transport: Transport | None,
        session_id: str,
        training_session_id: str | None = None,
        *,
        clock: Clock | None = None,
        limit: int = DEFAULT_LIMIT,
        lossless: bool = False,
        opening: Mapping[str, Any] | None = None,
        heartbeat: bool = True,
        link: str | None = None,
        spool: Spool | None = None,
        offline: bool = False,
    ) -> None:
        self.session_id = session_id
        self.training_session_id = training_session_id or session_id
        self.wanted: str = "running"
        self.url = link
        """The page on which people watch it, where the server serves one."""
        self._clock = clock or SystemClock()
        self._now = self._clock.now
        self._transport = transport.twin() if transport is not None else None
        self._episode = 0
        self._finished = False
        self._listens: set[str] = set()
        self._told: set[str] = set()
        self._on_wish: list[Callable[[str], None]] = []
        self._news = threading.Event()
        self._path = f"/api/training/sessions/{session_id}"
        self._buffer: Buffer | None = None
        self._frames: FrameSender | None = None
        if transport is not None:
            twin = transport.twin()
            self._buffer = Buffer(
                twin,
                session_id,
                clock=self._clock,
                limit=limit,
                lossless=lossless,
                opening=_opener(twin, opening) if opening is not None else None,
                beat=(lambda: self._beat(twin)) if heartbeat else None,
                heard=self._hear,
                spool=spool,
                offline=offline,
            )
            self._frames = FrameSender(twin, self._path, self._clock, self._complain_topic)

    # ---- reporting ---------------------------------------------------------------------------

    def log(
        self,
        metrics: Mapping[str, Any],
        *,
        step: int | None = None,
        episode: int | None = None,
    ) -> None:
        """Report scalars by name.

        The 17 names of a metrics record (``current_reward``, ``win_rate``, …) are stored as such,
        any other goes to `extra`; ``group/name`` makes a group. Scalars of NumPy and PyTorch are
        fine, NaN and infinities are kept.

        Args:
            metrics: values by name; may be reused or changed right afterwards.
            step: environment or optimiser steps so far, a whole number from 0; may also be one of
                `metrics`.
            episode: likewise; without one the last one told is meant, 0 at first.
        """
        try:
            buffer = self._buffer
            if buffer is None:
                return
            row = dict(metrics)
            if not PLAIN.issuperset(map(type, row.values())):
                row = plain(metrics, buffer.complain)
            if episode is None:
                episode = row.pop("episode", None)
            if step is None:
                step = row.pop("step", None)
            if type(episode) is not int or episode < 0:
                episode = self._episode if episode is None else self._whole("episode", episode)
            if step is not None and (type(step) is not int or step < 0):
                step = self._whole("step", step)
            if episode is None:
                episode = self._episode
            self._episode = episode
            buffer.put(Row(self._now(), row, episode, step))
        except Exception as error:  # a mistake in a log line must not end a training
            self._complain("log", error)

    def decision(
        self,
        action_probabilities: Mapping[str, float] | None = None,
        *,
        state_values: Any = None,
        q_values: Sequence[float] | None = None,
        selected_action: str | int | None = None,
        confidence_score: float | None = None,
        episode: int | None = None,
        step: int | None = None,
        extra: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> None:
        """Report what the agent weighed and chose, for those who watch.

        Args:
            action_probabilities: probability of each action, 0 to 1, adding up to 1.
            state_values: value of the state, a number or several.
            q_values: value of each action.
            selected_action: name or number of the chosen one.
            confidence_score: 0 to 1.
            episode: the episode it happened in, the last one told if not given.
            step: the step it happened at.
            extra: what else explains it: numbers or short texts by name.
            key: see `columns`.
        """
        self._record(
            DECISION,
            {
                "timestamp": self._now(),
                "action_probabilities": action_probabilities,
                "state_values": state_values,
                "q_values": q_values,
                "selected_action": selected_action,
                "confidence_score": confidence_score,
                "episode": self._episode if episode is None else episode,
                "step": step,
                "extra": extra,
            },
            key,
        )

    def graph(
        self,
        graph_id: str,
        data_points: Mapping[str, Sequence[Any]] | None = None,
        *,
        title: str | None = None,
        y_label: str | None = None,
        metrics: Sequence[str] = (),
        max_points: int | None = None,
    ) -> None:
        """Append points to a graph of its own.

        Args:
            graph_id: 1 to 128 characters; the same id appends.
            data_points: by metric: numbers (happening now), ``(time, number)`` pairs, or
                ``{"timestamp": …, "value": …}``; times aware, or naive in UTC.
            title: shown above it.
            y_label: shown beside it.
            metrics: names of the metrics it shows; those with points are included by themselves.
            max_points: the newest to keep for each metric, 1 to 100,000 (1000 if not given).
        """
        try:
            now = self._now()
            points = {
                str(name): [_point(p, now) for p in listed(series)]
                for name, series in (data_points or {}).items()
            }
            names = list(dict.fromkeys([*metrics, *points]))
            self._record(
                GRAPH,
                {
                    "graph_id": graph_id,
                    "title": title,
                    "y_label": y_label,
                    "metrics": names,
                    "data_points": points,
                    "max_points": max_points,
                },
            )
        except Exception as error:  # as in log()
            self._complain("graph", error)

    def frame(
        self,
        image: bytes,
        *,
        episode: int | None = None,
        step: int | None = None,
        value: float | None = None,
    ) -> None:
        """Show the agent at play to those who look right now.

        Frames are no records: they are sent beside them, at most ten a second and the newest of
        those that wait; while the server is away they are dropped.

        Args:
            image: a JPEG or WebP file of at most 256 KiB.
            episode: the episode it is of, the last one told if not given.
            step: the step it was taken at.
            value: the episode's return so far; by it the server knows the best episode.
        """
        try:
            if self._frames is None:
                return
            told = float(value) if value is not None else None
            self._frames.put(
                bytes(image),
                episode=self._episode if episode is None else self._whole("episode", episode),
                step=self._whole("step", step) if step is not None else None,
                value=told if told is not None and math.isfinite(told) else None,
            )
        except Exception as error:  # as in log()
            self._complain("frame", error)

    def text(
        self,
        name: str,
        text: str,
        *,
        step: int | None = None,
        episode: int | None = None,
        at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Report a text, such as a sample of what a model wrote.

        Args:
            name: 1 to 256 characters; texts of the same name follow one another.
            text: at most 65,536 characters; what is beyond is cut off and counted.
            step: steps so far.
            episode: the episode it belongs to, the last one told if not given.
            at: when it was, aware, or naive in UTC; now if not given.
            key: see `columns`.
        """
        try:
            body = text_body(text)
            if "left_out" in body:
                self._complain_topic(
                    f"length of {name}",
                    f"the text {name!r} is longer than {MAX_TEXT:,} characters; the rest is cut "
                    "off, and watchers see that it is",
                )
            self._media(TEXT, name, body, step, episode, at, key)
        except Exception as error:  # as in log()
            self._complain("text", error)

    def histogram(
        self,
        name: str,
        values: Any,
        *,
        step: int | None = None,
        episode: int | None = None,
        bins: int = DEFAULT_BINS,
        at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Report how values are spread, such as a layer's weights.

        Args:
            name: 1 to 256 characters; histograms of the same name follow one another.
            values: numbers of any shape, NumPy's or a tensor; or a tuple ``(counts, edges)`` of a
                histogram that is made already. NaN and infinities are counted apart.
            step, episode, at, key: as for `text`.
            bins: how many, 1 to 512, of equal width from the least to the greatest value.
        """
        try:
            if self._buffer is None:
                return
            body = histogram_body(values, bins)
            if body is None:
                self._complain_topic(f"no {name}", f"the histogram {name!r} is of no values")
                return
            self._media(HISTOGRAM, name, body, step, episode, at, key)
        except Exception as error:  # as in log()
            self._complain("histogram", error)

    def image(
        self,
        name: str,
        image: Any,
        *,
        step: int | None = None,
        episode: int | None = None,
        caption: str | None = None,
        at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Report an image that is kept, as every record is; `frame` shows one and forgets it.

        Args:
            name: 1 to 256 characters; images of the same name follow one another.
            image: the bytes of a JPEG, WebP or PNG file, at most 256 KiB; or an array (height,
                width, 3) of bytes, or of floats from 0 to 1, which Pillow makes a PNG of, or a JPEG
                where that is too large. A large array takes some milliseconds.
            caption: a line below it, 256 characters.
            step, episode, at, key: as for `text`.
        """
        try:
            if self._buffer is None:
                return
            body = image_body(image)
            if caption is not None:
                body["caption"] = str(caption)[:256]
            self._media(IMAGE, name, body, step, episode, at, key)
        except Exception as error:  # as in log()
            self._complain("image", error)

    def event(self, name: str, /, *, key: str | None = None, **data: Any) -> None:
        """Report that something happened: a checkpoint, a new phase, an evaluation.

        Args:
            name: 1 to 64 characters, what watchers see as ``data.event``.
            key: see `columns`.
            data: anything JSON can hold.
        """
        self._record(STATUS, {"event": name, "timestamp": self._now(), **data}, key)

    def columns(
        self, columns: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None, key: str = ""
    ) -> None:
        """Report many episodes at once, a list (or array) per field, all equally long.

        Args:
            columns: by field of a metrics record; `episode` must be among them.
            extra: by any other name.
            key: names these rows within the session: rows already stored under it are not stored
                again, so a run that goes back to a checkpoint may report them once more.
        """
        try:
            ready = {name: listed(column) for name, column in columns.items()}
            more = {name: listed(column) for name, column in (extra or {}).items()}
            total = len(ready["episode"])
            if total == 0 or self._buffer is None:
                return
            self._episode = int(ready["episode"][-1])
            if "timestamp" not in ready:
                ready["timestamp"] = [self._now()] * total
            for a in range(0, total, COLUMN_ROWS):
                b = min(a + COLUMN_ROWS, total)
                body: dict[str, Any] = {name: column[a:b] for name, column in ready.items()}
                if more:
                    body["extra"] = {name: column[a:b] for name, column in more.items()}
                part = key if total <= COLUMN_ROWS or not key else f"{key} part {a // COLUMN_ROWS}"
                self._buffer.put(Ready(METRICS, body, True, part or None, b - a))
        except Exception as error:  # as in log()
            self._complain("columns", error)

    def scalars(
        self, values: Mapping[str, Any], *, episode: int, step: int | None, key: str | None
    ) -> None:
        """Report scalars that are known once for many episodes, all of them in `extra`.

        Args:
            values: by name.
            episode: the newest episode they speak of.
            step: steps so far.
            key: see `columns`.
        """
        try:
            extra = plain(values, self._complain_topic)
            self._record(
                METRICS,
                {"timestamp": self._now(), "episode": episode, "step": step, "extra": extra},
                key,
            )
        except Exception as error:  # as in log()
            self._complain("scalars", error)

    # ---- control -----------------------------------------------------------------------------

    def should_stop(self) -> bool:
        """Whether people asked this training to stop. Costs nothing: ask at every step.

        The first call tells the server that this script may be asked; then finish with "stopped".
        """
        if "stop" not in self._listens:
            self._listen("stop")
        return self.wanted == "stopped"

    def wait_if_paused(self, timeout: float | None = None) -> bool:
        """Return at once, unless people asked this training to pause: then when it is to go on.

        The first call tells the server that this script may be asked to pause and to stop. While
        the server is away a pause goes on; Ctrl-C ends it.

        Args:
            timeout: most seconds to wait; None waits as long as it takes.

        Returns:
            Whether to go on; False when it is to stop instead.
        """
        if not {"pause", "stop"} <= self._listens:
            self._listen("pause", "stop")
        if self.wanted == "paused":
            self._sit_out(timeout)
        return self.wanted != "stopped"

    def on_wish(self, callback: Callable[[str], None]) -> None:
        """Have `callback` called with "running", "paused" or "stopped" when people want something
        else. It is called in another thread, and should be quick; what it raises is logged."""
        self._on_wish.append(callback)
        self._listen("pause", "stop")

    # ---- state -------------------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """Records (rows counted) the server has acknowledged as stored."""
        return self._buffer.outcome.sent if self._buffer else 0

    @property
    def spooled(self) -> int:
        """Records that wait on disk for the server, while it is away."""
        return self._buffer.outcome.spooled if self._buffer else 0

    @property
    def dropped(self) -> int:
        """Records given up; the logger ``grandstand.client`` says why."""
        return self._buffer.outcome.dropped if self._buffer else 0

    @property
    def away_since(self) -> float | None:
        """`Clock.monotonic` since when the server does not answer; None while it does."""
        return self._buffer.outcome.away_since if self._buffer else None

    @property
    def ended(self) -> GrandstandError | None:
        """Why nothing is taken any more: finished, deleted, or superseded by a newer attempt."""
        return self._buffer.outcome.ended if self._buffer else None

    # ---- ending ------------------------------------------------------------------------------

    def flush(self, timeout: float | None = FINISH_SECONDS) -> bool:
        """Wait until everything reported so far is stored.

        Args:
            timeout: most seconds to wait; None waits as long as it takes.

        Returns:
            Whether it is.
        """
        return self._buffer.flush(timeout) if self._buffer else True

    def finish(
        self,
        status: EndStatus = "completed",
        reason: str | None = None,
        error: Mapping[str, Any] | None = None,
        *,
        final_metrics: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        timeout: float = FINISH_SECONDS,
    ) -> bool:
        """Send what is left and say how the training ended. A second call does nothing.

        Args:
            status: completed, stopped or failed (released is for workers that will be followed by
                another).
            reason: why, for people.
            error: for a failed one: message, type, traceback.
            final_metrics: what it came to, by name.
            models: paths of what it saved, by name.
            timeout: most seconds to wait for the server.

        Returns:
            Whether the server knows; False when it is away or refused (the log says why). While it
            is away, what is left lies on disk and is sent when it answers, by this process as long
            as it lives, else by `grandstand sync`.
        """
        if self._finished:
            return True
        self._finished = True
        if self._buffer is None or self._transport is None:
            return True
        self._leave_frames()
        body = {
            "status": status,
            "reason": reason[:2000] if reason else None,
            "error": dict(error) if error else None,
            "final_metrics": listed(final_metrics) if final_metrics else None,
            "models": listed(models) if models else None,
        }
        encoded = finite_body({k: v for k, v in body.items() if v is not None})
        until = self._clock.monotonic() + timeout
        flushed = self._buffer.flush(timeout, on_disk=True)
        if self._buffer.outcome.ended is not None:
            return False
        if self._buffer.keeps and (not flushed or self._buffer.waiting_on_disk):
            self._buffer.finish(encoded)
            return False
        if not flushed:
            log.warning("session %s: not everything was sent before it finished", self.session_id)
        self._buffer.quiet()
        known = self._tell_end(encoded, max(until - self._clock.monotonic(), 1.0))
        return known and flushed

    def _tell_end(self, body: bytes, timeout: float) -> bool:
        """Say at once how it ended; where nobody answers, leave it to the sender."""
        assert self._buffer is not None
        assert self._transport is not None
        try:
            reply = self._transport.request(
                "POST", f"{self._path}/finish", body, timeout=timeout, repeatable=True
            )
            if reply.status >= 400:
                raise reply.error()
        except GrandstandError as refusal:
            if self._buffer.keeps and refusal.retryable:
                self._buffer.finish(body)
                return False
            log.warning("session %s: could not finish it: %s", self.session_id, refusal.message)
            known = False
        else:
            known = True
        finally:
            self._transport.close()
        self._buffer.end(GrandstandError("it is finished", code="session_finished"))
        return known

    def give_way(self, timeout: float = GIVE_WAY_SECONDS) -> None:
        """Send what waits and report nothing more: another object goes on with the session."""
        self._finished = True
        self._leave_frames()
        if self._buffer is not None and self._buffer.outcome.ended is None:
            self._buffer.flush(timeout, on_disk=True)
            self._buffer.end(
                GrandstandError("this process opened it again", code="session_reopened")
            )

    def abandon(self) -> None:
        """Give up what waits and send nothing any more; whoever waits in `flush` is let go."""
        self._leave_frames()
        if self._buffer is not None:
            self._buffer.end(GrandstandError("it was abandoned", code="session_abandoned"))

    def mark(self) -> threading.Event:
        """An event that is set once everything reported so far is stored (or never will be)."""
        if self._buffer is None:
            done = threading.Event()
            done.set()
            return done
        return self._buffer.mark()

    # ---- in a notebook -----------------------------------------------------------------------

    @property
    def state(self) -> str:
        """A word for people: reporting, away (the server is), ended, or disabled."""
        if self._buffer is None:
            return "disabled"
        if self.ended is not None or self._finished:
            return "ended"
        return "reporting" if self.away_since is None else "away"

    def __repr__(self) -> str:
        return (
            f"<Session {self.session_id}: {self.state}, episode {self._episode:,}, "
            f"{self.sent:,} records sent, {self.dropped:,} dropped>"
        )

    def _repr_html_(self) -> str:
        from grandstand.client.notebook import card, look

        rows = [("", f"episode {self._episode:,}"), ("sent", f"{self.sent:,}")]
        for word, count in (("on disk", self.spooled), ("dropped", self.dropped)):
            if count:
                rows.append((word, f"{count:,}"))
        if self._transport is None or self.state == "away" or self.spooled:
            return card(self.training_session_id, self.state, rows, url=self.url)
        curve = look(self._transport, self.session_id)
        return card(self.training_session_id, self.state, rows, curve, self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.finish("completed")
        elif isinstance(error, KeyboardInterrupt):
            self.finish("stopped", "interrupted from the keyboard")
        else:
            told = describe(error)
            self.finish("failed", f"{told['type']}: {told['message']}", told)

    # ---- inside ------------------------------------------------------------------------------

    def _record(self, type: str, data: Mapping[str, Any], key: str | None = None) -> None:
        try:
            if self._buffer is None:
                return
            body = {name: listed(value) for name, value in data.items() if value is not None}
            self._buffer.put(Ready(type, body, key=key))
        except Exception as error:  # as in log()
            self._complain(type, error)

    def _media(
        self,
        type: str,
        name: str,
        body: dict[str, Any],
        step: int | None,
        episode: int | None,
        at: datetime | None,
        key: str | None,
    ) -> None:
        if self._buffer is None:
            return
        name = str(name)
        if not 1 <= len(name) <= 256:
            raise ValueError(f"a name has 1 to 256 characters, this one has {len(name)}")
        told: dict[str, Any] = {"timestamp": at or self._now(), "name": name, **body}
        told["episode"] = self._episode if episode is None else self._whole("episode", episode)
        if step is not None:
            told["step"] = self._whole("step", step)
        size = len(body.get("image", b"")) + len(body.get("text", ""))
        size += 32 * len(body.get("counts", ()))
        self._buffer.put(Ready(type, told, key=key, size=size))

    def _leave_frames(self) -> None:
        if self._frames is not None:
            self._frames.close()

    def _whole(self, name: str, value: Any) -> int | None:
        try:
            return whole(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            self._complain_topic(
                f"shape of {name}",
                f"{name} must be a whole number of at least 0, not {value!r}; it is left out",
            )
            return None

    def _complain(self, what: str, error: Exception) -> None:
        self._complain_topic(
            f"{what} raised", f"{what} could not take what it was given: {error!r}"
        )

    def _complain_topic(self, topic: str, message: str) -> None:
        if self._buffer is not None:
            self._buffer.complain(topic, message)

    def _beat(self, transport: Transport, **more: Any) -> None:
        listens = set(self._listens)
        body: dict[str, Any] = dict(more)
        if not listens <= self._told:
            body["listens"] = sorted(listens)
        answer = call(
            transport,
            "POST",
            f"{self._path}/heartbeat",
            body,
            repeatable=True,
            timeout=more.get("wait_seconds", 0.0) + TIMEOUT_SECONDS,
            met=True,
        )
        self._told |= listens
        if isinstance(answer, dict) and isinstance(answer.get("wanted"), str):
            self._hear(answer["wanted"])

    def _listen(self, *verbs: str) -> None:
        self._listens.update(verbs)
        if self._buffer is not None:
            self._buffer.beat_soon()

    def _hear(self, wanted: str) -> None:
        if wanted == self.wanted:
            return
        self.wanted = wanted
        self._news.set()
        for callback in self._on_wish:
            try:
                callback(wanted)
            except Exception:
                log.exception("session %s: a callback of on_wish failed", self.session_id)

    def _sit_out(self, timeout: float | None) -> None:
        """Say that it waits, and wait until something else is wanted."""
        transport = self._transport
        if transport is None:
            return
        until = math.inf if timeout is None else self._clock.monotonic() + timeout
        while self.wanted == "paused" and self.ended is None:
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            self._news.clear()
            try:
                seconds = min(left, HELD_SECONDS)
                self._beat(transport, wanted="paused", wait_seconds=seconds, paused=True)
            except Unavailable:
                self._news.wait(min(left, AWAY_SECONDS))
            except GrandstandError as error:  # deleted, ended elsewhere: nobody asks any more
                log.warning("session %s: the pause ends: %s", self.session_id, error.message)
                self._hear("running")


def _opener(transport: Transport, opening: Mapping[str, Any]) -> Callable[[], None]:
    body = dict(opening)

    def open_now() -> None:
        try:
            call(transport, "POST", "/api/training/sessions", body)
        except Unavailable as error:
            if error.details.get("sent"):
                body["resume"] = True  # it may have been made, only the answer was lost
            raise

    return open_now


def _point(point: Any, now: datetime) -> dict[str, Any]:
    if isinstance(point, Mapping):
        return {"timestamp": point["timestamp"], "value": scalar(point["value"])}
    if isinstance(point, (list, tuple)):
        at, value = point
        return {"timestamp": at, "value": scalar(value)}
    return {"timestamp": now, "value": scalar(point)}
