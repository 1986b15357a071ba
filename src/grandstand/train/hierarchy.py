"""Two-level PPO on the household: a Strategist sets goals, an Executor splits each month's income.

After HiPPO (Li et al., Sub-policy adaptation for hierarchical reinforcement learning, arXiv
1906.05862) and the semi-MDP view of DAC (Zhang and Whiteson, arXiv 1904.12691). Every `high_period`
months, counted from the start of its episode, a household's Strategist sets a goal; the Executor
sees the goal beside its own inputs and is paid a little for keeping to it. Both levels learn from
the same fresh rollout, so nothing is stale and nothing needs relabelling. `two_levels=False` is
flat PPO: the same Executor without goals.

One turn of the iterator is one update: live `rollout_months` in every household (`_roll`), estimate
advantages and learn (`_learn`), report. Everything random comes from two places, the households'
own counters and one torch generator, so a state taken between two updates continues exactly.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

from grandstand.errors import Conflict
from grandstand.insight.decision import Decision
from grandstand.model.scenarios import Scenario, scenario_hash
from grandstand.train import household_kernels as kernels
from grandstand.train.episodes import EpisodeBook
from grandstand.train.household_kernels import AGGREGATES, FINISHED, GOALS, INPUTS, Records
from grandstand.train.household_numbers import Household, spread_seed
from grandstand.train.playing import play
from grandstand.train.policy import agent_file
from grandstand.train.ppo import Level, PPOSettings
from grandstand.train.trainer import DecisionColumns, Diverged, GaveWay, RanksDiffer, Update

if TYPE_CHECKING:
    from grandstand.train.ranks import Ranks

START_BIAS = (0.5, 0.3)
"""Where the Executor's two numbers start: half the surplus invested, three tenths consumed."""
GOAL_BIAS = (0.5, 0.5, 0.5)
LAST_WEIGHT = 0.25
"""What is left, at the end of the run, of the weight of keeping to the goal; it falls in proportion
to the episodes done."""
CONFIDENT_WITHIN = 0.25
BAD_IN_A_ROW = 3
"""Updates with a gradient that is no number before the networks go back to the last good ones."""
MOST_RETURNS = 3
"""How often they may go back before the run is given up."""


def default_environments(num_episodes: int) -> int:
    """Households side by side: a power of two from 4 to 512, some sixty episodes for each.

    Few episodes want few environments: updates, not rows, are what a short run lacks.
    """
    return 1 << min(max(int(math.log2(max(num_episodes / 60.0, 1.0))), 2), 9)


