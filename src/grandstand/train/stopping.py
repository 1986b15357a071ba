"""When a training ends before all its episodes are done: what was asked for, and whether it holds.

A trainer gives one update after another; `EarlyStopping` looks at each and says which rule, if any,
ends the run. Its state belongs into the checkpoint, so that a run that was cut stops where an
uninterrupted one does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from grandstand.model.stopping import StoppingRules

if TYPE_CHECKING:
    from grandstand.train.trainer import Update


class Ending(NamedTuple):
    """Why a run ends before its last episode.

    Attributes:
        rule: ``plateau``, ``target`` or ``max_seconds``.
        reason: a sentence for people.
    """

    rule: str
    reason: str


class EarlyStopping:
    """Looks at every update of one run.

    Attributes:
        best_mean: best mean return of an update's finished episodes, -inf before the first.
        best_step: environment steps at that update.
        improved: whether the last update seen was the best so far.
    """

    def __init__(self, rules: StoppingRules) -> None:
        self._rules = rules
        self._recent: deque[float] = deque(maxlen=rules.target.window if rules.target else 1)
        self.best_mean = -math.inf
        self.best_step = 0
        self.improved = False

    def look(self, update: Update) -> Ending | None:
        """The rule that ends the run after this update; None when it goes on."""
        rules, rows = self._rules, update.episodes
        least = rules.plateau.min_delta if rules.plateau else 0.0
        self.improved = False
        if len(rows):
            mean = float(rows.current_reward.mean())
            if mean > self.best_mean + (least if math.isfinite(self.best_mean) else 0.0):
                self.best_mean, self.best_step, self.improved = mean, update.step, True
            self._recent.extend(rows.current_reward.tolist()[-(self._recent.maxlen or 1) :])
        if rules.target is not None and len(self._recent) == rules.target.window:
            mean = math.fsum(self._recent) / len(self._recent)
            if mean >= rules.target.mean_return:
                return Ending(
                    "target",
                    f"the mean return of {rules.target.window} episodes reached {mean:.4g}, "
                    f"{rules.target.mean_return:.4g} was asked for",
                )
        if rules.plateau is not None:
            waited = update.step - self.best_step
            if waited >= rules.plateau.patience_steps:
                return Ending(
                    "plateau",
                    f"no better mean return for {waited:,} steps (best {self.best_mean:.4g})",
                )
        if rules.max_seconds is not None and len(rows):
            seconds = float(rows.training_time_elapsed[-1])
            if seconds >= rules.max_seconds:
                return Ending("max_seconds", f"{seconds:.0f} s of training have passed")
        return None

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {
            "best_mean": self.best_mean,
            "best_step": self.best_step,
            "recent": list(self._recent),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        self.best_mean, self.best_step = state["best_mean"], state["best_step"]
        self._recent.clear()
        self._recent.extend(state["recent"])
