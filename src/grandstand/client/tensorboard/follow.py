"""A log directory, followed: each folder with event files is reported as a session."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from grandstand.client.client import Client
from grandstand.client.handshake import NOT_OURS
from grandstand.client.session import Session
from grandstand.client.tensorboard.events import Bins, Entry, EventFile, Picture
from grandstand.client.tensorboard.groups import ALSO, Gatherer, Group, Stored, key_of
from grandstand.client.tensorboard.process import gone
from grandstand.clock import Clock, SystemClock
from grandstand.errors import NotFound, Unavailable
from grandstand.model.session import session_id_of
from grandstand.model.telemetry import METRICS

log = logging.getLogger("grandstand.client")

PATTERN = "*tfevents*"
LOOK_SECONDS = 0.5
SILENT_SECONDS = 600.0
GONE_SECONDS = 60.0
"""As long a silence is enough where the process that wrote the files is seen to be gone."""
HOLD_SECONDS = 1.0
"""So long values wait for more of their step."""
FLUSH_SECONDS = 60.0
LOOK_BACK = 1000
"""Records of a session that was there before are looked at, for `Stored`."""
EPISODE = "charts/episodic_return"
"""Each value of this tag is an episode."""
HYPERPARAMETERS = ("hyperparameters", "hyperparameters/text_summary")
_ROW = re.compile(r"^\|(?P<name>[^|]*)\|(?P<value>.*)\|\s*$")


def hyperparameters(table: str) -> dict[str, str]:
    """The rows of a Markdown table of two columns, its head aside."""
    found = [m for line in table.splitlines() if (m := _ROW.match(line.strip()))]
    pairs = [(m["name"].strip(), m["value"].strip()) for m in found[2:]]
    return {name: value for name, value in pairs if name}


class File:
    """One event file of a run, and what of it waits.

    Args:
        path: the file.
        stored: what the session has already.
        clock: of the follower.
    """

    def __init__(self, path: Path, stored: Stored, clock: Clock) -> None:
        self.path = path
        self.events = EventFile(path, media=True)
        self._groups = Gatherer(path.name, stored)
        self._clock = clock
        self._grown = clock.monotonic()

    def news(self) -> list[Entry]:
        """What was appended since the last look.

        Raises:
            OSError: it cannot be read.
        """
        if self.path.stat().st_size <= self.events.offset:
            return []
        return list(self.events.news())

    def groups(self, news: list[Entry]) -> list[Group]:
        """What is to be reported now; what might be continued waits a little."""
        done = self._groups.take(news)
        if news:
            self._grown = self._clock.monotonic()
        elif self._clock.monotonic() - self._grown >= HOLD_SECONDS:
            done += self.rest()
        return done

    def rest(self) -> list[Group]:
        """What waits to be continued."""
        return self._groups.rest()


class Run:
    """One folder of event files and the session it becomes.

    The files are read from their beginning by every follower. What is reported has a key made of
    its file and offset, so what an earlier follower reported is not stored again.

    Args:
        folder: where the files lie; those of folders below it are other runs.
        name: the session's own id.
        algorithm: what the session is said to train with.
        clock: of the follower, for `silent_seconds`.
    """

    def __init__(self, folder: Path, name: str, algorithm: str, clock: Clock) -> None:
        self.folder = folder
        self.name = name
        self.algorithm = algorithm
        self.session: Session | None = None
        self.reported = 0
        self._clock = clock
        self._heard = clock.monotonic()
        self._files: dict[str, File] = {}
        self._stored: Stored | None = None
        self._episode = 0

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been appended."""
        return self._clock.monotonic() - self._heard

    @property
    def deserted(self) -> bool:
        """Whether all who wrote its files are seen to be gone."""
        return bool(self._files) and all(gone(file.path) for file in self._files.values())

    def look(self, client: Client) -> int:
        """Report what was appended since the last look; how many values were found. The newest
        wait until it is seen whether more of their step follows.

        Raises:
            Unavailable: it was never looked at, and no server answers.
            GrandstandError: the server refuses the session.
            OSError: a file cannot be read.
        """
        paths = sorted(self.folder.glob(PATTERN))
        if self._stored is None:
            self._stored = _stored(client, self.name)
        for path in paths:
            if path.name not in self._files:
                self._files[path.name] = File(path, self._stored, self._clock)
        found = [(file, file.news()) for file in self._files.values()]
        news = [entry for _, entries in found for entry in entries]
        if news:
            self._heard = self._clock.monotonic()
            if self.session is None:
                self.session = self._open(client, news)
        if self.session is not None:
            for file, entries in found:
                for group in file.groups(entries):
                    self._report(self.session, group)
                for entry in entries:
                    self._report_medium(self.session, file.path.name, entry)
        return len(news)

    def rest(self) -> Session | None:
        """Report also what waits for more of its step; the session, if there is one."""
        if self.session is not None:
            for file in self._files.values():
                for group in file.rest():
                    self._report(self.session, group)
        return self.session

    def finish(self, why: str | None = None) -> bool:
        """Complete the session, if there is one; whether all that was read is stored."""
        session = self.rest()
        self.session = None
        if session is None:
            return True
        flushed = session.flush(FLUSH_SECONDS)
        return session.finish("completed", why) and flushed and not session.dropped

    def _open(self, client: Client, news: list[Entry]) -> Session:
        config: dict[str, Any] = {}
        for entry in news:
            if entry.tag in HYPERPARAMETERS and isinstance(entry.value, str):
                config.update(hyperparameters(entry.value))
        return client.open_session(
            self.name,
            algorithm=self.algorithm,
            config=config,
            tags=["tensorboard"],
            resume=True,
            lossless=True,
        )

    def _report(self, session: Session, group: Group) -> None:
        if EPISODE in group.values:
            self._episode += 1
        columns: dict[str, Any] = {"episode": [self._episode], "timestamp": [group.at]}
        if group.step >= 0:
            columns["step"] = [group.step]
        for tag, value in group.values.items():
            if tag in ALSO:
                columns[ALSO[tag]] = [value]
        extra = {tag: [value] for tag, value in group.values.items()}
        session.columns(columns, extra=extra, key=group.key)
        self.reported += len(group.values)

    def _report_medium(self, session: Session, file: str, entry: Entry) -> None:
        """Report a value that is no scalar: at once, and under a key of its own."""
        about: dict[str, Any] = {
            "at": datetime.fromtimestamp(entry.wall_time, UTC),
            "key": key_of(file, entry),
            "step": entry.step if entry.step >= 0 else None,
        }
        match entry.value:
            case str() if entry.tag not in HYPERPARAMETERS:
                session.text(entry.tag.removesuffix("/text_summary"), entry.value, **about)
            case Bins(counts, edges):
                session.histogram(entry.tag, (counts, edges), **about)
            case Picture(image):
                session.image(entry.tag, image, **about)
            case _:
                return
        self.reported += 1


