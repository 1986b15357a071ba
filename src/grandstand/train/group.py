"""A trainer that is several: rank 0 in this process, the others in processes of their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import torch

from grandstand.model.scenarios import Scenario
from grandstand.train.follower import build
from grandstand.train.ranks import EXCHANGE_SECONDS, Ask, Ranks
from grandstand.train.trainer import RankLost, Update

T = TypeVar("T")
CLOSE_SECONDS = 5.0
"""How long a rank gets to leave before it is ended."""
NOTICE_SECONDS = 2.0
"""How long a connection may be broken before the process behind it is seen to have ended."""


class Follower(Protocol):
    """A rank that was started."""

    def ended(self, within_seconds: float = 0.0) -> str | None:
        """How it ended (`exit code 1`, `signal 9`), waiting a little for it; None while it runs."""

    def kill(self) -> None:
        """End it at once."""


Launch: TypeAlias = Callable[[Mapping[str, Any], int, int, str], Follower]
"""Has `follower.run_rank` called with these arguments somewhere: order, rank, size, address."""


class Spawned:
    """A rank as a child process of this one."""

    def __init__(self, order: Mapping[str, Any], rank: int, size: int, address: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k != "GRANDSTAND_TOKEN"}
        command = [sys.executable, "-m", "grandstand.train.follower", str(rank), str(size), address]
        self.process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.PIPE, env=environment, text=True
        )
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            pipe.write(json.dumps(order))

    def ended(self, within_seconds: float = 0.0) -> str | None:
        try:
            code = self.process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            return None
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class GroupTrainer:
    """A `Trainer` whose updates several ranks make together. `close` it at the end.

    Args:
        scenario: of a household, with all overrides applied; `training.ranks` at least 2.
        seed, start_bias: see `HouseholdTrainer`.
        launch: starts a rank.
        address: where the ranks meet, see `Ranks`; left out, a file in a folder of its own.
        exchange_seconds: how long a rank that does not answer is waited for.

    Raises:
        RankLost: not all ranks came.
        ValidationFailed: there are fewer environments than ranks.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int,
        start_bias: tuple[float, float],
        launch: Launch = Spawned,
        address: str | None = None,
        exchange_seconds: float = EXCHANGE_SECONDS,
    ) -> None:
        size = scenario.training.ranks
        self._folder = Path(tempfile.mkdtemp(prefix="grandstand-ranks-"))
        self._ranks: Ranks | None = None
        self.followers: list[Follower] = []
        order = {"scenario": scenario.to_mapping(), "seed": seed, "start_bias": list(start_bias)}
        address = address or f"file://{self._folder / 'meeting'}"
        try:
            for rank in range(1, size):
                self.followers.append(launch(order, rank, size, address))
            self._ranks = Ranks(
                address, 0, size, look=self._look, exchange_seconds=exchange_seconds
            )
            self._trainer = build(order, self._ranks)
        except BaseException:
            self._end()
            raise
        self.num_episodes = self._trainer.num_episodes

    @property
    def episodes_done(self) -> int:
        """Episodes counted so far."""
        return self._trainer.episodes_done

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        """The next update of all ranks together.

        Raises:
            RankLost: one is gone; nothing more comes of this trainer.
            RanksDiffer: one has other weights.
            Diverged: see `HouseholdTrainer`.
        """
        if self._trainer.episodes_done >= self.num_episodes:
            raise StopIteration
        return self._together(Ask.NEXT, lambda ranks: next(self._trainer))

    def state_dict(self) -> dict[str, Any]:
        """All that an exact continuation with as many ranks needs.

        Raises:
            RankLost: one is gone.
        """
        return self._together(Ask.STATE, lambda ranks: self._trainer.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there, on all ranks.

        Raises:
            Conflict: see `HouseholdTrainer`; also with another number of ranks.
            RankLost: one is gone.
        """
        self._trainer.load_state_dict(state)  # what it refuses, no other rank needs to hear of
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self._together(Ask.LOAD, lambda ranks: ranks.content(buffer.getvalue()))

    def models(self) -> dict[str, dict[str, Any]]:
        """See `HouseholdTrainer.models`; they are the same on every rank."""
        return self._trainer.models()

    def weights_digests(self) -> list[str]:
        """SHA-256 (64 hex digits) of each rank's parameters, by rank.

        Raises:
            RankLost: one is gone.
        """
        own = bytes.fromhex(self._trainer.weights_digest())
        table = self._together(Ask.DIGESTS, lambda ranks: ranks.table(list(own)))
        return [bytes(int(byte) for byte in row).hex() for row in table]

    def close(self) -> None:
        """Have the other ranks leave, and end those that do not. A second call does nothing."""
        if self._ranks is not None and self._gone() is None:
            with contextlib.suppress(RankLost):  # then they are ended here
                self._ranks.tell(Ask.CLOSE)
                for follower in self.followers:
                    follower.ended(CLOSE_SECONDS)
        self._end()

    def _end(self) -> None:
        for follower in self.followers:
            follower.kill()
        if self._ranks is not None:
            self._ranks.close()
        self._ranks = None
        self.followers = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def _together(self, asked: Ask, work: Callable[[Ranks], T]) -> T:
        """Do something on all ranks.

        Raises:
            RankLost: one is gone; the others are ended.
        """
        if self._ranks is None:
            raise RankLost("the ranks of this training have left already")
        try:
            self._look()
            self._ranks.tell(asked)
            return work(self._ranks)
        except RankLost as error:
            gone = self._gone() or self._gone(NOTICE_SECONDS / len(self.followers))
            self._end()
            if gone is None or gone == error.message:
                raise
            raise RankLost(gone) from error

    def _look(self) -> None:
        """Raise `RankLost` when one has ended."""
        if (gone := self._gone()) is not None:
            raise RankLost(gone)

    def _gone(self, within_seconds: float = 0.0) -> str | None:
        """Which ranks have ended, a sentence; None while all live."""
        size = len(self.followers) + 1
        told = [
            f"rank {rank} of {size} ended ({how})"
            for rank, follower in enumerate(self.followers, 1)
            if (how := follower.ended(within_seconds)) is not None
        ]
        return ", ".join(told) or None
