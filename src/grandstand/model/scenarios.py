"""Scenarios: an environment, how it is rewarded, and how a policy is trained on it.

A scenario is a YAML file with the sections `environment`, `training` and `reward`; the last two
may be left out. The environment is a household, or one of Gymnasium's, which brings its own reward
(`model/environments.py`). Ten ship with the package (`shipped_scenarios`), more are read from
folders the caller names (`load_scenario`). Both sides of the program read them from here, so this
module knows nothing of numpy or torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Self

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from grandstand.errors import NotFound, ValidationFailed
from grandstand.model.environments import (
    FROZEN,
    KINDS,
    AnyEnvironment,
    Environment,
    GymnasiumEnvironment,
    kind_of,
    plain_json,
)

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,100}$"
MOST_RANKS = 256
HOUSEHOLD_ALGORITHMS: Final = ("hierarchical-ppo", "ppo")
SB3_ALGORITHMS: Final = ("sb3:dqn", "sb3:ppo", "sb3:a2c", "sb3:sac", "sb3:td3")
"""Stable-Baselines3's, for Gymnasium environments."""


class TrainingConfig(BaseModel):
    """How a policy is trained; the defaults hold for every scenario, none is tuned for one."""

    model_config = FROZEN

    algorithm: str = Field(default="hierarchical-ppo", min_length=1, max_length=100)
    """`hierarchical-ppo` (Strategist and Executor) or `ppo` (flat) for a household; `sb3:dqn`,
    `sb3:ppo`, `sb3:a2c`, `sb3:sac` or `sb3:td3` for a Gymnasium environment; or an installed
    trainer."""
    num_episodes: int = Field(default=40_000, gt=0)
    """Finished episodes a run counts and reports; of a household, as many as make ten million
    months when it is left out."""
    high_period: int = Field(default=6, ge=1)
    """Months between two goals of the Strategist."""
    gamma_low: float = Field(default=0.99, gt=0, le=1)
    """Discount of the Executor, per month."""
    gamma_high: float = Field(default=0.99, gt=0, le=1)
    """Discount of the Strategist, per month."""
    learning_rate_low: float = Field(default=3e-3, gt=0)
    """Adam's step for the Executor at the start; it falls to 0 along the run."""
    learning_rate_high: float = Field(default=3e-3, gt=0)
    """Adam's step for the Strategist at the start; it falls to 0 along the run."""
    gae_lambda_low: float = Field(default=0.95, ge=0, le=1)
    """Trace of the Executor's advantage estimate."""
    gae_lambda_high: float = Field(default=0.9, ge=0, le=1)
    """Trace of the Strategist's advantage estimate, per decision."""
    environments: int | None = Field(default=None, gt=0, le=65_536)
    """Environments lived side by side; left out, it follows the number of episodes for a household
    and is 1 for a Gymnasium environment."""
    rollout_months: int | None = Field(default=None, gt=0, le=1200)
    """Months between two updates; left out, it follows the number of episodes."""
    ranks: int = Field(default=1, ge=1, le=MOST_RANKS)
    """Processes that train one policy together, each on a core of its own (or a machine's GPU)."""
    epochs: int = Field(default=2, gt=0, le=100)
    """Passes over each rollout."""
    minibatches: int = Field(default=4, gt=0, le=1024)
    """Least number of parts a rollout is cut into."""
    clip: float = Field(default=0.2, gt=0)
    """PPO's limit on the change of an action's probability."""
    max_gradient_norm: float = Field(default=0.5, gt=0)
    """Gradients longer than this are shortened to it, policy and value apart."""
    entropy_coefficient: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus."""
    hidden_size: int = Field(default=64, gt=0, le=4096)
    """Units in each of the two hidden layers."""
    intrinsic_weight: float = Field(default=0.05, ge=0, le=1)
    """Share of the Executor's learning reward that comes from keeping to the goal, at first; over
    the run it falls to a quarter of that."""
    start_bias: tuple[float, float] | None = None
    """Where the untrained policy's invest and consume stand, in monthly surpluses; left out, at a
    fair constant. (0, 0) saves everything: a way to see that it is the training that scores."""
    patience_steps: int | None = Field(default=None, gt=0)
    """Stop early after this many steps without a better mean return; left out, never. At least
    1.5 million is wise: PPO may dip before it recovers."""
    parameters: dict[str, Any] = {}
    """For a Gymnasium environment: arguments of the Stable-Baselines3 class, by name."""
    steps_per_update: int | None = Field(default=None, gt=0, le=1_000_000)
    """For a Gymnasium environment: least steps between two reports; a pause takes effect there.
    Left out, a rollout for on-policy algorithms, 256 for DQN, 64 for the others."""
    total_timesteps: int | None = Field(default=None, gt=0)
    """For a Gymnasium environment: steps over which exploration and learning rate run down; left
    out, they follow the share of episodes done."""

    @field_validator("parameters")
    @classmethod
    def _parameters_are_plain(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        return plain_json(parameters)


DEFAULT_MONTHS: Final = 10_000_000
"""What a household of one's own is trained for: twice what those that ship need, for nobody has
looked at it. What is hard to learn in one is how much its bills vary beside what is left over."""

_FOR_ALL = frozenset({"algorithm", "num_episodes", "environments", "patience_steps"})
_FOR_GYMNASIUM = frozenset({"parameters", "steps_per_update", "total_timesteps"})
"""Keys of `training`; all others are a household's."""


