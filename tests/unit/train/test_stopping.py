"""The rules that end a training early, looked at update by update."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from grandstand.model.stopping import StoppingRules
from grandstand.train.stopping import EarlyStopping, Ending
from grandstand.train.trainer import EpisodeColumns, Update


def rules(**told: Any) -> StoppingRules:
    return StoppingRules.model_validate(told)


def update(number: int, *returns: float, seconds: float = 0.0) -> Update:
    """An update of 100 steps with episodes of these returns."""
    values = np.array(returns)
    count = len(returns)
    columns = EpisodeColumns(
        episode=np.arange(count),
        current_reward=values,
        average_reward=values,
        best_reward=values,
        episode_length=np.ones(count),
        training_time_elapsed=np.full(count, seconds),
    )
    return Update(number, number * 100, columns, {})


def ends(stopping: EarlyStopping, *updates: Update) -> list[str | None]:
    """Which rule ends it after each update."""
    found = [stopping.look(each) for each in updates]
    return [ending.rule if ending else None for ending in found]


def test_without_rules_it_never_ends() -> None:
    stopping = EarlyStopping(rules())
    assert ends(stopping, *(update(i, 1.0, seconds=1e9) for i in range(1, 50))) == [None] * 49


def test_a_plateau_counts_steps_since_the_best_mean() -> None:
    stopping = EarlyStopping(rules(plateau={"patience_steps": 300}))
    found = ends(
        stopping,
        update(1, 1.0, 3.0),
        update(2, 2.5),  # better
        update(3, 2.5),  # no better
        update(4),  # nothing ended
        update(5, 2.0),
    )
    assert found == [None, None, None, None, "plateau"]
    assert (stopping.best_mean, stopping.best_step) == (2.5, 200)


def test_a_plateau_wants_more_than_its_delta() -> None:
    stopping = EarlyStopping(rules(plateau={"patience_steps": 200, "min_delta": 1.0}))
    found = ends(stopping, update(1, -50.0), update(2, -49.0), update(3, -48.5))
    assert found == [None, None, None]
    assert (stopping.best_mean, stopping.improved) == (-48.5, True)
    assert ends(stopping, update(4, -48.0), update(5, -47.5)) == [None, "plateau"]
    assert not stopping.improved


def test_a_target_wants_its_whole_window() -> None:
    stopping = EarlyStopping(rules(target={"return": 5.0, "window": 4}))
    assert ends(stopping, update(1, 9.0, 9.0, 9.0)) == [None]
    assert ends(stopping, update(2, -20.0)) == [None]
    assert ends(stopping, update(3, 9.0, 9.0), update(4, 25.0)) == [None, "target"]


def test_time_is_training_time() -> None:
    stopping = EarlyStopping(rules(max_seconds=10))
    assert ends(stopping, update(1, 1.0, seconds=9.9)) == [None]
    ending = stopping.look(update(2, 1.0, seconds=10.1))
    assert ending == Ending("max_seconds", "10 s of training have passed")


def test_it_goes_on_from_its_state() -> None:
    told: dict[str, Any] = {
        "plateau": {"patience_steps": 300},
        "target": {"return": 5.0, "window": 3},
    }
    updates = [update(1, 4.0), update(2, 3.0, 3.5), update(3, 1.0), update(4, 2.0), update(5, 2.0)]
    whole = EarlyStopping(rules(**told))
    expected = ends(whole, *updates)
    assert expected[-2:] == ["plateau", "plateau"]
    for cut in range(len(updates)):
        first, second = EarlyStopping(rules(**told)), EarlyStopping(rules(**told))
        before = ends(first, *updates[:cut])
        second.load_state_dict(first.state_dict())
        assert before + ends(second, *updates[cut:]) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"patience": 3},
        {"plateau": {"patience_steps": 0}},
        {"plateau": {"min_delta": -1}},
        {"target": {"window": 5}},
        {"target": {"return": float("nan")}},
        {"max_seconds": 0},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rules(**wrong)
