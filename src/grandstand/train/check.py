"""`check_trainer`: does a trainer keep the promises that pausing and resuming rest on?"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from grandstand.train.trainer import GaveWay, Trainer, Update

UPDATES = 3
"""Compared before and after a cut, each."""


def check_trainer(make: Callable[[], Trainer]) -> None:
    """Run a small training and hold it to the `Trainer` protocol.

    Checked: it is an iterator of `Update`; updates and episodes are numbered from 1 without a gap,
    and no episode beyond `num_episodes`; columns have equal lengths; `state_dict` and `models` hold
    plain values and tensors only, can be read back without running code, and are copies; two
    trainers made alike report the same; one that continues from a state goes on number for number,
    or, where it says `exact = False`, at least with the same counters; an update given up with
    `give_way` leaves no trace.

    Args:
        make: gives a fresh trainer each time, seeded alike, small enough for a few seconds, with
            episodes enough for six updates.

    Raises:
        AssertionError: names the promise that is broken.
    """
    first = make()
    assert iter(first) is first, "iter(trainer) should be the trainer itself"
    began = [_checked(first, number) for number in range(1, UPDATES + 1)]
    state, begun = _read_back(first.state_dict(), "state_dict()"), first.episodes_done
    models = first.models()
    assert models, "models() should hold at least one agent"
    for stem, content in models.items():
        assert stem.replace("_", "").isalnum(), f"models(): {stem!r} should be part of a file name"
        _read_back(content, f"models()[{stem!r}]")
    went_on = [_checked(first, UPDATES + number) for number in range(1, UPDATES + 1)]

    again = make()
    for told, repeated in zip(began, [next(again) for _ in began], strict=True):
        _same(told, repeated, "two trainers made alike differ")
    if hasattr(again, "give_way"):
        _same(went_on[0], _after_giving_way(again), "an update given up left a trace")

    continued = make()
    continued.load_state_dict(state)
    if not getattr(first, "exact", True):
        assert continued.episodes_done == begun, "episodes_done differs after continuing"
        for number in range(1, UPDATES + 1):
            _checked(continued, UPDATES + number)
        return
    for told, repeated in zip(went_on, [next(continued) for _ in went_on], strict=True):
        _same(told, repeated, "a trainer that continues from a state differs from one never cut")
    done = continued.episodes_done
    assert done == first.episodes_done, "episodes_done differs after continuing from a state"


def _checked(trainer: Trainer, number: int) -> Update:
    """The next update, with what can be said of it alone."""
    before = trainer.episodes_done
    update = next(trainer)
    assert isinstance(update, Update), f"next(trainer) gave a {type(update).__name__}"
    assert update.update == number, f"update {number} is numbered {update.update}"
    rows = update.episodes
    lengths = {name: len(column) for name, column in rows.columns().items()}
    assert len(set(lengths.values())) == 1, f"columns of unequal length: {lengths}"
    expected = list(range(before + 1, before + len(rows) + 1))
    assert [int(e) for e in rows.episode] == expected, "episodes should be numbered without a gap"
    assert trainer.episodes_done == before + len(rows), "episodes_done does not follow the episodes"
    assert trainer.episodes_done <= trainer.num_episodes, "more episodes than num_episodes"
    for name, value in update.scalars.items():
        assert isinstance(value, (int, float)), f"scalar {name} is a {type(value).__name__}"
    return update


def _after_giving_way(trainer: Any) -> Update:
    """The next update, after it was given up when asked for the first, second, fourth … time."""
    most = 0
    while True:
        asked = iter(range(most))
        trainer.give_way = lambda asked=asked: next(asked, None) is None
        done = trainer.episodes_done
        try:
            update: Update = next(trainer)
        except GaveWay:
            assert trainer.episodes_done == done, "episodes_done changed with an update given up"
            most = 2 * most or 1
        else:
            trainer.give_way = lambda: False
            return update


def _read_back(content: dict[str, Any], what: str) -> dict[str, Any]:
    """What `content` is after it was written and read without running code."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    buffer.seek(0)
    try:
        read: dict[str, Any] = torch.load(buffer, weights_only=True)
    except Exception as error:
        raise AssertionError(f"{what} cannot be read with weights_only=True: {error}") from error
    return read


def _same(one: Update, other: Update, broken: str) -> None:
    """Hold two updates equal, clocks apart."""
    a, b = one.episodes.columns(), other.episodes.columns()
    assert a.keys() == b.keys(), f"{broken}: other columns"
    for name in a:
        if name != "training_time_elapsed":
            equal = np.array_equal(np.array(a[name]), np.array(b[name]), equal_nan=True)
            assert equal, f"{broken}: {name} of update {one.update}"
    for name in one.scalars.keys() | other.scalars.keys():
        if not name.endswith("_per_second"):
            left, right = one.scalars.get(name), other.scalars.get(name)
            same = left == right or (left != left and right != right)
            assert same, f"{broken}: {name} of update {one.update} is {left} and {right}"