class Reward(BaseModel):
    """Weights of the reward's parts."""

    model_config = FROZEN

    alpha: float = Field(default=10.0, ge=0)
    """What a euro invested or earned by the portfolio is worth."""
    beta: float = Field(default=0.1, ge=0)
    """What a euro of cash missing below the safety threshold costs, each month."""
    gamma: float = Field(default=5.0, ge=0)
    """What a euro spent beyond the month's income costs."""
    delta: float = Field(default=20.0, ge=0)
    """What a euro of debt costs in the month that ends the episode."""
    kappa: float = Field(default=20.0, ge=0)
    """Worth of consumption."""
    lambda_: float = Field(default=1.0, ge=0, alias="lambda")
    """Worth, to the Strategist, of wealth gained in its period."""
    mu: float = Field(default=0.5, ge=0)
    """Worth, to the Strategist, of a month that ends with cash."""


class Scenario(BaseModel):
    """One training task, whole."""

    model_config = FROZEN

    name: str = Field(pattern=NAME_PATTERN)
    """1 to 100 letters, digits, `_` or `-`."""
    description: str = Field(default="", max_length=2000)
    """One or two sentences for people."""
    environment: AnyEnvironment
    """A household, or `{id, kwargs, max_steps, actions}` for one of Gymnasium's."""
    training: TrainingConfig = TrainingConfig()
    reward: Reward = Reward()
    """For a household only."""

    @model_validator(mode="before")
    @classmethod
    def _only_a_household_takes_its_keys(cls, data: object) -> object:
        if not isinstance(data, Mapping) or kind_of(data.get("environment")) != "gymnasium":
            return data
        if "reward" in data:
            raise ValueError("reward is for households; a Gymnasium environment brings its own")
        training = data.get("training")
        known = TrainingConfig.model_fields.keys() - _FOR_ALL - _FOR_GYMNASIUM
        if isinstance(training, Mapping) and (wrong := sorted(known & training.keys())):
            raise ValueError(
                f"training.{wrong[0]} is for households; for a Gymnasium environment give the "
                "algorithm's own arguments under training.parameters"
            )
        return data

    @model_validator(mode="before")
    @classmethod
    def _a_household_is_trained_for_so_many_months(cls, data: object) -> object:
        if not isinstance(data, Mapping) or kind_of(data.get("environment")) != "household":
            return data
        training, environment = data.get("training", {}), data.get("environment")
        if not isinstance(training, Mapping) or not isinstance(environment, Mapping):
            return data
        months = environment.get("max_months", 60)
        if "num_episodes" in training or not isinstance(months, int) or months < 1:
            return data
        episodes = -(-DEFAULT_MONTHS // months)
        return {**data, "training": {**training, "num_episodes": episodes}}

    @model_validator(mode="after")
    def _the_training_fits_the_environment(self) -> Self:
        training, algorithm = self.training, self.training.algorithm
        if algorithm.startswith("sb3:") and algorithm not in SB3_ALGORITHMS:
            raise ValueError(
                f"training.algorithm is {algorithm!r}, but of Stable-Baselines3 it should be one "
                f"of {', '.join(SB3_ALGORITHMS)}"
            )
        if training.ranks > 1 and algorithm not in HOUSEHOLD_ALGORITHMS:
            raise ValueError(
                f"training.ranks is {training.ranks}, but {algorithm!r} trains in one process; "
                f"several ranks are for {' and '.join(HOUSEHOLD_ALGORITHMS)}"
            )
        if isinstance(self.environment, GymnasiumEnvironment):
            if algorithm in HOUSEHOLD_ALGORITHMS:
                raise ValueError(
                    f"training.algorithm is {algorithm!r}, which is for households; for a "
                    f"Gymnasium environment it should be one of {', '.join(SB3_ALGORITHMS)}"
                )
            return self
        if algorithm in SB3_ALGORITHMS:
            raise ValueError(
                f"training.algorithm is {algorithm!r}, which is for Gymnasium environments; for a "
                f"household it should be one of {', '.join(HOUSEHOLD_ALGORITHMS)}"
            )
        if algorithm in HOUSEHOLD_ALGORITHMS:
            for key in sorted(_FOR_GYMNASIUM):
                if getattr(training, key):
                    raise ValueError(f"training.{key} is for Gymnasium environments")
        if training.high_period > self.environment.max_months:
            raise ValueError(
                f"training.high_period is {training.high_period}, but it should be at most "
                f"environment.max_months ({self.environment.max_months})"
            )
        return self

    @property
    def household(self) -> Environment:
        """The environment of a household's scenario.

        Raises:
            ValidationFailed: it is another environment (code ``no_household``).
        """
        if isinstance(self.environment, Environment):
            return self.environment
        raise ValidationFailed(
            f"{self.name} is no household, its environment is {self.environment.id}.",
            code="no_household",
            detail="Name a scenario whose environment is a household.",
        )

    @property
    def gymnasium(self) -> GymnasiumEnvironment:
        """The environment of a scenario that is none of a household.

        Raises:
            ValidationFailed: it is a household (code ``no_gymnasium_environment``).
        """
        if isinstance(self.environment, GymnasiumEnvironment):
            return self.environment
        raise ValidationFailed(
            f"{self.name} is a household, no Gymnasium environment.",
            code="no_gymnasium_environment",
            detail="Name a scenario whose environment has an id.",
        )

    @classmethod
    def from_mapping(cls, data: object, *, where: str = "scenario") -> Scenario:
        """Check plain data and make a scenario of it.

        Args:
            data: what a YAML or JSON document holds.
            where: how to name the document in an error.

        Raises:
            ValidationFailed: names every field that is missing, unknown or out of bounds.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _refusal(error, where) from error

    @classmethod
    def from_yaml(cls, text: str, *, where: str = "scenario") -> Scenario:
        """Read a scenario from YAML text.

        Raises:
            ValidationFailed: the text is no YAML, or `from_mapping` refuses what it holds.
        """
        try:
            data = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValidationFailed(
                f"{where} is not valid YAML: {' '.join(str(error).split())}",
                code="scenario_invalid",
                detail="Mend the file at the line named; look at indentation and colons first.",
            ) from error
        return cls.from_mapping(data, where=where)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data under the names the YAML uses; `from_mapping` reads it back.

        Keys that are for the other kind of environment are left out.
        """
        data = self.model_dump(mode="json", by_alias=True)
        training = data["training"]
        if isinstance(self.environment, GymnasiumEnvironment):
            del data["reward"]
            kept = _FOR_ALL | _FOR_GYMNASIUM
            data["training"] = {key: value for key, value in training.items() if key in kept}
        else:
            for key in _FOR_GYMNASIUM:
                if not training[key]:
                    del training[key]
            if training["ranks"] == 1:  # as it was before there were any
                del training["ranks"]
        return data

    def to_yaml(self) -> str:
        """YAML text that `from_yaml` reads back to an equal scenario."""
        return yaml.safe_dump(self.to_mapping(), sort_keys=False, allow_unicode=True)

    def with_overrides(self, overrides: Mapping[str, Any]) -> Scenario:
        """A scenario with some values replaced.

        Args:
            overrides: training keys (`{"high_period": 12}`), or sections
                (`{"reward": {"alpha": 5}}`), or both. What a section (or `parameters`) leaves out
                stays as it is.

        Raises:
            ValidationFailed: a key nobody knows, or a value out of bounds.
        """
        if not overrides:
            return self
        data = self.to_mapping()
        for key, value in overrides.items():
            if key in ("environment", "training", "reward"):
                if not isinstance(value, Mapping):
                    raise ValidationFailed(
                        f"overrides.{key} should be a mapping of keys to values",
                        details={"errors": [{"field": f"overrides.{key}", "value": repr(value)}]},
                    )
                _merge(data.setdefault(key, {}), value)
            else:
                _merge(data["training"], {key: value})
        return Scenario.from_mapping(data, where="overrides")


def _merge(section: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Replace values; those of `parameters` one by one."""
    for key, value in changes.items():
        if key == "parameters" and isinstance(value, Mapping):
            section[key] = {**section.get(key, {}), **value}
        else:
            section[key] = value


def _refusal(error: ValidationError, where: str) -> ValidationFailed:
    """Pydantic's errors as sentences that name field, value and bound."""
    sentences, rows = [], []
    for item in error.errors(include_url=False):
        place = list(item["loc"])
        if place[:1] == ["environment"] and place[1:2] and place[1] in KINDS:
            del place[1]  # pydantic's tag of the union, nothing that was written
        field = ".".join(str(part) for part in place)
        value = item.get("input")
        bound = re.sub("^(Input|String|Value error,) ", "", item["msg"])
        if item["type"] == "missing":
            sentence = f"{field} is missing"
        elif item["type"] == "extra_forbidden":
            sentence = f"{field} is not a known key"
        elif not field:
            sentence = bound if item["type"] == "value_error" else f"{where} {bound}"
        elif item["type"] == "value_error":
            sentence = f"{field}: {bound}"
        else:
            sentence = f"{field} is {_short(value)}, but it {bound}"
        sentences.append(sentence)
        rows.append({"field": field, "value": _short(value), "bound": bound})
    return ValidationFailed(
        f"{where} cannot be used: {'; '.join(sentences)}.",
        code="scenario_invalid",
        detail="Correct the fields named and try again.",
        details={"errors": rows},
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _sha256(data: object) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def scenario_hash(scenario: Scenario) -> str:
    """SHA-256 (64 hex digits) of the scenario as canonical JSON: equal content, equal hash."""
    return _sha256(scenario.to_mapping())


def task_hash(scenario: Scenario) -> str:
    """The same of environment and reward alone: what the optimum depends on."""
    data = scenario.to_mapping()
    return _sha256({key: data[key] for key in ("environment", "reward") if key in data})


@cache
def _shipped() -> dict[str, Scenario]:
    folder = resources.files("grandstand.model") / "shipped"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    scenarios = [Scenario.from_yaml(f.read_text("utf-8"), where=f.name) for f in files]
    return {scenario.name: scenario for scenario in scenarios}


def shipped_scenarios() -> dict[str, Scenario]:
    """The scenarios that come with the package, by name, in alphabetical order."""
    return dict(_shipped())


def check_name(name: str) -> None:
    """Let only names through that may become a file's.

    Raises:
        ValidationFailed: code ``scenario_name_invalid``.
    """
    if not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        raise ValidationFailed(
            f"scenario_name is {_short(name)}, "
            "but it should be 1 to 100 letters, digits, '_' or '-'",
            code="scenario_name_invalid",
            details={"errors": [{"field": "scenario_name", "value": _short(name)}]},
        )


def own_file(name: str, folder: Path) -> Path | None:
    """The file of a scenario in a folder, if it is there; the name has been checked."""
    for suffix in (".yaml", ".yml"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ValidationFailed(
            f"{path.name} is not text in UTF-8", code="scenario_invalid", detail="Save it as UTF-8."
        ) from error


def load_scenario(name: str, extra_dirs: Iterable[Path] = ()) -> Scenario:
    """One scenario by name; a file in `extra_dirs` comes before a shipped one of the same name.

    Args:
        name: 1 to 100 letters, digits, `_` or `-`; nothing else ever reaches the file system.
        extra_dirs: folders holding `NAME.yaml` or `NAME.yml`, looked through in order.

    Raises:
        ValidationFailed: the name has other characters, or the file's content is out of bounds.
        NotFound: there is no such scenario (code `scenario_not_found`).
    """
    check_name(name)
    found_files = (own_file(name, folder) for folder in extra_dirs)
    path = next((file for file in found_files if file is not None), None)
    if path is not None:
        scenario = Scenario.from_yaml(_text(path), where=path.name)
        if scenario.name != name:
            raise ValidationFailed(
                f"{path.name} calls its scenario {scenario.name!r}",
                code="scenario_invalid",
                detail="Give the file and the scenario in it the same name.",
            )
        return scenario
    found = _shipped().get(name)
    if found is None:
        known = ", ".join(scenario_names(extra_dirs))
        raise NotFound(
            f"There is no scenario called {name!r}.",
            code="scenario_not_found",
            detail=f"Known scenarios: {known}.",
            details={"scenario_name": name},
        )
    return found


def scenario_names(extra_dirs: Iterable[Path] = ()) -> list[str]:
    """Every name `load_scenario` would find a file for, in alphabetical order."""
    names = set(_shipped())
    for folder in extra_dirs:
        if folder.is_dir():
            names.update(f.stem for f in folder.iterdir() if f.suffix in (".yaml", ".yml"))
    return sorted(name for name in names if re.fullmatch(NAME_PATTERN.strip("^$"), name))


def training_schema() -> dict[str, Any]:
    """JSON schema of the `training` section that the built-in trainers read."""
    return TrainingConfig.model_json_schema(by_alias=True)


def scenario_schema() -> dict[str, Any]:
    """JSON schema of a whole scenario: every field with its bounds, default and a sentence."""
    return Scenario.model_json_schema(by_alias=True)


def template() -> Scenario:
    """A small household to begin a scenario of one's own from."""
    return Scenario(
        name="my_household",
        description="Begin from here: two incomes in a mid-sized town.",
        environment=Environment(
            income=3000,
            fixed_expenses=1600,
            variable_expense_mean=700,
            variable_expense_std=120,
            safety_threshold=3000,
            max_months=120,
            initial_cash=5000,
        ),
    )
