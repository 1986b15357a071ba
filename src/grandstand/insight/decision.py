"""A decision, before it becomes a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Decision:
    """What an agent chose at one moment, and why, as a session records it."""

    probabilities: Mapping[str, float]
    """Of each action; for a continuous action, how it is shared out."""
    selected: str
    value: float | None = None
    """The critic's estimate of the return still to come."""
    confidence: float | None = None
    """0..1."""
    q_values: Mapping[str, float] | None = None
    """Expected return of each action, where the agent has such an estimate."""
    episode: int | None = None
    step: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As the arguments of `Session.decision`."""
        return {
            "action_probabilities": dict(self.probabilities) or None,
            "q_values": list(self.q_values.values()) if self.q_values else None,
            "state_values": self.value,
            "selected_action": self.selected,
            "confidence_score": self.confidence,
            "episode": self.episode,
            "step": self.step,
            "extra": dict(self.extra),
        }
