"""What a trainer is: an iterator with a state. It knows nothing of network, disk or pause."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from grandstand.errors import NotFound, Unavailable, ValidationFailed
from grandstand.insight.decision import Decision as Decision
from grandstand.model.scenarios import HOUSEHOLD_ALGORITHMS, SB3_ALGORITHMS, Scenario

Column = NDArray[Any]
ENTRY_POINTS = "grandstand.trainers"
RANKS = "GRANDSTAND_RANKS"
"""A variable: `ray` where the other ranks of a training are to be tasks of a Ray cluster."""
INSTALL_SB3 = "pip install 'grandstand[sb3]'"


@dataclass(frozen=True)
class EpisodeColumns:
    """The episodes finished in one update, one row each, columns of equal length.

    Returns are undiscounted sums of the task's reward; `average_reward`, `best_reward` and the
    columns of `extra` look back over the last 10 finished episodes, as docs/design/learning.md
    says.
    """

    episode: Column
    """1-based, without a gap over the whole run."""
    current_reward: Column
    """The episode's return."""
    average_reward: Column
    """Mean return of the last 10."""
    best_reward: Column
    """Best return so far."""
    episode_length: Column
    """Steps (months)."""
    training_time_elapsed: Column
    """Seconds of training, pauses left out."""
    extra: Mapping[str, Column] = field(default_factory=dict)
    """Further columns by name, e.g. avg_duration, avg_cash, stability."""

    def __len__(self) -> int:
        return len(self.episode)

    def columns(self) -> dict[str, list[float | int]]:
        """All columns by name as plain lists, `extra` beside the rest."""
        named = {
            "episode": self.episode,
            "current_reward": self.current_reward,
            "average_reward": self.average_reward,
            "best_reward": self.best_reward,
            "episode_length": self.episode_length,
            "training_time_elapsed": self.training_time_elapsed,
            **self.extra,
        }
        return {name: column.tolist() for name, column in named.items()}


class Diverged(ArithmeticError):
    """Losses or weights became NaN or infinite and nothing helped; the run has failed."""


class GaveWay(Exception):
    """A trainer left an update unfinished because it was asked to: nothing of it has happened."""


class RankLost(Unavailable):
    """One of the processes that train together is gone or does not answer.

    Nothing more comes of this trainer; a new one goes on from a checkpoint.
    """

    default_code = "rank_lost"


class RanksDiffer(ArithmeticError):
    """Ranks hold other weights than rank 0; what they learn together means nothing any more."""


class Decisions(Protocol):
    """Decisions of one environment in one update, in order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Decision: ...


@dataclass(frozen=True)
class DecisionColumns:
    """The months of the one household that is followed, in one rollout; columns of equal length."""

    episode: Column
    """The number the running episode would get if it ended now."""
    month: Column
    """1..max_months."""
    max_months: int
    invest: Column
    """Share of income, 0..1; the three shares sum to 1."""
    save: Column
    consume: Column
    state_value: Column
    """The critic's estimate of the return still to come, in units of the return."""
    goal_share: Column
    """The Strategist's target for `invest`, 0..1 (NaN for a flat policy)."""
    goal_buffer: Column
    """The cash the Strategist wants kept, euros (NaN for a flat policy)."""
    cash_after: Column
    """Cash at the month's end, euros."""
    confidence: Column
    """Probability that another draw from the policy lies, in both its numbers, within a quarter of
    the monthly surplus of the action it likes best: near 0 for a policy that tries everything, near
    1 for one that has made up its mind."""

    def __len__(self) -> int:
        return len(self.month)

    def __getitem__(self, index: int) -> Decision:
        i = range(len(self.month))[index]
        shares = {
            "invest": float(self.invest[i]),
            "save": float(self.save[i]),
            "consume": float(self.consume[i]),
        }
        extra = {
            "month": int(self.month[i]),
            "max_months": int(self.max_months),
            "cash_after": float(self.cash_after[i]),
            "goal_share": float(self.goal_share[i]),
            "goal_buffer": float(self.goal_buffer[i]),
        }
        return Decision(
            shares,
            selected=max(shares, key=shares.__getitem__),
            value=float(self.state_value[i]),
            confidence=float(self.confidence[i]),
            episode=int(self.episode[i]),
            extra={k: v for k, v in extra.items() if v == v},  # a flat policy has no goals: NaN
        )


@dataclass(frozen=True)
class Frame:
    """A picture of the agent at play."""

    image: bytes
    """JPEG or WebP, at most 256 KiB."""
    media_type: str
    """`image/jpeg` or `image/webp`."""
    width: int
    height: int
    """Pixels."""
    episode: int
    """The number the running episode would get if it ended now."""
    step: int
    """Environment steps lived so far, as in `Update`."""
    ret: float
    """The episode's return so far."""


@dataclass(frozen=True)
class Update:
    """What one turn of a trainer reports."""

    update: int
    """1-based number of this update."""
    step: int
    """Environment steps lived so far, all environments together."""
    episodes: EpisodeColumns
    scalars: Mapping[str, float]
    """Losses and diagnostics by name, e.g. `low/policy_loss`, `steps_per_second`."""
    decisions: Decisions | None = None
    frame: Frame | None = None
    """How it looks now; at most ten a second of wall time."""


