"""A trained policy: the agent files, and what it takes to act with them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.scenarios import Scenario
from grandstand.train import household_kernels as kernels
from grandstand.train.household_kernels import AGGREGATES, GOALS, INPUTS, Floats, Records
from grandstand.train.household_numbers import Household, spread_seed
from grandstand.train.network import network
from grandstand.train.trainer import sb3_missing

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
ROLES = ("high_agent", "low_agent", "agent")


def agent_file(
    role: str, scenario: Mapping[str, Any], weights: Mapping[str, Any], *, episodes: int, step: int
) -> dict[str, Any]:
    """What an agent's `.pt` file holds: all it takes to act, readable with `weights_only=True`.

    The scenario is the normalisation: every input's scale follows from it (see
    `household_kernels.look`).
    """
    first = weights["policy"]["0.weight"]
    return {
        "format": FORMAT,
        "role": role,
        "scenario": dict(scenario),
        "sizes": {
            "inputs": int(first.shape[1]),
            "hidden": int(first.shape[0]),
            "actions": int(weights["log_std"].shape[0]),
        },
        "episodes": episodes,
        "step": step,
        **weights,
    }


def write_whole(path: Path, content: Mapping[str, Any]) -> None:
    """`torch.save` into `path` so that it is either there in full or as it was."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def save_models(
    models: Mapping[str, Mapping[str, Any]], folder: Path, scenario_name: str
) -> dict[str, Path]:
    """Write agents (see `Trainer.models`) as `{scenario_name}_{stem}.pt`; the paths by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {stem: folder / f"{scenario_name}_{stem}.pt" for stem in models}
    for stem, content in models.items():
        write_whole(paths[stem], content)
    return paths


def read_agent(path: Path) -> dict[str, Any]:
    """Read one agent's file; no code in it is ever run.

    Raises:
        NotFound: there is no such file (code `model_not_found`).
        ValidationFailed: it is damaged, or no agent of ours (code `model_invalid`).
    """
    if not path.is_file():
        raise NotFound(f"There is no model file {path.name!r}.", code="model_not_found")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ValidationFailed(
            f"{path.name} cannot be read as a model.",
            code="model_invalid",
            detail="The file is damaged or of another kind; save or download it again.",
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValidationFailed(
            f"{path.name} is not an agent of this program.",
            code="model_invalid",
            detail="Give a file ending in _low_agent.pt, _high_agent.pt or _agent.pt.",
        )
    return content


class _Mind:
    """One agent's policy network, to act with only."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        sizes = content["sizes"]
        self.inputs: int = sizes["inputs"]
        self.net: nn.Sequential = network(self.inputs, sizes["hidden"], sizes["actions"])
        self.net.load_state_dict(content["policy"])
        self.std: Tensor = content["log_std"].exp()

    @torch.no_grad()
    def act(self, inputs: Tensor, generator: torch.Generator | None) -> Tensor:
        """The mean for inputs (rows, n), or a draw around it where a generator is given."""
        mean: Tensor = self.net(inputs)
        if generator is not None:
            mean = mean + self.std * torch.randn(mean.shape, generator=generator)
        return mean


class Acting(Protocol):
    """Any trained policy."""

    scenario: Scenario
    """What it was trained on."""
    episodes: int
    """Finished episodes it learned from."""

    @property
    def action_names(self) -> Sequence[str]:
        """Of the numbers that `act` gives; of a single whole number, what each value means."""

    def reseed(self, seed: int) -> None:
        """Begin the draws of acting without `greedy` anew."""

    def act(self, observation: Any, *, greedy: bool = True) -> NDArray[Any]:
        """The action for one observation.

        Raises:
            ValidationFailed: it does not fit.
        """


