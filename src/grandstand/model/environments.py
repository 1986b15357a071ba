"""What a scenario's `environment` section may be: a household, or any Gymnasium environment.

Which of the two it is, its keys say: a Gymnasium environment has an `id`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

FROZEN: Final = ConfigDict(
    frozen=True,
    extra="forbid",
    allow_inf_nan=False,
    populate_by_name=True,
    use_attribute_docstrings=True,
)
"""How every section of a scenario is read."""


def plain_json(value: dict[str, Any]) -> dict[str, Any]:
    """The same mapping, if JSON can hold it.

    Raises:
        ValueError: it holds NaN, an infinity or something else that JSON has no word for.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError("should hold finite numbers, texts, lists and mappings only") from error
    return value


class Environment(BaseModel):
    """The household: what comes in, what goes out, and what it starts with."""

    model_config = FROZEN

    income: float = Field(gt=0)
    """Net income of a month, euros."""
    fixed_expenses: float = Field(ge=0)
    """Bills that do not vary, euros a month."""
    variable_expense_mean: float = Field(ge=0)
    """Mean of the bills that vary, euros a month."""
    variable_expense_std: float = Field(ge=0)
    """Standard deviation of the bills that vary, euros a month."""
    inflation: float = Field(default=0.02, ge=-0.5, le=1)
    """Growth of all bills, share a year."""
    income_growth: float = Field(default=0.0, ge=-0.5, le=1)
    """Growth of income, share a year."""
    safety_threshold: float = Field(ge=0)
    """Cash below which every euro missing costs reward, euros."""
    max_months: int = Field(default=60, ge=1, le=1200)
    """Length of an episode, months."""
    initial_cash: float = Field(default=0.0, ge=0)
    """Cash at the start, euros."""
    risk_tolerance: float = Field(default=0.5, ge=0, le=1)
    """How much risk the household says it likes; observed, not rewarded."""
    investment_return_mean: float = 0.005
    """Mean return of the portfolio, share a month."""
    investment_return_std: float = Field(default=0.02, ge=0)
    """Standard deviation of that return, share a month."""
    investment_return_type: Literal["none", "fixed", "stochastic"] = "stochastic"
    """No market, the mean every month, or drawn every month."""

    @model_validator(mode="after")
    def _market_cannot_lose_more_than_all(self) -> Self:
        if self.investment_return_mean < -1:
            raise ValueError("investment_return_mean should be at least -1")
        return self


class GymnasiumEnvironment(BaseModel):
    """An environment that is registered with Gymnasium."""

    # Spelt out: mypy's plugin must read that no other keys come, for one of these is `kwargs`.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    id: str = Field(
        max_length=200, pattern=r"^([A-Za-z0-9_.]+:)?([A-Za-z0-9_-]+/)?[A-Za-z0-9_.-]+$"
    )
    """As `gymnasium.make` takes it: `CartPole-v1`, or `my_package:Mine-v0` to import that package
    first."""
    kwargs: dict[str, Any] = {}
    """Arguments of the environment, by name."""
    max_steps: int | None = Field(default=None, ge=1, le=10_000_000)
    """Steps after which an episode is cut off; left out, the environment's own limit."""
    actions: tuple[str, ...] = ()
    """What its actions (or a continuous action's numbers) are called, in order."""

    @field_validator("kwargs")
    @classmethod
    def _what_the_trainer_sets_is_left_to_it(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        for name, instead in (("render_mode", ""), ("max_episode_steps", "; use max_steps")):
            if name in kwargs:
                raise ValueError(f"{name} is set by the trainer{instead}")
        return plain_json(kwargs)


def kind_of(section: object) -> str:
    """`gymnasium` or `household`."""
    named = isinstance(section, Mapping) and "id" in section
    return "gymnasium" if named or isinstance(section, GymnasiumEnvironment) else "household"


KINDS: Final = ("household", "gymnasium")
AnyEnvironment = Annotated[
    Annotated[Environment, Tag("household")] | Annotated[GymnasiumEnvironment, Tag("gymnasium")],
    Discriminator(kind_of),
]
"""Either; pydantic puts the tag into an error's place, see `scenarios._refusal`."""