class Trainer(Protocol):
    """An iterator of updates with a state; a trainer that continues from it goes on as if never
    cut.

    Stopping is not asking for the next item. `state_dict` is taken between two items. A trainer
    that cannot go on number for number says so with an attribute `exact = False`. One that can
    show what it has learned has a method `play() -> list[Decision]`, see `train/playing.py`. One
    whose updates take long has an attribute `give_way: Callable[[], bool]`, to be set by whoever
    runs it; the trainer asks it now and then within an update, and where it says True, goes back to
    where the update began and raises `GaveWay`.
    """

    num_episodes: int
    """Finished episodes after which the iteration ends."""

    @property
    def episodes_done(self) -> int:
        """Finished episodes counted so far."""

    def __iter__(self) -> Iterator[Update]: ...

    def __next__(self) -> Update: ...

    def state_dict(self) -> dict[str, Any]:
        """All that an exact continuation needs: tensors and plain values, copies of their own."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            Conflict: the state belongs to another scenario, configuration or thread count.
        """

    def models(self) -> dict[str, dict[str, Any]]:
        """The agents as they are now, by file stem (`high_agent`, `low_agent`, or `agent`): what it
        takes to act, as copies, tensors and plain values."""


def sb3_missing(error: ModuleNotFoundError) -> Unavailable:
    """What to say when Stable-Baselines3 is asked for and not there."""
    return Unavailable(
        f"the part for Gymnasium environments is not installed ({error.name} is missing)",
        code="training_unavailable",
        detail=f"Install it with: {INSTALL_SB3}",
        details={"command": INSTALL_SB3},
    )


def make_trainer(
    scenario: Scenario,
    *,
    num_episodes: int | None = None,
    seed: int = 0,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    start_bias: tuple[float, float] | None = None,
) -> Trainer:
    """The trainer that the scenario's `training.algorithm` names.

    Args:
        scenario: the task.
        num_episodes: episodes to count; None takes the scenario's.
        seed: any integer; the same seed gives the same curve.
        device: `auto` or `cpu`; for Stable-Baselines3 also `cuda`. The built-in networks are too
            small to gain from a GPU.
        overrides: replaces values of the scenario (see `Scenario.with_overrides`).
        start_bias: where the policy's two numbers (invest, consume; in monthly surpluses) start;
            None takes the scenario's.

    Raises:
        ValidationFailed: a value is out of bounds.
        NotFound: no trainer of that name is installed.
        Unavailable: it is one of Stable-Baselines3, which is not installed; or not all of
            `training.ranks` came (`RankLost`).

    What has a `close` is to be closed at the end (`close_trainer`).
    """
    changes = dict(overrides or {})
    if num_episodes is not None:
        changes["num_episodes"] = num_episodes
    scenario = scenario.with_overrides(changes)
    start_bias = start_bias or scenario.training.start_bias
    name = scenario.training.algorithm
    if name in SB3_ALGORITHMS:
        try:
            from grandstand.train.sb3 import Sb3Trainer
        except ModuleNotFoundError as error:
            raise sb3_missing(error) from error
        return Sb3Trainer(scenario, seed=seed, device=device)
    if device not in ("auto", "cpu"):
        raise ValidationFailed(
            f"device is {device!r}, but it should be 'auto' or 'cpu'",
            detail="The built-in networks are so small that a GPU would slow them down.",
            details={"errors": [{"field": "device", "value": device}]},
        )
    if name in HOUSEHOLD_ALGORITHMS:
        from grandstand.train.hierarchy import START_BIAS, HouseholdTrainer

        if scenario.training.ranks > 1:
            from grandstand.train.group import GroupTrainer

            more: dict[str, Any] = {}
            if os.environ.get(RANKS) == "ray":
                from grandstand.train.ray_ranks import RayRanks

                ranks = RayRanks(scenario.training.ranks)
                more = {"launch": ranks, "address": ranks.address()}
            return GroupTrainer(scenario, seed=seed, start_bias=start_bias or START_BIAS, **more)
        return HouseholdTrainer(
            scenario, seed=seed, two_levels=name != "ppo", start_bias=start_bias or START_BIAS
        )
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        raise NotFound(
            f"There is no trainer called {name!r}.",
            code="algorithm_not_found",
            detail=f"Known: {', '.join(HOUSEHOLD_ALGORITHMS + SB3_ALGORITHMS)}, and what installed "
            f"packages add under the entry points {ENTRY_POINTS!r}.",
            details={"algorithm": name},
        )
    build = cast(Callable[..., Trainer], next(iter(found)).load())
    return build(scenario, seed=seed, device=device, start_bias=start_bias)


def close_trainer(trainer: Trainer) -> None:
    """Let go of what a trainer holds besides memory: the other ranks' processes."""
    if (close := getattr(trainer, "close", None)) is not None:
        close()
