"""`python sharing.py RANK SIZE ADDRESS`: what a rank of `test_ranks.py` does besides training.

Rank 0 calls `share` in the test's own process and looks at what comes back.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from grandstand.train.ppo import Level, PPOSettings
from grandstand.train.ranks import Moments, Ranks

ROWS = 101


class Shared(NamedTuple):
    """What a rank holds after the exchanges."""

    content: bytes
    rows: list[NDArray[np.int64]]
    moments: tuple[list[int], list[Moments]]
    level: Level
    report: dict[str, float]


def level() -> Level:
    """The same on every rank; one step along the gradient of all rows."""
    return Level(
        5,
        2,
        16,
        PPOSettings(
            learning_rate=0.01,
            epochs=1,
            minibatches=1,
            clip=0.2,
            max_gradient_norm=0.5,
            entropy_coefficient=0.01,
        ),
        bias=(0.5, 0.3),
        log_std=-0.7,
        generator=torch.Generator().manual_seed(1),
    )


def learn(part: slice, ranks: Ranks | None) -> tuple[Level, dict[str, float]]:
    """Learn from a part of the rows, with whoever has the others."""
    draw = torch.Generator().manual_seed(2)
    inputs = torch.randn(ROWS, 5, generator=draw)
    noise = torch.randn(ROWS, 2, generator=draw)
    advantages = torch.randn(ROWS, generator=draw) + 3.0
    values = torch.randn(ROWS, generator=draw)
    learner = level()
    z = learner.act(inputs, noise)
    report = learner.learn(
        inputs[part],
        z[part],
        noise[part],
        advantages[part],
        values[part],
        remaining=1.0,
        generator=torch.Generator().manual_seed(3),
        ranks=ranks,
    )
    return learner, report


def share(ranks: Ranks) -> Shared:
    """All exchanges once, with shares of 70, 31 and no rows."""
    parts = [slice(0, 70), slice(70, ROWS), slice(ROWS, ROWS)]
    counts = [2, 0, 3]
    content = ranks.content(b"what rank 0 says" if ranks.rank == 0 else None)
    rows = ranks.rows(np.arange(counts[ranks.rank]) + 10 * ranks.rank, counts)
    spread = torch.arange(ROWS).float()[parts[ranks.rank]]
    moments = ranks.moments(spread, spread.square())
    return Shared(content, rows, moments, *learn(parts[ranks.rank], ranks))


if __name__ == "__main__":
    here = Ranks(sys.argv[3], int(sys.argv[1]), int(sys.argv[2]))
    shared = share(here)
    assert shared.content == b"what rank 0 says"
    here.table([float(value) for value in shared.level.adam.values])
    here.close()