class HouseholdTrainer:
    """Trains a policy on a household scenario; see the module.

    With `ranks` it is one of several that train the same policy, each living its share of the
    households; then all of them are made, asked for updates and states, and loaded together
    (docs/design/ranks.md).

    Attributes:
        scenario: with all overrides applied.
        num_episodes: episodes to count before the iteration ends.
        executor, strategist: the two levels; the second is None for flat PPO.
        step, updates: environment steps and updates so far.
        weight, mixing: share of the Executor's reward that is paid for keeping to the goal, at the
            start of the run and in the latest update.
        give_way: asked before each month and each step of learning whether the update is to be left
            unfinished, see `Trainer`. Not with ranks, which would have to agree.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int = 0,
        two_levels: bool = True,
        start_bias: tuple[float, float] = START_BIAS,
        ranks: Ranks | None = None,
    ) -> None:
        torch.set_num_threads(
            1
        )  # the networks are too small to share, and the server wants the rest
        config = scenario.training
        self.scenario = scenario
        self.num_episodes = config.num_episodes
        self.household = Household(scenario)
        self.generator = torch.Generator().manual_seed(spread_seed(seed))
        self.ranks = ranks
        self.give_way: Callable[[], bool] = lambda: False
        self.households = config.environments or default_environments(config.num_episodes)
        share = range(self.households) if ranks is None else ranks.share(self.households)
        self.count = len(share)
        self.months = config.rollout_months or 60
        self.weight = config.intrinsic_weight if two_levels else 0.0
        self.mixing = self.weight
        self.executor = Level(
            INPUTS + (GOALS if two_levels else 0),
            2,
            config.hidden_size,
            self._settings(config.learning_rate_low),
            bias=start_bias,
            log_std=-0.7,
            generator=self.generator,
        )
        self.strategist: Level | None = None
        if two_levels:
            self.strategist = Level(
                INPUTS + AGGREGATES,
                GOALS,
                config.hidden_size,
                self._settings(config.learning_rate_high),
                bias=GOAL_BIAS,
                log_std=-1.0,
                generator=self.generator,
            )
        if ranks is not None:  # the networks began alike; from here on each draws its own
            self.generator.manual_seed(ranks.seed(spread_seed(seed)))
        self.envs: Records = self.household.envs(self.count, spread_seed(seed) + share.start)
        kernels.begin_anywhere(self.household.rules, self.envs)
        self.book = EpisodeBook(config.num_episodes, with_goals=two_levels)
        self.step = 0
        self.updates = 0
        self.elapsed_seconds = 0.0
        self.bad_in_a_row = 0
        self.returns = 0
        self._good = self._level_states()
        self._make_buffers()

    def _settings(self, learning_rate: float) -> PPOSettings:
        config = self.scenario.training
        return PPOSettings(
            learning_rate=learning_rate,
            epochs=config.epochs,
            minibatches=config.minibatches,
            clip=config.clip,
            max_gradient_norm=config.max_gradient_norm,
            entropy_coefficient=config.entropy_coefficient,
        )

    def _house(self, households: int) -> None:
        """Make room for so many households on all ranks together."""
        self.households = households
        self.count = households if self.ranks is None else len(self.ranks.share(households))
        self.envs = self.household.envs(self.count, 0)
        self._make_buffers()

    def _make_buffers(self) -> None:
        """Room for one rollout: (T, N) a month and household, (T * N,) a decision."""
        months, count = self.months, self.count
        size = INPUTS + (GOALS if self.strategist else 0)
        self._inputs = torch.zeros(months + 1, count, size)
        self._z = torch.zeros(months, count, 2)
        self._rewards = np.zeros((months, count), np.float32)
        self._high_rewards = np.zeros((months, count), np.float32)
        self._ended = np.zeros((months, count), np.int64)
        self._rows = np.full((months, count), -1, np.int64)
        self._due = np.zeros(count, np.int64)
        self._finished = np.zeros(months * count, FINISHED)
        self._trace = np.zeros((months, 8))
        rows = months * count if self.strategist else 0
        self._high_inputs = torch.zeros(rows, INPUTS + AGGREGATES)
        self._high_z = torch.zeros(rows, GOALS)
        self._high_noise = torch.zeros(rows, GOALS)

    # --- The loop ---------------------------------------------------------------------------------

    @property
    def episodes_done(self) -> int:
        """Episodes counted so far."""
        return self.book.count

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        """Live one rollout, learn from it, report it.

        Raises:
            GaveWay: it was left unfinished; the next call does it again, number for number.
            Diverged: see `_guard`.
            RanksDiffer: see `_together`.
        """
        if self.book.count >= self.num_episodes:
            raise StopIteration
        before, generator = self.envs.copy(), self.generator.get_state()
        levels = self._level_states()
        try:
            return self._update(before)
        except GaveWay:
            self.envs[:] = before
            self.generator.set_state(generator)
            for name, level in self._levels().items():
                level.load_state_dict(levels[name])
            raise

    def _between(self) -> None:
        if self.ranks is None and self.give_way():
            raise GaveWay

    def _update(self, before: Records) -> Update:
        """One update; `before` are the households as they are now."""
        began = perf_counter()
        remaining = 1.0 - self.book.count / self.num_episodes
        running = self.book.count + 1
        self.mixing = self.weight * (LAST_WEIGHT + (1.0 - LAST_WEIGHT) * remaining)
        noise, ended_count, decisions_count = self._roll()
        lived = perf_counter() - began
        finished = self._finished[:ended_count]
        sound, decided = bool(np.isfinite(self._rewards).all()), decisions_count
        if self.ranks is not None:
            sound, decided, finished = self._together(self.ranks, sound, decided, finished)
        if sound:
            scalars, values = self._learn(noise, decisions_count, remaining, bool(decided))
            self._guard(scalars)
        else:  # not lived: households go back to where they were, the networks to good ones
            self.envs[:] = before
            finished, values = finished[:0], None
            scalars = {}
            self._go_back(scalars)
        for level in ("low", "high"):
            if not scalars.get(f"{level}/skipped_steps", 1.0):
                del scalars[f"{level}/skipped_steps"]  # a curve of nothing is no curve
        steps = self.months * self.households
        self.step += steps
        self.updates += 1
        seconds = perf_counter() - began
        episodes = self.book.add(finished, self.elapsed_seconds, lived, self.months)
        self.elapsed_seconds += seconds
        scalars["steps_per_second"] = steps / seconds
        return Update(
            update=self.updates,
            step=self.step,
            episodes=episodes,
            scalars=scalars,
            decisions=None if values is None else self._decisions(values, running, finished),
        )

    def _together(
        self, ranks: Ranks, sound: bool, decided: int, finished: Records
    ) -> tuple[bool, int, Records]:
        """What all ranks lived: whether all of it is sound, the goals set, the finished episodes.

        Raises:
            RanksDiffer: a rank has other weights than rank 0.
        """
        check = 0
        for level in self._levels().values():
            check = zlib.crc32(level.adam.values.numpy().tobytes(), check)
        table = ranks.table([sound, decided, len(finished), check])
        if len(apart := np.flatnonzero(table[:, 3] != table[0, 3])):
            raise RanksDiffer(
                f"rank {apart[0]} has other weights than rank 0 before update {self.updates + 1}; "
                "the training cannot be trusted from there on. All ranks need the same versions "
                "and the same kind of processor."
            )
        rows = np.concatenate(ranks.rows(finished, table[:, 2].astype(int).tolist()))
        rows = rows[np.argsort(rows["month"], kind="stable")]
        return bool(table[:, 0].all()), int(table[:, 1].sum()), rows

    def _roll(self) -> tuple[Tensor, int, int]:
        """Live `months` in every household; returns the Executor's noise and two counts."""
        rules, calendar, envs = self.household.rules, self.household.months, self.envs
        noise = torch.randn(self.months, self.count, 2, generator=self.generator)
        self._spread: list[float] = self.executor.log_std.detach().exp().tolist()
        seen, done, decided = self._inputs.numpy(), 0, 0
        for t in range(self.months):
            self._between()
            if self.strategist is not None:
                decided += self._set_goals(self.strategist, t, decided)
            kernels.look_low(rules, calendar, envs, seen[t])
            z = self.executor.act(self._inputs[t], noise[t])
            self._z[t] = z
            done = kernels.rollout_month(
                rules,
                calendar,
                envs,
                z.numpy(),
                self.mixing,
                t,
                self._rewards[t],
                self._high_rewards[t],
                self._ended[t],
                self._finished,
                done,
                self._trace[t],
            )
        kernels.look_low(rules, calendar, envs, seen[self.months])
        return noise, done, decided

    def _set_goals(self, strategist: Level, t: int, first: int) -> int:
        """Ask the Strategists whose period is over; returns how many there were."""
        due: int = kernels.open_decisions(
            self.household.rules,
            self.household.months,
            self.envs,
            self._high_inputs.numpy(),
            first,
            self._rows[t],
            self._due,
        )
        if due:
            rows = slice(first, first + due)
            noise = torch.randn(due, GOALS, generator=self.generator)
            goals = strategist.act(self._high_inputs[rows], noise)
            self._high_noise[rows] = noise
            self._high_z[rows] = goals
            kernels.set_goals(self.envs, self._due, due, goals.numpy())
        return due

    def _learn(
        self, noise: Tensor, decided: int, remaining: float, goals: bool
    ) -> tuple[dict[str, float], Tensor]:
        """Advantages and updates of both levels.

        Args:
            noise: the Executor's.
            decided: goals set here.
            remaining: share of the run still to come.
            goals: whether any were set, by whichever rank.

        Returns:
            Scalars and the Executor's values (T+1, N).
        """
        config = self.scenario.training
        flat = self._inputs.flatten(0, 1)
        values = self.executor.values(flat).view(self.months + 1, self.count)
        advantages = torch.empty(self.months, self.count)
        kernels.advantages(
            self._rewards,
            values.numpy(),
            self._ended,
            config.gamma_low,
            config.gae_lambda_low,
            advantages.numpy(),
        )
        rows = self.months * self.count
        report = self.executor.learn(
            flat[:rows],
            self._z.flatten(0, 1),
            noise.flatten(0, 1),
            advantages.flatten(),
            values[:-1].flatten(),
            remaining=remaining,
            generator=self.generator,
            ranks=self.ranks,
            between=self._between,
        )
        scalars = {f"low/{name}": value for name, value in report.items()}
        if self.strategist is not None and goals:
            report = self._learn_goals(self.strategist, decided, remaining)
            scalars |= {f"high/{name}": value for name, value in report.items()}
        return scalars, values

    def _learn_goals(self, strategist: Level, decided: int, remaining: float) -> dict[str, float]:
        config = self.scenario.training
        inputs = self._high_inputs[:decided]
        last = torch.zeros(self.count, INPUTS + AGGREGATES)
        kernels.look_high_all(self.household.rules, self.household.months, self.envs, last.numpy())
        values = strategist.values(inputs)
        advantages = torch.zeros(decided)
        kernels.period_advantages(
            self._high_rewards,
            self._rows,
            self._ended,
            values.numpy(),
            strategist.values(last).numpy(),
            config.gamma_high,
            config.gae_lambda_high,
            advantages.numpy(),
        )
        return strategist.learn(
            inputs,
            self._high_z[:decided],
            self._high_noise[:decided],
            advantages,
            values,
            remaining=remaining,
            generator=self.generator,
            ranks=self.ranks,
            between=self._between,
        )

    # --- What is reported -------------------------------------------------------------------------

    def _decisions(self, values: Tensor, running: int, finished: Records) -> DecisionColumns:
        """The rollout of household 0; its episode's number is what it would get if it ended now."""
        ends = finished["month"][finished["whole"] == 1]
        episode = running + np.searchsorted(ends, np.arange(self.months))
        trace = self._trace
        scale = float(self.household.rules["reward_scale"][0]) * (1.0 - self.mixing)
        to_come = values[:-1, 0].numpy().astype(np.float64) / max(scale, 1e-12) + trace[:, 7]
        nothing = np.full(self.months, np.nan)
        # However sharp the policy has become, it is no division by zero.
        spread = [max(one, 1e-9) * math.sqrt(2.0) for one in self._spread]
        within = [math.erf(CONFIDENT_WITHIN / one) for one in spread]
        return DecisionColumns(
            episode=np.minimum(episode, self.num_episodes),
            month=trace[:, 4].astype(np.int64),
            max_months=self.household.horizon,
            invest=trace[:, 0].copy(),
            save=trace[:, 1].copy(),
            consume=trace[:, 2].copy(),
            state_value=to_come,
            goal_share=trace[:, 5].copy() if self.strategist else nothing,
            goal_buffer=trace[:, 6].copy() if self.strategist else nothing,
            cash_after=trace[:, 3].copy(),
            confidence=np.full(self.months, math.prod(within)),
        )

    # --- Numbers that are none --------------------------------------------------------------------

    def _guard(self, scalars: dict[str, float]) -> None:
        """Keep what is no number out of the networks: skip, go back, then give up.

        `Level.learn` takes no step along a gradient that is NaN or infinite. After `BAD_IN_A_ROW`
        such updates, or at once where a weight is no number, the networks go back to the last
        update without one and learn half as fast; after `MOST_RETURNS` of that the run has failed.

        Raises:
            Diverged: it has.
        """
        levels = self._levels()
        broken = not all(level.finite for level in levels.values())
        skipped = sum(scalars.get(f"{name}/skipped_steps", 0.0) for name in ("low", "high"))
        if not broken and not skipped:
            self.bad_in_a_row = 0
            self._good = self._level_states()
            return
        self.bad_in_a_row += 1
        if broken or self.bad_in_a_row >= BAD_IN_A_ROW:
            self._go_back(scalars)

    def _go_back(self, scalars: dict[str, float]) -> None:
        """Return the networks to the last update without numbers that are none.

        Raises:
            Diverged: they have been returned `MOST_RETURNS` times already.
        """
        if self.returns >= MOST_RETURNS:
            wrong = sorted(name for name, value in scalars.items() if not math.isfinite(value))
            raise Diverged(
                f"the networks diverged at update {self.updates + 1} and going back to good ones "
                f"{self.returns} times, each time learning half as fast, did not help "
                f"(no numbers: {', '.join(wrong) or 'weights'}). Smaller learning rates are the "
                "first thing to try."
            )
        self.returns += 1
        self.bad_in_a_row = 0
        for name, level in self._levels().items():
            level.load_state_dict(self._good[name])
            level.caution = 0.5**self.returns
        scalars["rolled_back"] = float(self.returns)

    def _level_states(self) -> dict[str, dict[str, Any]]:
        return {name: level.state_dict() for name, level in self._levels().items()}

    def _levels(self) -> dict[str, Level]:
        if self.strategist is None:
            return {"agent": self.executor}
        return {"high_agent": self.strategist, "low_agent": self.executor}

    # --- State ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that an exact continuation needs: tensors and plain values, copies of their own.

        With several ranks the households of all, and a row a rank of the generators' states.
        """
        envs, generators = self.envs.copy(), self.generator.get_state()
        if self.ranks is not None:
            size, every = self.ranks.size, self.households
            counts = [len(self.ranks.share(every, rank)) for rank in range(size)]
            envs = np.concatenate(self.ranks.rows(envs, counts))
            rows = self.ranks.rows(generators.numpy(), [len(generators)] * size)
            generators = torch.from_numpy(np.stack(rows))
        return {
            "format": 2,
            "scenario_hash": scenario_hash(self.scenario),
            "num_episodes": self.num_episodes,
            "versions": versions(),
            "levels": self._level_states(),
            "generator": generators,
            "envs": torch.from_numpy(envs.view(np.uint8)),
            "book": self.book.state_dict(),
            "step": self.step,
            "updates": self.updates,
            "elapsed_seconds": self.elapsed_seconds,
            "guard": {
                "bad_in_a_row": self.bad_in_a_row,
                "returns": self.returns,
                # The last good networks are the present ones, but after a bad update.
                "good": self._good if self.bad_in_a_row else None,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        A state made for another number of episodes is taken too: its households and all else go on
        as they are, learning rate and weight of the goal by the plan of this number.

        Raises:
            Conflict: the state is of another scenario or configuration, or was made with another
                number of ranks, thread count or other versions, with which it would not continue
                exactly.
        """
        ranks = self.ranks.size if self.ranks is not None else 1
        made_by = made_by_ranks(state)
        if made_by != ranks:
            raise Conflict(
                f"This state was made by {made_by} ranks, here there are {ranks}; it would not "
                "continue exactly.",
                code="state_mismatch",
                detail=f"Continue with ranks: {made_by}, or start a new training.",
            )
        planned = state.get("num_episodes", self.num_episodes)
        scenario = self.scenario.with_overrides({"num_episodes": planned})
        if state.get("format") != 2 or state["scenario_hash"] != scenario_hash(scenario):
            raise Conflict(
                "This state belongs to another scenario or configuration.",
                code="state_mismatch",
                detail="Continue with the scenario and overrides it was saved with.",
            )
        if state["versions"] != versions():
            raise Conflict(
                f"This state was made with {state['versions']}, here is {versions()}; "
                "it would not continue exactly.",
                code="state_mismatch",
                detail="Install the same versions, or start a new training.",
            )
        for name, level in self._levels().items():
            level.load_state_dict(state["levels"][name])
        generator, envs = state["generator"], state["envs"].numpy().view(self.envs.dtype)
        if len(envs) != self.households:  # how many there are by default follows from the episodes
            self._house(len(envs))
        if self.ranks is not None:
            share = self.ranks.share(self.households)
            generator, envs = generator[self.ranks.rank].clone(), envs[share.start : share.stop]
        self.generator.set_state(generator)
        self.envs[:] = envs
        self.book.load_state_dict(state["book"])
        self.step = state["step"]
        self.updates = state["updates"]
        self.elapsed_seconds = state["elapsed_seconds"]
        guard = state["guard"]
        self.bad_in_a_row, self.returns = guard["bad_in_a_row"], guard["returns"]
        self._good = guard["good"] or self._level_states()

    def weights_digest(self) -> str:
        """SHA-256 (64 hex digits) of both levels' parameters."""
        digest = hashlib.sha256()
        for level in self._levels().values():
            digest.update(level.adam.values.numpy().tobytes())
        return digest.hexdigest()

    # --- Models -----------------------------------------------------------------------------------

    def models(self) -> dict[str, dict[str, Any]]:
        """The agents by file stem (`high_agent` and `low_agent`, or `agent`), ready to be saved."""
        chosen = {name: level.weights() for name, level in self._levels().items()}
        scenario = self.scenario.to_mapping()
        return {
            name: agent_file(name, scenario, weights, episodes=self.book.count, step=self.step)
            for name, weights in chosen.items()
        }

    def play(self) -> list[Decision]:
        """One whole episode as the agents would live it now, for those who watch."""
        return play(self.models(), self.book.count)


def made_by_ranks(state: Mapping[str, Any]) -> int:
    """How many ranks a state was made by."""
    generator = state.get("generator")
    return len(generator) if generator is not None and generator.dim() == 2 else 1


def versions() -> dict[str, str | int]:
    """What an exact continuation depends on besides the state."""
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "threads": torch.get_num_threads(),
    }
