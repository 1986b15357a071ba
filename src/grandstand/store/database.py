"""The database: one writer thread with group commit, a small pool of readers.

Whatever waits is one transaction, so a busy server pays for one fsync where it would pay for
hundreds. A write's future resolves only after the commit that made it durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from grandstand.errors import GrandstandError, Unavailable
from grandstand.model.tally import NUMBERS, SECONDS, Tally
from grandstand.store.engine import (
    WRITER,
    bad_luck,
    connection_lost,
    database_url,
    first_failure,
    for_reading,
    only_read,
    open_engine,
    refusal,
    unavailable,
)

__all__ = ["Connection", "Database", "Many"]

logger = logging.getLogger("grandstand.store")

T = TypeVar("T")
GROUP = 1024
"""Most writes in one transaction."""
AGAIN = 3
"""How often a transaction is run again that a deadlock or a lost connection has undone."""
BREATH_SECONDS = 0.02
SPARE_PAGES = 8192
"""Free pages (32 MiB) of an SQLite file that are not worth giving back."""
RECLAIM_PAGES = 512
"""Pages given back in one transaction."""


class Many:
    """A write that likes company: neighbours of the same `merge` run together.

    Args:
        merge: runs a whole run of them, giving one result or exception each; it must leave no
            trace of an item it answers with an exception.
        item: what this write brings.
    """

    __slots__ = ("item", "merge")

    def __init__(self, merge: Callable[[Connection, list[Any]], list[Any]], item: Any) -> None:
        self.merge = merge
        self.item = item


@dataclass(slots=True)
class _Write:
    work: Callable[[Connection], Any] | Many
    future: asyncio.Future[Any]


class Database:
    """An open database.

    Use `Database.open`; close with `aclose`, which commits what waits.
    """

    def __init__(self, engine: Engine, readers: int) -> None:
        self.engine = engine
        self._reading = for_reading(engine)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="grandstand-read")
        self._writer = threading.Thread(target=self._run, name=WRITER, daemon=True)
        self._connection: Connection | None = None  # the writer's; taking one costs a tenth
        self._closed = False
        self.commits = self.failures = 0
        self.commit_seconds = Tally(SECONDS)
        self.together = Tally(NUMBERS)  # writes in one commit

    @classmethod
    def open(cls, url: str, *, readers: int = 4, migrate: bool = True) -> Database:
        """Connect, bring the tables up to date and start the writer.

        Args:
            url: ``sqlite:///path`` (makes the folder it needs) or
                ``postgresql://user:password@host/name``.
            readers: threads for reading.
            migrate: False leaves the tables as they are.

        Raises:
            Unavailable: the database cannot be opened, with the reason in `detail`.
        """
        where = database_url(url)
        engine = None
        try:
            engine = open_engine(where, readers)
            if migrate:
                from grandstand.store.migrate import upgrade

                upgrade(engine)
            database = cls(engine, readers)
            database._writer.start()
        except (DBAPIError, OSError, Unavailable) as error:
            if engine is not None:
                engine.dispose()
            if isinstance(error, Unavailable):
                raise
            raise Unavailable(
                f"cannot open the database {where.render_as_string()}",
                code="database_unavailable",
                detail=str(getattr(error, "orig", error)),
            ) from error
        return database

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the writer thread; returns when it is committed.

        An exception in `work` undoes that work alone and is raised here. `work` may be run more
        than once (after a deadlock, or because of a neighbour): all that it does must be done
        through the connection.

        Raises:
            Unavailable: it was not committed (disk full, no connection), and nothing of it is
                stored; or (code ``outcome_unknown``) the connection was lost in the commit.
        """
        return cast("T", await self._submit(work))

    async def write_many(
        self, merge: Callable[[Connection, list[Any]], list[Any]], item: Any
    ) -> Any:
        """Like `write`, letting neighbours in the queue share their statements. See `Many`."""
        return await self._submit(Many(merge, item))

    def _submit(self, work: Callable[[Connection], Any] | Many) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise Unavailable("the server is stopping", code="stopping")
        self._loop = loop
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Write(work, future))
        return future

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a reader thread, on a snapshot of what is committed.

        Raises:
            Unavailable: the database does not answer.
        """

        def job() -> T:
            try:
                with self._reading.connect() as connection:
                    return work(connection)
            except DBAPIError as error:
                if not unavailable(error):
                    raise
                logger.error("the database could not be read: %s", first_failure(error))
                raise refusal("the database cannot be read", error) from error

        return await asyncio.get_running_loop().run_in_executor(self._readers, job)

    @property
    def waiting(self) -> int:
        """Writes that the writer has not begun yet."""
        return self._queue.qsize()

    async def reclaim(self) -> None:
        """Give pages that nothing needs any more back to the disk, a few at a time.

        Only when they are many: most are needed again soon. PostgreSQL sees to it by itself.
        """
        if self.engine.dialect.name != "sqlite":
            return

        def spare(connection: Connection) -> tuple[int, int]:
            pages, free = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar() or 0)
                for name in ("page_count", "freelist_count")
            )
            return pages, free

        def give_back(connection: Connection) -> None:
            # The driver takes one step of a statement without rows, which gives back one page.
            cursor = connection.connection.cursor()
            for _ in range(RECLAIM_PAGES):
                cursor.execute("PRAGMA incremental_vacuum(1)")
            cursor.close()

        pages, free = await self.read(spare)
        if free < max(SPARE_PAGES, pages // 4):
            return
        while free > max(SPARE_PAGES // 4, pages // 8):
            await self.write(give_back)
            before, (pages, free) = free, await self.read(spare)
            if free >= before:  # a database made before this was possible
                return

    async def aclose(self) -> None:
        """Commit what waits, then let go."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._writer.join)
        self._readers.shutdown(wait=True)
        self.engine.dispose()

    # The writer thread.

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Give the writer's connection back; after a failure the next one may be a better one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _serve(self) -> None:
        ended = False
        while not ended:
            first = self._queue.get()
            if first is None:
                return
            writes = [first]
            while len(writes) < GROUP:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ended = True
                    break
                writes.append(more)
            begun = perf_counter()
            results = self._commit(writes)
            self.commit_seconds.add(perf_counter() - begun)
            self.together.add(len(writes))
            self._deliver(writes, results)

    def _commit(self, writes: Sequence[_Write], *, tried: int = 0) -> list[Any]:
        """What became of each write: its result, once committed, or the exception to raise."""
        begun = sent = False
        try:
            connection = self._connection = self._connection or self.engine.connect()
            with connection.begin():
                begun = True
                results = self._work(connection, writes)
                sent = True
            self.commits += 1
            return results
        except Exception as error:
            self._let_go()
            if sent and connection_lost(error):
                # Whether the server still got to commit cannot be known, so nothing is repeated.
                logger.error("the connection was lost in a commit: %s", error)
                return [_outcome_unknown() for _ in writes]
            if tried < AGAIN and begun and bad_luck(error):
                # Whoever we were in the way of has been woken; at once we might be there first.
                threading.Event().wait(BREATH_SECONDS * 2**tried)
                return self._commit(writes, tried=tried + 1)
            if begun and len(writes) > 1 and not connection_lost(error):
                # One of them poisoned the transaction: each on its own, so that only it fails.
                return [self._commit([write])[0] for write in writes]
            if not (unavailable(error) or only_read(error)):
                return [error]
            logger.error("a commit failed, nothing of it was stored: %s", first_failure(error))
            self.failures += 1
            told = "the database did not take the write; nothing of it was stored"
            return [refusal(told, error) for _ in writes]

    def _work(self, connection: Connection, writes: Sequence[_Write]) -> list[Any]:
        results: list[Any] = []
        at = 0
        while at < len(writes):
            work = writes[at].work
            if isinstance(work, Many):
                items = []
                while at < len(writes):
                    other = writes[at].work
                    if not isinstance(other, Many) or other.merge is not work.merge:
                        break
                    items.append(other.item)
                    at += 1
                results.extend(work.merge(connection, items))
                continue
            at += 1
            if len(writes) == 1:  # what it raises undoes the whole transaction, which is its own
                return [work(connection)]
            try:
                with connection.begin_nested():
                    results.append(work(connection))
            except GrandstandError as error:
                results.append(error)
            except DBAPIError:
                raise
            except Exception as error:
                results.append(error)
        return results

    def _deliver(self, writes: Sequence[_Write], results: Sequence[Any]) -> None:
        def resolve() -> None:
            for write, result in zip(writes, results, strict=True):
                if write.future.done():
                    continue
                if isinstance(result, BaseException):
                    write.future.set_exception(result)
                else:
                    write.future.set_result(result)

        loop = writes[0].future.get_loop()
        with contextlib.suppress(RuntimeError):  # closed: there is nobody left to tell
            loop.call_soon_threadsafe(resolve)


def _outcome_unknown() -> Unavailable:
    return Unavailable(
        "the connection to the database was lost in the commit; it may have been stored or not",
        code="outcome_unknown",
        detail="Look, or send it again: with the same batch_id or key it is stored once.",
    )
