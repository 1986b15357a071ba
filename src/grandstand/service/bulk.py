"""The same done to many sessions, and what they take on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandstand.errors import Conflict, GrandstandError, NotFound
from grandstand.service.sessions import Sessions
from grandstand.store.database import Database
from grandstand.store.usage import Usage, usage

LONGEST_LIST = 64
"""Tags of one session."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of many sessions.

    Attributes:
        done: ids of those it was done to.
        refused: of the others, the id and why.
    """

    done: list[str]
    refused: list[tuple[str, GrandstandError]]


@dataclass(frozen=True, slots=True)
class Size:
    """What a session takes on disk: in the database, and in files, in bytes."""

    database: Usage
    files: int


class Bulk:
    """Verbs for many sessions.

    Each session is a transaction of its own, so others write in between, and one that cannot be
    changed keeps none of the rest.
    """

    def __init__(self, sessions: Sessions, database: Database) -> None:
        self._sessions = sessions
        self._database = database

    async def change(
        self,
        ids: Sequence[str],
        action: str,
        *,
        tags: Sequence[str] = (),
        files: bool = False,
        may: Callable[[str], None],
    ) -> Outcome:
        """Do the same to many sessions.

        Args:
            action: archive, unarchive, tag, untag or delete.
            tags: to add or take away.
            files: delete model files and checkpoints too.
            may: raises what a session's id is refused with.
        """
        outcome = Outcome([], [])
        for session_id in dict.fromkeys(ids):
            try:
                may(session_id)
                await self._one(session_id, action, tags, files=files)
            except (NotFound, Conflict) as error:
                outcome.refused.append((session_id, error))
            except GrandstandError as error:
                if error.retryable:  # the store is away, and so it is for all others
                    raise
                outcome.refused.append((session_id, error))
            else:
                outcome.done.append(session_id)
        return outcome

    async def _one(self, session_id: str, action: str, tags: Sequence[str], *, files: bool) -> None:
        if action == "delete":
            await self._sessions.delete(session_id, files=files)
            return
        changes: dict[str, Any]
        if action in ("archive", "unarchive"):
            changes = {"archived": action == "archive"}
        else:
            have = (await self._sessions.get(session_id)).tags
            if action == "untag":
                wanted = [tag for tag in have if tag not in tags]
            else:
                wanted = list(dict.fromkeys([*have, *tags]))
            if len(wanted) > LONGEST_LIST:
                raise Conflict(
                    f"session {session_id} would have {len(wanted)} tags",
                    code="too_many_tags",
                    details={"max": LONGEST_LIST},
                )
            changes = {"tags": wanted}
        await self._sessions.update(session_id, changes)

    async def sizes(self, ids: Sequence[str]) -> list[Size]:
        """What sessions take on disk, those that there are."""
        found = await self._database.read(lambda c: usage(c, list(dict.fromkeys(ids))))
        folders = [self._sessions.folder(one.session_id) for one in found]
        files = await asyncio.to_thread(lambda: [_bytes_below(folder) for folder in folders])
        return [Size(one, size) for one, size in zip(found, files, strict=True)]


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
        except FileNotFoundError:  # a checkpoint that was pruned a moment ago
            continue
    return total
