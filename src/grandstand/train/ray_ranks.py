"""Ranks as tasks of a Ray cluster, for a worker that is itself a job of it.

Rank 0 is the job; every other rank is a task of one core in a placement group
(https://docs.ray.io/en/latest/ray-core/scheduling/placement-group.html) that packs them onto as few
nodes as it can, for they wait for each other twenty times an update. What they do is what ranks on
one machine do, `follower.run_rank`, and so are the numbers. The nodes need `grandstand[train,ray]`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import get_node_ip_address
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from grandstand.train.follower import run_rank
from grandstand.train.ranks import START_SECONDS
from grandstand.train.trainer import RankLost


class RayRanks:
    """Starts ranks other than 0 on the cluster that this process belongs to.

    The room they take is given back when the job ends.

    Args:
        size: ranks, at least 2, this process being one.
        seconds: how long room is waited for.

    Raises:
        RankLost: the cluster has no room for them; another attempt may find some.
    """

    def __init__(self, size: int, seconds: float = START_SECONDS) -> None:
        ray.init(ignore_reinit_error=True)
        self._room: PlacementGroup = placement_group([{"CPU": 1}] * (size - 1), strategy="PACK")
        if not self._room.wait(seconds):
            remove_placement_group(self._room)
            raise RankLost(f"the Ray cluster had no free cores for {size - 1} ranks more")

    def address(self) -> str:
        """Where they can meet this process, see `Ranks`."""
        host = get_node_ip_address()
        with socket.socket() as free:
            free.bind((host, 0))
            return f"tcp://{host}:{free.getsockname()[1]}"

    def __call__(self, order: Mapping[str, Any], rank: int, size: int, address: str) -> RayRank:
        """See `group.Launch`."""
        # A process of its own, which ends with the task; rank 0 alone speaks to the server.
        task = ray.remote(max_retries=0, max_calls=1)(run_rank).options(
            num_cpus=1,
            name=f"rank {rank} of {size}",
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                self._room, placement_group_bundle_index=rank - 1
            ),
            runtime_env={"env_vars": {"GRANDSTAND_TOKEN": ""}},
        )
        return RayRank(task.remote(dict(order), rank, size, address))


class RayRank:
    """A rank that was started: a `group.Follower`."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def ended(self, within_seconds: float = 0.0) -> str | None:
        """How it ended; None while it runs."""
        done, _ = ray.wait([self._task], timeout=within_seconds)
        if not done:
            return None
        try:
            ray.get(self._task)
        except RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return f"{type(error).__name__}: {lines[-1].strip() if lines else 'nothing more'}"
        return "left"

    def kill(self) -> None:
        """End it at once."""
        ray.cancel(self._task, force=True)
