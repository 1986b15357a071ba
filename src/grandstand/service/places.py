"""Where trainings can run: the places of all machines that have what one needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from grandstand.model.session import PERIODS_TO_LOST
from grandstand.store.jobs import Job
from grandstand.store.supervisors import Supervisor


class Bell:
    """Something may have happened: wakes all who wait for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Ring."""
        self._event.set()
        self._event = asyncio.Event()

    def coming(self) -> asyncio.Event:
        """Set with the next ring. Ask for it before looking, and wait for it after."""
        return self._event


@dataclass(frozen=True, slots=True)
class Places:
    """Where trainings with certain needs can run.

    Attributes:
        machines: the supervisors that take them; None where only this server's own does.
        others: names of living supervisors that do not take them.
        capacity: how many run at once.
        elsewhere: whether one of the places is on another machine.
    """

    machines: tuple[Supervisor, ...] | None
    others: Set[str]
    capacity: int
    elsewhere: bool

    def wanted_by(self, job: Job) -> bool:
        """Whether a job that waits is after the same places."""
        if self.machines is None:
            return True
        return any(set(job.needs) <= set(machine.labels) for machine in self.machines)

    def taken_by(self, job: Job) -> bool:
        """Whether a job that runs has one of them."""
        return job.claimed_by not in self.others


def places_for(
    known: Sequence[Supervisor],
    needs: Sequence[str],
    *,
    at: datetime,
    heartbeat_seconds: float,
    own: tuple[int, Sequence[str]],
) -> Places:
    """The places for a training with certain needs.

    Args:
        known: all supervisors.
        needs: labels that a machine must have.
        at: now; who was not heard of for three heartbeats before is not counted.
        own: this server's capacity and labels, which count where no supervisor is there at all.
    """
    limit = timedelta(seconds=PERIODS_TO_LOST * heartbeat_seconds)
    living = [one for one in known if at - one.last_seen_at <= limit and not one.draining]
    fitting = tuple(one for one in living if set(needs) <= set(one.labels))
    if not living:
        capacity, labels = own
        fits = set(needs) <= set(labels)
        return Places(None, frozenset(), capacity if fits else 0, elsewhere=False)
    return Places(
        fitting,
        {one.name for one in living} - {one.name for one in fitting},
        sum(one.capacity for one in fitting),
        elsewhere=any(not one.here for one in fitting),
    )