def _stored(client: Client, name: str) -> Stored:
    """The newest of what the session of that name has, if there is one.

    Raises:
        Unavailable: no server answers.
    """
    session_id = session_id_of(name)
    try:
        since = max(client.session(session_id).last_seq - LOOK_BACK, 0)
        path = f"/api/training/sessions/{quote(session_id, safe='')}/history"
        asked = urlencode({"type": METRICS, "since_seq": since, "limit": LOOK_BACK})
        rows = client.request("GET", f"{path}?{asked}")["metrics_data"]
        return Stored(rows, whole=since == 0)
    except NotFound:
        return Stored()


class Follower:
    """Every run below a log directory.

    Args:
        folder: the log directory; may appear later.
        client: how the server is reached.
        name: begins the names of the sessions; the directory's own name if not given.
        algorithm: of all of them; "unknown" if not given.
        clock: tells the time.
    """

    def __init__(
        self,
        folder: Path,
        client: Client,
        *,
        name: str | None = None,
        algorithm: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder
        self.runs: dict[Path, Run] = {}
        self._client = client
        self._name = name or folder.resolve().name
        self._algorithm = algorithm or "unknown"
        self._clock = clock or SystemClock()

    def look(self) -> int:
        """Report what is new in all runs; how many values were found.

        Raises:
            Unavailable: no server answers; the news is found again by the next look.
            GrandstandError: the server refuses a session.
            OSError: a file cannot be read.
        """
        for folder in sorted({path.parent for path in self.folder.rglob(PATTERN)}):
            if folder not in self.runs:
                below = folder.relative_to(self.folder).as_posix()
                name = self._name if below == "." else f"{self._name}/{below}"
                self.runs[folder] = Run(folder, name, self._algorithm, self._clock)
        return sum(run.look(self._client) for run in self.runs.values())

    def follow(self, silent_seconds: float = SILENT_SECONDS) -> None:
        """Look again and again, and complete the runs that seem to be over. Never returns.

        While no server answers for a run that is new it waits for one.

        Raises:
            Unavailable: something else than a Grandstand server answers, and did from the start.
            GrandstandError: the server refuses a session.
            OSError: a file cannot be read.
        """
        away = False
        while True:
            try:
                self.look()
                away = False
            except Unavailable as error:
                if error.code == NOT_OURS and not any(run.session for run in self.runs.values()):
                    raise
                if not away:
                    log.warning("%s; waiting for it", error.message)
                away = True
            self.complete(silent_seconds)
            self._clock.wait(LOOK_SECONDS)

    def complete(
        self, silent_seconds: float = SILENT_SECONDS, gone_seconds: float = GONE_SECONDS
    ) -> None:
        """Complete the runs that are over; one that goes on after all is opened again.

        Args:
            silent_seconds: after such a silence a run is over.
            gone_seconds: after such a silence it is where whoever wrote it is seen to be gone.
        """
        for run in self.runs.values():
            if run.session is None:
                continue
            if run.silent_seconds >= silent_seconds:
                why = "its event files are silent"
            elif run.silent_seconds >= gone_seconds and run.deserted:
                why = "its event files are silent, and the process that wrote them is gone"
            else:
                continue
            run.finish(why)

    def finish(self) -> bool:
        """Complete every session; whether all of what was read is stored."""
        return sum(run.finish() for run in self.runs.values()) == len(self.runs)

    def leave(self) -> bool:
        """Send what waits and leave the sessions open, for a follower that comes later."""
        sessions = [session for run in self.runs.values() if (session := run.rest())]
        return sum(session.flush(FLUSH_SECONDS) for session in sessions) == len(sessions)
