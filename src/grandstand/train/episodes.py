"""The account of finished episodes: numbering, windows over the last ten, best so far."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from grandstand.train.household_kernels import FINISHED, Floats, Records
from grandstand.train.trainer import EpisodeColumns

WINDOW = 10


class EpisodeBook:
    """Turns the kernel's finished episodes into numbered columns.

    Episodes that began in the middle (the batch starts out of phase) are lived and learned from,
    but neither counted nor reported: their return is not that of an episode.

    Attributes:
        count: episodes counted so far, at most `limit`.
        best: best return so far, -inf before the first.
    """

    def __init__(self, limit: int, *, with_goals: bool) -> None:
        self.limit = limit
        self.count = 0
        self.best = -np.inf
        self._with_goals = with_goals
        self._names = [name for name in FINISHED.names or () if name not in ("month", "whole")]
        self._last = {name: np.full(WINDOW - 1, np.nan) for name in self._names}

    def add(self, finished: Records, started: float, seconds: float, months: int) -> EpisodeColumns:
        """Count the episodes finished in one rollout.

        Args:
            finished: rows of `FINISHED` in the order they ended.
            started: seconds of training before this rollout.
            seconds: seconds the rollout took, spread evenly over its months.
            months: months of the rollout.
        """
        rows = finished[finished["whole"] == 1][: self.limit - self.count]
        episode = np.arange(self.count + 1, self.count + 1 + len(rows))
        self.count += len(rows)
        means = {name: self._window(name, rows[name].astype(np.float64)) for name in self._names}
        total = rows["total"].copy()
        best = np.maximum.accumulate(np.concatenate([[self.best], total]))[1:]
        if len(rows):
            self.best = float(best[-1])
        wealth = rows["cash"] + rows["portfolio"]
        extra = {
            "avg_duration": means["length"],
            "avg_cash": means["cash"],
            "avg_invested": means["invested"],
            "stability": means["stability"],
            "goal_adherence": means["adherence"],
            "portfolio": rows["portfolio"].copy(),
            "consumption": rows["consumed"].copy(),
            "wealth": wealth,
            "return_per_month": rows["rate_mean"].copy(),
            "sharpe": rows["sharpe"].copy(),
        }
        if not self._with_goals:
            del extra["goal_adherence"]
        return EpisodeColumns(
            episode=episode,
            current_reward=total,
            average_reward=means["total"],
            best_reward=best,
            episode_length=rows["length"].copy(),
            training_time_elapsed=started + seconds * (rows["month"] + 1) / months,
            extra=extra,
        )

    def _window(self, name: str, values: Floats) -> Floats:
        """Means over up to `WINDOW` values, each window summed afresh so that a cut changes
        nothing."""
        joined = np.concatenate([self._last[name], values])
        self._last[name] = joined[len(joined) - (WINDOW - 1) :].copy()
        if not len(values):
            return values
        return np.asarray(np.nanmean(sliding_window_view(joined, WINDOW), axis=1))

    def state_dict(self) -> dict[str, object]:
        """Counters and windows."""
        windows = {name: values.tolist() for name, values in self._last.items()}
        return {"count": self.count, "best": self.best, "windows": windows}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from there."""
        self.count = int(state["count"])  # type: ignore[call-overload]
        self.best = float(state["best"])  # type: ignore[arg-type]
        windows: dict[str, list[float]] = state["windows"]  # type: ignore[assignment]
        self._last = {name: np.array(values) for name, values in windows.items()}
