"""From a trainer's update to records: all at once, or spread over time so that people can watch.

Every record carries a key made of the update's number, so that a run that goes back to a checkpoint
reports the same rows under the same keys and nothing is stored twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from grandstand.client.session import Session
from grandstand.clock import Clock

if TYPE_CHECKING:
    from grandstand.insight.decision import Decision
    from grandstand.train.trainer import Update

SLICES_PER_SECOND = 4.0
DECISIONS_PER_SECOND = 10.0
FIELDS = (
    "episode",
    "current_reward",
    "average_reward",
    "best_reward",
    "episode_length",
    "training_time_elapsed",
)
"""The columns that are documented fields of a metrics record; all others go to `extra`."""


class Delivery(NamedTuple):
    """One record to send, and when: seconds on the clock."""

    due: float
    send: Callable[[], None]


class Reports:
    """Sends updates to a session.

    Args:
        session: where they go.
        clock: for the pace.
        pace: episodes a second to show; None sends each update as soon as it is there.
        total_episodes: planned, told with every row.
        stored_until: episodes up to this one are stored already and need no pace.
        pass_name: begins every key; for a trainer that does not repeat itself exactly, whose second
            pass over an update is other news than the first.
    """

    def __init__(
        self,
        session: Session,
        clock: Clock,
        *,
        pace: float | None,
        total_episodes: int,
        stored_until: int = 0,
        pass_name: str = "",
    ) -> None:
        self._session = session
        self._clock = clock
        self._pace = pace
        self._total = total_episodes
        self._stored_until = stored_until
        self._pass = pass_name
        self._waiting: deque[Delivery] = deque()
        self._free_at = 0.0
        self.episode = stored_until
        """The newest episode that was sent."""

    def add(self, update: Update) -> None:
        """Plan the records of an update; they are sent by `send_due` or `send_all`."""
        if (frame := getattr(update, "frame", None)) is not None:
            self._session.frame(
                frame.image, episode=frame.episode, step=frame.step, value=frame.ret
            )
        columns = update.episodes.columns()
        rows = len(columns["episode"])
        if self._pace is None:
            if rows:
                self._rows(columns, 0, rows, f"{self._pass}update {update.update}")
            self._scalars(update, columns)
            if decisions := update.decisions:
                last = len(decisions) - 1
                self._decision(
                    decisions[last], f"{self._pass}update {update.update} decision {last}"
                )
            return
        # What was slept and what was computed overlap: the pace is kept, not added to.
        pace = self._pace
        columns["training_time_elapsed"] = [
            max(elapsed, episode / pace)
            for elapsed, episode in zip(
                columns["training_time_elapsed"], columns["episode"], strict=True
            )
        ]
        begin = max(self._clock.monotonic(), self._free_at)
        planned = [
            *self._planned_rows(columns, begin, pace, update.update),
            *self._planned_decisions(update, begin, self._shown(columns) / pace),
        ]
        self._free_at = begin + self._shown(columns) / pace
        planned.sort(key=lambda delivery: delivery.due)
        planned.append(Delivery(self._free_at, partial(self._scalars, update, columns)))
        self._waiting.extend(planned)

    @property
    def next_due(self) -> float | None:
        """When the next record is due, None when all are sent."""
        return self._waiting[0].due if self._waiting else None

    def send_due(self) -> None:
        """Send what is due by now."""
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0].due <= now:
            self._waiting.popleft().send()

    def send_all(self) -> None:
        """Send everything planned, due or not: it has happened and must not be lost."""
        while self._waiting:
            self._waiting.popleft().send()
        self._free_at = 0.0

    def shift(self, seconds: float) -> None:
        """Put off what is planned, after a pause."""
        self._free_at += seconds
        self._waiting = deque(Delivery(due + seconds, send) for due, send in self._waiting)

    def _shown(self, columns: dict[str, list[Any]]) -> int:
        """How many rows are news."""
        return sum(episode > self._stored_until for episode in columns["episode"])

    def _planned_rows(
        self, columns: dict[str, list[Any]], begin: float, pace: float, update: int
    ) -> Iterator[Delivery]:
        rows = len(columns["episode"])
        old = rows - self._shown(columns)
        size = max(1, round(pace / SLICES_PER_SECOND))
        for a in range(0, rows, size):
            b = min(a + size, rows)
            key = f"{self._pass}update {update} rows {a}-{b}"
            yield Delivery(begin + max(b - old, 0) / pace, partial(self._rows, columns, a, b, key))

    def _planned_decisions(
        self, update: Update, begin: float, seconds: float
    ) -> Iterator[Delivery]:
        decisions = update.decisions
        if not decisions:
            return
        count = min(len(decisions), max(1, int(seconds * DECISIONS_PER_SECOND)))
        first = len(decisions) - count
        for i in range(count):
            key = f"{self._pass}update {update.update} decision {first + i}"
            yield Delivery(
                begin + seconds * (i + 1) / count,
                partial(self._decision, decisions[first + i], key),
            )

    def _rows(self, columns: dict[str, list[Any]], a: int, b: int, key: str) -> None:
        fields = {name: columns[name][a:b] for name in FIELDS}
        fields["total_episodes"] = [self._total] * (b - a)
        extra = {name: column[a:b] for name, column in columns.items() if name not in FIELDS}
        self._session.columns(fields, extra=extra, key=key)
        self.episode = max(self.episode, int(columns["episode"][b - 1]))

    def _scalars(self, update: Update, columns: dict[str, list[Any]]) -> None:
        episodes = columns["episode"]
        if episodes:
            self.episode = max(self.episode, int(episodes[-1]))
        self._session.scalars(
            update.scalars,
            episode=self.episode,
            step=update.step,
            key=f"{self._pass}update {update.update} scalars",
        )

    def _decision(self, decision: Decision, key: str) -> None:
        self._session.decision(**decision.told(), key=key)
