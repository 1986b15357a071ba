"""Housekeeping: what is long past is packed, and what the settings say is old is dropped.

Nothing is dropped unless a `retention_…` setting says so. A round may be cut off at any moment;
the next one goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from grandstand.clock import Clock
from grandstand.errors import Conflict, NotFound
from grandstand.service.sessions import Sessions
from grandstand.store import accounts, audit, media, packing
from grandstand.store import sessions as session_rows
from grandstand.store.database import Database
from grandstand.store.packing import Pack, Packable
from grandstand.store.series import SeriesStore

logger = logging.getLogger("grandstand.retention")


@dataclass(slots=True)
class Round:
    """What one round of housekeeping did.

    Attributes:
        packed: batches put into packed rows.
        raw_bytes, packed_bytes: their bodies before and after.
        dropped: sessions whose raw log was dropped.
        images: images let go.
        deleted: sessions deleted.
        forgotten: lines of the audit log that were dropped.
    """

    packed: int = 0
    raw_bytes: int = 0
    packed_bytes: int = 0
    dropped: int = 0
    images: int = 0
    deleted: int = 0
    forgotten: int = 0


class Retention:
    """Packs and drops.

    Args:
        drop_log_days: after so many days the raw log of an ended session goes; None keeps it.
        delete_days: after so many days an ended session goes; None keeps it.
        image_bytes: of each session's images the newest of so many bytes stay; None keeps all.
        drop_audit_days: after so many days a line of the audit log goes; None keeps it.
    """

    def __init__(
        self,
        database: Database,
        series: SeriesStore,
        sessions: Sessions,
        clock: Clock,
        *,
        drop_log_days: float | None = None,
        delete_days: float | None = None,
        image_bytes: int | None = None,
        drop_audit_days: float | None = None,
    ) -> None:
        self._database = database
        self._series = series
        self._sessions = sessions
        self._clock = clock
        self._drop_log_days = drop_log_days
        self._delete_days = delete_days
        self._image_bytes = image_bytes
        self._drop_audit_days = drop_audit_days
        self._running = asyncio.Lock()

    async def round(self) -> Round:
        """Do what is due; returns what was done."""
        async with self._running:
            done = Round()
            await self._delete(done)
            for found in await self._database.read(packing.packable):
                try:
                    await self._pack(found, done)
                except NotFound:
                    continue  # deleted meanwhile
                except Conflict:
                    continue  # another server is at it
            await self._drop(done)
            await self._trim(done)
            await self._forget(done)
            if done != Round():
                logger.info(
                    "packed %d batches (%.1f MB to %.1f MB), dropped the log of %d sessions and "
                    "%d images, deleted %d sessions, dropped %d lines of the audit log",
                    done.packed,
                    done.raw_bytes / 1e6,
                    done.packed_bytes / 1e6,
                    done.dropped,
                    done.images,
                    done.deleted,
                    done.forgotten,
                )
            await self._database.reclaim()
            return done

    async def _pack(self, found: Packable, done: Round) -> None:
        if found.resting:
            await self._series.finish(found.session_pk)
        after = found.packed_seq
        while after < found.until_seq:
            begun = self._clock.monotonic()
            make = partial(Pack, session_pk=found.session_pk, after=after, until=found.until_seq)
            pack = await self._database.read(make)
            if not pack.rows:
                return
            await self._database.write(pack.store)
            after = pack.last_seq
            done.packed += pack.rows
            done.raw_bytes += pack.raw_bytes
            done.packed_bytes += pack.packed_bytes
            # Reporters come first: at most every other moment is housekeeping's.
            await self._clock.sleep(self._clock.monotonic() - begun)

    async def _drop(self, done: Round) -> None:
        if self._drop_log_days is None:
            return
        before = self._clock.now() - timedelta(days=self._drop_log_days)
        for pk, session_id, last_seq in await self._database.read(
            lambda c: packing.with_log(c, before)
        ):
            try:
                await self._series.finish(pk)  # everything up to last_seq is in blocks then
            except NotFound:
                continue
            await self._database.write(partial(packing.drop_log, session_pk=pk, until_seq=last_seq))
            done.dropped += 1
            logger.info("dropped the raw log of session %s; its series stay", session_id)

    async def _trim(self, done: Round) -> None:
        most = self._image_bytes
        if most is None:
            return
        for pk in await self._database.read(lambda c: media.sessions_over(c, most)):
            done.images += await self._database.write(
                partial(media.trim, session_pk=pk, most_bytes=most)
            )

    async def _forget(self, done: Round) -> None:
        """Drop tokens taken back that have expired since, and old lines of the audit log."""
        now = self._clock.now()
        if await self._database.read(lambda c: accounts.any_expired(c, now)):
            await self._database.write(lambda c: accounts.forget_expired(c, now))
        if self._drop_audit_days is not None:
            before = now - timedelta(days=self._drop_audit_days)
            done.forgotten = await self._database.write(lambda c: audit.drop_before(c, before))

    async def _delete(self, done: Round) -> None:
        if self._delete_days is None:
            return
        before = self._clock.now() - timedelta(days=self._delete_days)
        for session_id in await self._database.read(lambda c: session_rows.ended_before(c, before)):
            try:
                await self._sessions.delete(session_id)
            except (NotFound, Conflict):
                continue  # gone, or opened again
            done.deleted += 1
            logger.info("deleted session %s, which ended before %s", session_id, before)
