"""When checkpoints are taken and written, and from which one a worker goes on.

A checkpoint must never be newer than what the server has stored, or the rows between would be lost
with the worker. So its content is captured at an update's boundary, and written once the server has
acknowledged everything reported up to there; training goes on meanwhile. A run that goes back
further than it had to reports the same rows again, under the same keys.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from grandstand.client.session import Session
from grandstand.errors import NotFound
from grandstand.model.checkpoints import FOLDER, checkpoint_name, newest_whole, prune
from grandstand.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from grandstand.train.trainer import Update
    from grandstand.worker.uploads import Uploads

log = logging.getLogger("grandstand.worker")

SHARE = 0.02
"""Most of the training's time that checkpoints take where every update would bring one."""


class Content(NamedTuple):
    """What a checkpoint holds, captured at an update's boundary."""

    episode: int
    step: int
    state: dict[str, Any]
    """All that an exact continuation needs: the trainer's, the stopping rules', the best models."""
    models: dict[str, dict[str, Any]]
    history: dict[str, list[Any]]


class History:
    """One row for each update, for the history file beside the models."""

    COLUMNS = (
        "update",
        "episode",
        "step",
        "current_reward",
        "average_reward",
        "best_reward",
        "episode_length",
        "training_time_elapsed",
    )

    def __init__(self, columns: Mapping[str, list[Any]] | None = None) -> None:
        told = columns or {}
        self.columns: dict[str, list[Any]] = {
            name: list(told.get(name, ())) for name in self.COLUMNS
        }

    def add(self, update: Update) -> None:
        """Note an update: means over its episodes, the last of running figures."""
        rows = update.episodes
        if not len(rows):
            return
        row = {
            "update": update.update,
            "episode": int(rows.episode[-1]),
            "step": update.step,
            "current_reward": round(float(rows.current_reward.mean()), 6),
            "average_reward": round(float(rows.average_reward[-1]), 6),
            "best_reward": round(float(rows.best_reward[-1]), 6),
            "episode_length": round(float(rows.episode_length.mean()), 3),
            "training_time_elapsed": round(float(rows.training_time_elapsed[-1]), 3),
        }
        for name, value in row.items():
            self.columns[name].append(value)

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        aside = path.with_name(f".{path.name}.part")
        aside.write_text(json.dumps(self.columns), encoding="utf-8")
        aside.replace(path)