class Policy:
    """A trained household policy, of one level or two.

    Attributes:
        scenario: what it was trained on; its scales are part of the policy.
        episodes: finished episodes it learned from.
    """

    def __init__(
        self, low: Mapping[str, Any], high: Mapping[str, Any] | None, *, seed: int = 0
    ) -> None:
        self.scenario = Scenario.from_mapping(low["scenario"], where="the model's scenario")
        self.episodes: int = low["episodes"]
        self._low = _Mind(low)
        self._high = _Mind(high) if high is not None else None
        if self._low.inputs > INPUTS and self._high is None:
            raise ValidationFailed(
                "This Executor needs its Strategist.",
                code="model_incomplete",
                detail="Keep the files ..._high_agent.pt and ..._low_agent.pt side by side.",
            )
        self._household = Household(self.scenario)
        self._generator = torch.Generator().manual_seed(spread_seed(seed))

    action_names = ("invest", "save", "consume")
    """What the numbers that `act` gives are."""

    def reseed(self, seed: int) -> None:
        """Begin the draws of acting without `greedy` anew."""
        self._generator.manual_seed(spread_seed(seed))

    def decide(
        self, household: Household, envs: Records, z: Tensor, *, greedy: bool, scratch: _Scratch
    ) -> None:
        """Goals where they are due, then every household's two numbers into z (N, 2)."""
        if self._high is not None:
            self._plan(self._high, household, envs, greedy, scratch)
        self._execute(household, envs, z, greedy, scratch)

    def _plan(
        self, high: _Mind, household: Household, envs: Records, greedy: bool, scratch: _Scratch
    ) -> None:
        """The Strategist sets the goals that are due."""
        rules, months = household.rules, household.months
        due = kernels.open_decisions(
            rules, months, envs, scratch.high.numpy(), 0, scratch.rows, scratch.due
        )
        if due:
            goals = high.act(scratch.high[:due], None if greedy else self._generator)
            kernels.set_goals(envs, scratch.due, due, goals.numpy())

    def _execute(
        self, household: Household, envs: Records, z: Tensor, greedy: bool, scratch: _Scratch
    ) -> None:
        """The Executor's numbers into z."""
        kernels.look_low(household.rules, household.months, envs, scratch.low.numpy())
        z.copy_(self._low.act(scratch.low, None if greedy else self._generator))

    def scratch(self, count: int) -> _Scratch:
        """Buffers for `count` households."""
        return _Scratch(count, self._low.inputs)

    def act(self, observation: Sequence[float] | Floats, *, greedy: bool = True) -> Floats:
        """Shares (invest, save, consume) for one raw observation.

        Args:
            observation: 8 or 11 numbers as in `household_numbers.OBSERVATION`. With 8, a two-level
                policy sets its own goal, as at the start of a period; with 11 it keeps the one
                given.
            greedy: the action it likes best, or a draw.

        Raises:
            ValidationFailed: not 8 or 11 finite numbers, or no months left.
        """
        seen = np.asarray(observation, dtype=np.float64)
        months_left = int(seen[7]) if seen.shape in ((8,), (11,)) else 0
        horizon = self._household.horizon
        if not 1 <= months_left <= horizon or not np.isfinite(seen).all():
            raise ValidationFailed(
                "observation should be 8 or 11 finite numbers with "
                f"1 to {horizon} months left in the eighth",
                details={"errors": [{"field": "observation", "value": seen.tolist()}]},
            )
        envs = self._household.envs(1, 0)
        envs["month"] = horizon - months_left
        envs["variable"], envs["cash"], envs["portfolio"] = seen[2], seen[3], seen[4]
        envs["period_start"] = seen[3]
        scratch, z = self.scratch(1), torch.zeros(1, 2)
        if len(seen) == 11:
            rules = self._household.rules[0]
            envs["goal_share"] = seen[8] / rules["share_unit"]
            envs["goal_buffer"] = seen[9] / rules["buffer_unit"]
            envs["goal_edge"] = seen[10]
        elif self._high is not None:
            self._plan(self._high, self._household, envs, greedy, scratch)
        self._execute(self._household, envs, z, greedy, scratch)
        invest, save, consume = kernels.shares(
            self._household.rules, float(z[0, 0]), float(z[0, 1])
        )
        return np.array([invest, save, consume])


class _Scratch:
    """Buffers a policy fills while it acts for `count` households."""

    def __init__(self, count: int, inputs: int) -> None:
        self.low = torch.zeros(count, inputs)
        self.high = torch.zeros(count, INPUTS + AGGREGATES)
        self.rows = np.zeros(count, np.int64)
        self.due = np.zeros(count, np.int64)
        assert inputs in (INPUTS, INPUTS + GOALS)


def load_policy(path: str | Path, *, seed: int = 0) -> Acting:
    """The policy in `path`: an agent's file, or a folder that holds one policy's files.

    Of a household it is a `Policy`, of a Gymnasium environment an `sb3_policy.Sb3Policy`.

    Args:
        path: `X_low_agent.pt` (its `X_high_agent.pt` beside it), `X_high_agent.pt`, `X_agent.pt`,
            or a folder with exactly one such set.
        seed: of the draws when acting without `greedy`.

    Raises:
        NotFound: no such file, or no agent in the folder.
        ValidationFailed: damaged, of another kind, or several policies in one folder.
        Unavailable: it is of Stable-Baselines3, which is not installed.
    """
    path = Path(path)
    if path.is_dir():
        lows = sorted([*path.glob("*low_agent.pt"), *_flat_files(path)])
        if not lows:
            raise NotFound(f"There is no model in {path.name!r}.", code="model_not_found")
        if len(lows) > 1:
            names = ", ".join(file.name for file in lows)
            raise ValidationFailed(f"{path.name!r} holds several models: {names}. Name one.")
        path = lows[0]
    if path.name.endswith("high_agent.pt"):
        path = path.with_name(path.name.removesuffix("high_agent.pt") + "low_agent.pt")
    low = read_agent(path)
    if low.get("kind") == "sb3":
        try:
            from grandstand.train.sb3_policy import Sb3Policy
        except ModuleNotFoundError as error:
            raise sb3_missing(error) from error
        return Sb3Policy(low, seed=seed)
    high_path = path.with_name(path.name.removesuffix("low_agent.pt") + "high_agent.pt")
    two_levels = path.name.endswith("low_agent.pt") and low["sizes"]["inputs"] > INPUTS
    return Policy(low, read_agent(high_path) if two_levels else None, seed=seed)


def _flat_files(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.glob("*agent.pt")
        if not file.name.endswith(("low_agent.pt", "high_agent.pt"))
    ]
