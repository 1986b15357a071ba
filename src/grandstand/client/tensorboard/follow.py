"""A log directory, followed: each folder with event files is reported as a session."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from grandstand.client.client import Client
from grandstand.client.session import Session
from grandstand.client.tensorboard.events import Entry, EventFile
from grandstand.clock import Clock, SystemClock

log = logging.getLogger("grandstand.client")

PATTERN = "*tfevents*"
LOOK_SECONDS = 0.5
SILENT_SECONDS = 600.0
FLUSH_SECONDS = 60.0

ALSO = {
    "charts/episodic_return": "current_reward",
    "charts/episodic_length": "episode_length",
    "charts/learning_rate": "learning_rate",
    "rollout/ep_rew_mean": "average_reward",
    "train/learning_rate": "learning_rate",
    "train/loss": "loss_value",
}
"""Names of a metrics record under which a tag is stored too; docs/integrations.md has the table."""
EPISODE = "charts/episodic_return"
"""Each value of this tag is an episode."""
HYPERPARAMETERS = ("hyperparameters", "hyperparameters/text_summary")
_ROW = re.compile(r"^\|(?P<name>[^|]*)\|(?P<value>.*)\|\s*$")


def hyperparameters(table: str) -> dict[str, str]:
    """The rows of a Markdown table of two columns, its head aside."""
    found = [m for line in table.splitlines() if (m := _ROW.match(line.strip()))]
    pairs = [(m["name"].strip(), m["value"].strip()) for m in found[2:]]
    return {name: value for name, value in pairs if name}


class Run:
    """One folder of event files and the session it becomes.

    The files are read from their beginning by every follower. Each value is sent under a key made
    of its file and offset, so what an earlier follower reported is not stored again.

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
        self._files: dict[str, EventFile] = {}
        self._episode = 0

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been appended."""
        return self._clock.monotonic() - self._heard

    def look(self, client: Client) -> int:
        """Report what was appended since the last look; how many values that were.

        Raises:
            GrandstandError: the server refuses the session.
            OSError: a file cannot be read.
        """
        news: list[tuple[str, Entry]] = []
        for path in sorted(self.folder.glob(PATTERN)):
            file = self._files.setdefault(path.name, EventFile(path))
            if path.stat().st_size > file.offset:
                news.extend((path.name, entry) for entry in file.news())
        if not news:
            return 0
        self._heard = self._clock.monotonic()
        if self.session is None:
            self.session = self._open(client, news)
        for name, entry in news:
            self._report(self.session, name, entry)
        return len(news)

    def _open(self, client: Client, news: list[tuple[str, Entry]]) -> Session:
        config: dict[str, Any] = {}
        for _, entry in news:
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

    def _report(self, session: Session, file: str, entry: Entry) -> None:
        if isinstance(entry.value, str):
            return
        if entry.tag == EPISODE:
            self._episode += 1
        columns: dict[str, Any] = {
            "episode": [self._episode],
            "timestamp": [datetime.fromtimestamp(entry.wall_time, UTC)],
        }
        if entry.step >= 0:
            columns["step"] = [entry.step]
        if entry.tag in ALSO:
            columns[ALSO[entry.tag]] = [entry.value]
        session.columns(
            columns,
            extra={entry.tag: [entry.value]},
            key=f"{file}@{entry.offset}.{entry.index}",
        )
        self.reported += 1


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
        """Report what is new in all runs; how many values that were.

        Raises:
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
        """Look again and again; a run silent for `silent_seconds` is completed. Never returns.

        A run that goes on after all is opened again.
        """
        while True:
            self.look()
            for run in self.runs.values():
                if run.session is not None and run.silent_seconds >= silent_seconds:
                    run.session.finish("completed", "its event files are silent")
                    run.session = None
            self._clock.wait(LOOK_SECONDS)

    def finish(self) -> bool:
        """Complete every session; whether all of what was read is stored."""
        done = True
        for run in self.runs.values():
            if run.session is not None:
                done = run.session.flush(FLUSH_SECONDS) and done
                done = run.session.finish("completed") and not run.session.dropped and done
                run.session = None
        return done

    def leave(self) -> bool:
        """Send what waits and leave the sessions open, for a follower that comes later."""
        sessions = [run.session for run in self.runs.values() if run.session]
        return sum(session.flush(FLUSH_SECONDS) for session in sessions) == len(sessions)
