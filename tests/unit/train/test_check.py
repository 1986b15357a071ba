"""`check_trainer`: passes a trainer that keeps its promises, names the one that is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from grandstand.model.scenarios import shipped_scenarios
from grandstand.train.check import check_trainer
from grandstand.train.trainer import EpisodeColumns, GaveWay, Trainer, Update, make_trainer


class Walk:
    """Two episodes of a random walk an update: about as little as a trainer can be."""

    num_episodes = 100

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.update = 0
        self.at = 0.0

    @property
    def episodes_done(self) -> int:
        return 2 * self.update

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        if self.episodes_done >= self.num_episodes:
            raise StopIteration
        returns = self.at + self.random.normal(size=2)
        self.at = float(returns[-1])
        first = self.episodes_done + 1
        self.update += 1
        ones = np.ones(2)
        rows = EpisodeColumns(
            np.array([first, first + 1]), returns, returns, returns, ones, self.update * ones
        )
        return Update(self.update, 10 * self.update, rows, {"at": self.at})

    def state_dict(self) -> dict[str, Any]:
        return {"random": self.random.bit_generator.state, "update": self.update, "at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.random.bit_generator.state = state["random"]
        self.update, self.at = state["update"], state["at"]

    def models(self) -> dict[str, dict[str, Any]]:
        return {"agent": {"at": self.at}}


class Forgetful(Walk):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.update, self.at = state["update"], state["at"]


class Unseeded(Walk):
    def __init__(self) -> None:
        super().__init__(seed=np.random.default_rng().integers(2**31))


class Skipping(Walk):
    def __next__(self) -> Update:
        update = super().__next__()
        update.episodes.episode[:] += 1
        return update


class Opaque(Walk):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "random": self.random}


class Halting(Walk):
    """Gives way, but its walk has gone on meanwhile."""

    def give_way(self) -> bool:
        return False

    def __next__(self) -> Update:
        update = super().__next__()
        if self.give_way():
            self.update -= 1
            raise GaveWay
        return update


def test_one_that_keeps_its_promises_passes() -> None:
    check_trainer(Walk)


def test_our_own_passes() -> None:
    def make() -> Trainer:
        small = {"environments": 8, "rollout_months": 20}
        scenario = shipped_scenarios()["balanced"]
        return make_trainer(scenario, num_episodes=2000, seed=5, overrides=small)

    check_trainer(make)


@pytest.mark.parametrize(
    ("make", "broken"),
    [
        (Forgetful, "continues from a state differs"),
        (Unseeded, "made alike differ"),
        (Skipping, "without a gap"),
        (Opaque, "weights_only"),
        (Halting, "given up left a trace"),
    ],
)
def test_a_broken_promise_is_named(make: Callable[[], Trainer], broken: str) -> None:
    with pytest.raises(AssertionError, match=broken):
        check_trainer(make)
