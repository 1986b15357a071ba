"""A rank other than 0: it does what rank 0 does, when rank 0 says so.

`python -m grandstand.train.follower RANK SIZE ADDRESS` reads its order as JSON from standard input.
Exit status: 0 rank 0 ended the group (or the training came to nothing on all ranks alike), 1 it
lost the others, or failed by itself; the log says how.
"""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from collections.abc import Mapping
from typing import Any

import torch

from grandstand.model.scenarios import Scenario
from grandstand.train.hierarchy import HouseholdTrainer
from grandstand.train.ranks import Ask, Ranks
from grandstand.train.trainer import Diverged, RankLost, RanksDiffer

log = logging.getLogger("grandstand.ranks")


def build(order: Mapping[str, Any], ranks: Ranks) -> HouseholdTrainer:
    """This rank's part of the training.

    Args:
        order: `scenario` (a mapping, with all overrides applied), `seed`, `start_bias`.
        ranks: its place.
    """
    scenario = Scenario.from_mapping(order["scenario"])
    return HouseholdTrainer(
        scenario,
        seed=order["seed"],
        two_levels=scenario.training.algorithm != "ppo",
        start_bias=tuple(order["start_bias"]),
        ranks=ranks,
    )


def run_rank(order: Mapping[str, Any], rank: int, size: int, address: str) -> None:
    """Be a rank until rank 0 ends the group.

    Args:
        order: see `build`; plain data.
        rank: 1 to size - 1.
        size: how many ranks there are.
        address: where they meet, see `Ranks`.

    Raises:
        RankLost: the others are gone.
    """
    ranks = Ranks(address, rank, size)
    try:
        trainer = build(order, ranks)
        while (asked := ranks.hear()) is not Ask.CLOSE:
            obey(asked, trainer, ranks)
    except (Diverged, RanksDiffer) as error:
        log.info("rank %d: %s", rank, error)  # as on rank 0, which tells it
    finally:
        ranks.close()


def obey(asked: Ask, trainer: HouseholdTrainer, ranks: Ranks) -> None:
    """Do this rank's part of what rank 0 does now."""
    if asked is Ask.NEXT:
        next(trainer)
    elif asked is Ask.STATE:
        trainer.state_dict()
    elif asked is Ask.LOAD:
        trainer.load_state_dict(
            torch.load(io.BytesIO(ranks.content(None)), map_location="cpu", weights_only=True)
        )
    elif asked is Ask.DIGESTS:
        ranks.table(list(bytes.fromhex(trainer.weights_digest())))


def main(arguments: list[str]) -> int:
    """See the module."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # rank 0 obeys, and then ends this one
    rank, size, address = int(arguments[0]), int(arguments[1]), arguments[2]
    try:
        run_rank(json.loads(sys.stdin.read()), rank, size, address)
    except RankLost as error:
        log.error("rank %d leaves: %s", rank, error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
