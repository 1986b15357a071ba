"""What may end a training before its last episode, as people ask for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_FROZEN = ConfigDict(
    frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
)


class Plateau(BaseModel):
    """End when it has stopped getting better; the best weights become the model."""

    model_config = _FROZEN

    patience_steps: int = Field(default=1_500_000, gt=0, le=10**15)
    """Environment steps without a better mean return. PPO may dip before it recovers, so fewer than
    1.5 million are early."""
    min_delta: float = Field(default=0.0, ge=0)
    """What counts as better: more than so much above the best mean return so far."""


class Target(BaseModel):
    """End when it is good enough."""

    model_config = _FROZEN

    mean_return: Annotated[float, Field(alias="return")]
    """Mean return to reach."""
    window: int = Field(default=100, ge=1, le=100_000)
    """Over the last so many finished episodes."""


class StoppingRules(BaseModel):
    """`early_stopping` of a start: the first rule that holds ends the run as completed. None named:
    it goes on to its last episode."""

    model_config = _FROZEN

    plateau: Plateau | None = None
    target: Target | None = None
    max_seconds: float | None = Field(default=None, gt=0, le=1e9)
    """Seconds of training, pauses left out."""
