"""How many cores this process may use, and whether a training's ranks fit on them."""

from __future__ import annotations

import os

from grandstand.errors import ValidationFailed
from grandstand.model.scenarios import Scenario


def usable_cores() -> int:
    """Cores this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_ranks(scenario: Scenario, cores: int) -> None:
    """Hold a training's ranks to the cores there are, at least 1.

    Raises:
        ValidationFailed: there are fewer.
    """
    ranks = scenario.training.ranks
    if ranks > cores:
        there = "is 1 core" if cores == 1 else f"are {cores} cores"
        raise ValidationFailed(
            f"training.ranks is {ranks}, but there {there} to train on",
            detail=f"Each rank wants a core of its own; ask for at most {cores}.",
            details={"errors": [{"field": "training.ranks", "value": ranks}]},
        )
