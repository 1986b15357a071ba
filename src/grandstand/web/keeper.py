"""The doorkeeper: asks open sockets again whether they may stay."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grandstand.clock import Clock
from grandstand.errors import Forbidden, GrandstandError, Unauthenticated
from grandstand.service.access import Access, Grant, Scope

logger = logging.getLogger("grandstand.web.doors")

ROUND_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class Held:
    """An open socket, and what it was let in with.

    Attributes:
        session_id: the one it is about; None where it hears of all.
        close: ends it, with a code and a reason.
        recheck: has it look itself what it may still hear.
    """

    grant: Grant
    scope: Scope
    session_id: str | None
    close: Callable[[int, str], None]
    recheck: Callable[[], None] | None = None


class Keeper:
    """Every open socket."""

    def __init__(self, access: Access, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._held: set[Held] = set()
        access.changed.append(self.round)

    @contextlib.contextmanager
    def keep(self, held: Held) -> Iterator[Held]:
        """Ask for this one too, while it is open."""
        self._held.add(held)
        try:
            yield held
        finally:
            self._held.discard(held)

    def add(self, held: Held) -> None:
        """The same, without an end; see `drop`."""
        self._held.add(held)

    def drop(self, held: Held) -> None:
        """Ask for it no more."""
        self._held.discard(held)

    def renew(self, held: Held, grant: Grant) -> None:
        """Let a socket stay on another grant.

        Raises:
            Forbidden, Unauthenticated: it would not have been let in with that one, or not with
                the seat it has.
        """
        if grant.seat != held.grant.seat:
            raise Forbidden(
                "this token is of another seat",
                code="other_seat",
                detail="Connect again, with that token.",
            )
        if held.session_id is not None:
            grant.check(held.scope, held.session_id)
        else:
            grant.check(held.scope, grant.session_id)
        held.grant = grant

    def round(self) -> None:
        """Close those that may not stay."""
        for held in tuple(self._held):
            try:
                self._access.still(held.grant, held.scope)
                if held.session_id is not None:
                    held.grant.check(held.scope, held.session_id)
            except GrandstandError as error:
                # What was taken back is not let in again by asking again.
                code = error.close_code
                if isinstance(error, Unauthenticated) and error.code == "token_revoked":
                    code = 4403
                held.close(code, error.message)
            else:
                if held.recheck is not None:
                    held.recheck()

    async def rounds(self) -> None:
        """Read again what credentials rest on, and ask everybody, every few seconds."""
        while True:
            await self._clock.sleep(ROUND_SECONDS)
            try:
                await self._access.refresh()
            except GrandstandError:
                # The database is away; who is known stays known until it is back.
                logger.warning("cannot read who may stay", exc_info=True)
            self.round()