class Checkpoints:
    """The checkpoints of one session.

    Args:
        folder: the session's; they lie in `checkpoints/` below it.
        session: told of each checkpoint, and asked what is stored.
        every: a checkpoint is due at the first boundary at or after each multiple of so many
            episodes. Where updates bring that many each, only as many are taken as cost no more
            than `SHARE` of the time.
        keep: how many of the newest stay, beside the one with the best mean return.
        metadata: what each carries besides its numbers.
        uploads: sends each to the server, where that is another machine.
    """

    def __init__(
        self,
        folder: Path,
        session: Session,
        *,
        every: int,
        keep: int,
        metadata: Mapping[str, Any],
        uploads: Uploads | None = None,
    ) -> None:
        self.root = folder / FOLDER
        self._session = session
        self._every = every
        self._keep = keep
        self._metadata = dict(metadata)
        self._uploads = uploads
        self._captured: tuple[threading.Event, Content] | None = None
        self._last = self._boundaries = 0
        self._cost = self._written_at = 0.0
        self._best: tuple[float, int] | None = None

    def find(self, resume_from: Mapping[str, Any] | None) -> Checkpoint | None:
        """The newest whole checkpoint of this session, else the one it is to begin from, if any.

        Raises:
            NotFound: it is to begin from a checkpoint that is not there.
            ValidationFailed: that one is damaged.
        """
        found = newest_whole(self.root)
        for name in found.damaged:
            log.warning("passed over a checkpoint: %s", name)
            self._session.event("checkpoint_damaged", message=f"passed over {name}")
        if found.path is not None:
            checkpoint = load_checkpoint(found.path)
            self._last = checkpoint.episode
            best = checkpoint.metadata.get("best")
            self._best = (float(best[0]), int(best[1])) if best else None
            return checkpoint
        if not resume_from:
            return None
        source = Path(resume_from["folder"]) / FOLDER
        number = resume_from.get("checkpoint")
        if number is not None:
            checkpoint = load_checkpoint(source / checkpoint_name(int(number)))
        else:
            newest = newest_whole(source).path
            if newest is None:
                raise NotFound(
                    f"session {resume_from.get('session_id')} has no whole checkpoint",
                    code="checkpoint_not_found",
                )
            checkpoint = load_checkpoint(newest)
        self._last = checkpoint.episode
        return checkpoint

    def at_boundary(self, done: int, capture: Callable[[], Content]) -> None:
        """Capture one if it is due, and write the captured one if the server is that far.

        Args:
            done: episodes so far.
            capture: gives the present content.
        """
        due = done // self._every > self._last // self._every
        self._boundaries += 1
        if done - self._last >= self._every * self._boundaries:
            due = due and perf_counter() - self._written_at >= self._cost / SHARE
        if due and self._captured is None:
            self._captured = self._session.mark(), capture()
            self._last, self._boundaries = done, 0
        if self._captured is not None and self._captured[0].is_set():
            self._write(self._captured[1])

    def now(self, capture: Callable[[], Content], timeout: float) -> bool:
        """Take one at once, waiting for the server; everything up to here has been reported.

        Args:
            capture: gives the present content.
            timeout: most seconds to wait for the server to have stored everything, and as many
                again for the checkpoint to have reached it where it has to travel.

        Returns:
            False when it did not; then one before it has to do.
        """
        if not self._session.flush(timeout):
            return False
        content = capture()
        self._write(content)
        self._last, self._boundaries = content.episode, 0
        return self._uploads is None or self._uploads.wait(timeout)

    def _write(self, content: Content) -> None:
        self._captured = None
        if self._session.ended is not None:
            return  # what led here may not be stored
        self._note_best(content)
        began = perf_counter()
        metadata = {**self._metadata, "step": content.step, "best": self._best}
        try:
            path = save_checkpoint(
                self.root,
                content.episode,
                content.state,
                content.models,
                metadata,
                content.history,
            )
            prune(self.root, keep_last=self._keep, best=self._best[1] if self._best else None)
        except OSError as error:
            # A full disk is no reason to end a training; the ones before stay whole.
            log.error("checkpoint %d could not be written: %s", content.episode, error)
            self._failed(content.episode, str(error))
            return
        finally:
            self._written_at = perf_counter()
            self._cost = self._written_at - began
        taken = {
            "episode": content.episode,
            "step": content.step,
            "folder": path.name,
            "bytes": sum(file.stat().st_size for file in path.iterdir()),
            "average_reward": self._average(content),
        }
        if self._uploads is None:
            self._taken(taken)
        else:
            self._uploads.offer(path, content.episode, lambda refused: self._sent(taken, refused))

    def _sent(self, taken: Mapping[str, Any], refused: str | None) -> None:
        """It has reached the server, or was refused; said by the thread that sends."""
        if refused is None:
            self._taken(taken)
        else:
            log.error("the server did not keep checkpoint %d: %s", taken["episode"], refused)
            self._failed(taken["episode"], refused)

    def _taken(self, taken: Mapping[str, Any]) -> None:
        self._session.event("checkpoint", key=f"checkpoint {taken['episode']}", **taken)

    def _failed(self, episode: int, why: str) -> None:
        self._session.event("checkpoint_failed", episode=episode, message=why[:500])

    def _note_best(self, content: Content) -> None:
        average = self._average(content)
        if average is not None and (self._best is None or average > self._best[0]):
            self._best = (average, content.episode)

    @staticmethod
    def _average(content: Content) -> float | None:
        averages = content.history["average_reward"]
        return averages[-1] if averages else None
