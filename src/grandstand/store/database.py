"""The database: one writer thread with group commit, a small pool of readers.

Whatever waits is one transaction, so a busy server pays for one fsync where it would pay for
hundreds. A write's future resolves only after the commit that made it durable.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool

from grandstand.errors import GrandstandError, Unavailable

__all__ = ["Connection", "Database", "Many"]

logger = logging.getLogger("grandstand.store")

T = TypeVar("T")
GROUP = 1024
"""Most writes in one transaction."""
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="grandstand-read")
        self._writer = threading.Thread(target=self._run, name="grandstand-write", daemon=True)
        self._closed = False
        self.commits = 0

    @classmethod
    def open(cls, url: str, *, readers: int = 4, migrate: bool = True) -> Database:
        """Connect, bring the tables up to date and start the writer.

        Args:
            url: an SQLAlchemy URL; ``sqlite:///path`` makes the folder it needs.
            readers: threads for reading.
            migrate: False leaves the tables as they are.

        Raises:
            Unavailable: the database cannot be opened, with the reason in `detail`.
        """
        engine = None
        try:
            engine = _engine(url, readers)
            if migrate:
                from grandstand.store.migrate import upgrade

                upgrade(engine)
            database = cls(engine, readers)
            database._writer.start()
        except (DBAPIError, OSError) as error:
            if engine is not None:
                engine.dispose()
            raise Unavailable(
                f"cannot open the database {make_url(url).render_as_string()}",
                code="database_unavailable",
                detail=str(getattr(error, "orig", error)),
            ) from error
        return database

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the writer thread; returns when it is committed.

        An exception in `work` undoes that work alone and is raised here.

        Raises:
            Unavailable: the commit failed (disk full, connection lost): nothing was stored.
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
        """Run `work` in a reader thread, on a snapshot of what is committed."""

        def job() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, job)

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
            self._deliver(writes, self._commit(writes))

    def _commit(self, writes: Sequence[_Write]) -> list[Any]:
        try:
            with self.engine.begin() as connection:
                results = self._work(connection, writes)
            self.commits += 1
            return results
        except Exception as error:
            if len(writes) > 1:
                # One of them poisoned the transaction: each on its own, so that only it fails.
                return [self._commit([write])[0] for write in writes]
            return [self._refusal(error)]

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

    @staticmethod
    def _refusal(error: Exception) -> Exception:
        if isinstance(error, OperationalError):
            # A full disk ends the transaction with all its savepoints, and undoing one then fails
            # as well: the first failure is the one to tell.
            inner = error.__context__
            while inner is not None:
                error = inner if isinstance(inner, OperationalError) else error
                inner = inner.__context__
            logger.error("a commit failed, nothing of it was stored: %s", error.orig)
            return Unavailable(
                "the database did not take the write; nothing of it was stored",
                code="database_unavailable",
                detail=str(error.orig),
            )
        return error

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
        if not loop.is_closed():
            loop.call_soon_threadsafe(resolve)


def _engine(url: str, readers: int) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_size=readers + 1, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).expanduser().resolve().parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            parsed,
            poolclass=QueuePool,
            pool_size=readers + 1,
            connect_args={"check_same_thread": False, "timeout": 30},
        )
    else:
        engine = create_engine(parsed, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        # The driver's own transaction handling is off: BEGIN is ours (see `begin`).
        connection.isolation_level = None
        cursor = connection.cursor()
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")  # only an empty file heeds it
        for pragma in (
            "journal_mode=WAL",
            "journal_size_limit=67108864",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "cache_size=-16000",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writer = threading.current_thread().name == "grandstand-write"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine
