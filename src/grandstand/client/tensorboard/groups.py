"""Scalars of one step, gathered into the one record that they become.

Where a group ends is told by the file alone: a follower that reads the file again finds the same
groups, names them by the same keys, and what was stored is not stored twice. The one exception is
a group that was reported before all of it was written; `Stored` knows those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from grandstand.client.tensorboard.events import Entry

ALSO = {
    "charts/episodic_return": "current_reward",
    "charts/episodic_length": "episode_length",
    "charts/learning_rate": "learning_rate",
    "rollout/ep_rew_mean": "average_reward",
    "train/learning_rate": "learning_rate",
    "train/loss": "loss_value",
}
"""Names of a metrics record under which a tag is stored too; docs/integrations.md has the table."""

TOGETHER_SECONDS = 1.0
"""Values told further apart are records of their own, each with its time."""
MOST = 256
"""Values of a record at most."""
NAME_CHARACTERS = 96
"""A key has at most 128 characters; of a longer file name its hash is taken."""


def key_of(file: str, entry: Entry) -> str:
    """Names a value within its session, by where it stands."""
    if len(file) > NAME_CHARACTERS:
        file = hashlib.sha256(file.encode()).hexdigest()
    return f"{file}@{entry.offset}.{entry.index}"


class Group:
    """Values that a file holds one after the other, of one step and with a tag each.

    Attributes:
        key: names it within the session, by where it begins.
        at: the time of the first value, aware, in UTC.
        step: as the script counted, may be negative.
        values: by tag.
    """

    def __init__(self, file: str, first: Entry) -> None:
        self.key = key_of(file, first)
        self.at = datetime.fromtimestamp(first.wall_time, UTC)
        self.step = first.step
        self.values: dict[str, float] = {}
        self._begun = first.wall_time
        self._names: set[str] = set()
        self.add(first)

    def takes(self, entry: Entry) -> bool:
        """Whether the value belongs here as well."""
        return (
            entry.step == self.step
            and abs(entry.wall_time - self._begun) <= TOGETHER_SECONDS
            and entry.tag not in self.values
            and ALSO.get(entry.tag) not in self._names
            and len(self.values) < MOST
        )

    def add(self, entry: Entry) -> None:
        """Take the value in; it is a scalar."""
        assert isinstance(entry.value, float)
        self.values[entry.tag] = entry.value
        if entry.tag in ALSO:
            self._names.add(ALSO[entry.tag])


class Stored:
    """Groups that the session has already: the newest of them, as its history tells of them.

    Args:
        rows: metrics records in their order, as ``GET …/history`` has them.
        whole: whether these are all there are; if not, the first may be one of several alike.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = (), *, whole: bool = True) -> None:
        self._tags: dict[tuple[datetime, int], list[set[str]]] = {}
        first = None
        for row in rows:
            place = (datetime.fromisoformat(row["timestamp"]), row.get("step") or 0)
            first = first or place
            self._tags.setdefault(place, []).append(set(row.get("extra") or ()))
        if first is not None and not whole:
            del self._tags[first]

    def claim(self, group: Group) -> set[str] | None:
        """The tags with which the group that begins like this was reported; None if it was not, or
        is not known any more."""
        told = self._tags.get((group.at, max(group.step, 0)), [])
        for i, tags in enumerate(told):
            if group.values.keys() <= tags:
                return told.pop(i)
        return None


class Gatherer:
    """The groups of one file.

    Args:
        file: its name.
        stored: what the session has already.
    """

    def __init__(self, file: str, stored: Stored) -> None:
        self._file = file
        self._stored = stored
        self._open: Group | None = None
        self._claimed: set[str] | None = None

    def take(self, entries: Iterable[Entry]) -> list[Group]:
        """The groups that end with these values; the last one usually waits for what follows."""
        done: list[Group] = []
        for entry in entries:
            if not isinstance(entry.value, float):
                continue
            if self._open is not None and self._open.takes(entry):
                self._open.add(entry)
            else:
                done += self.rest()
                self._open = Group(self._file, entry)
                self._claimed = self._stored.claim(self._open)
            if self._open.values.keys() == self._claimed:
                done += self.rest()
        return done

    def rest(self) -> list[Group]:
        """The group that waits, if there is one: nothing seems to follow."""
        group, self._open = self._open, None
        return [group] if group is not None else []
