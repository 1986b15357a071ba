"""Opens everything in order and closes it in reverse; the only place that picks backends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from grandstand.bus.base import Bus, Deleted, Missed, News, Rights
from grandstand.bus.memory import MemoryBus
from grandstand.clock import Clock, SystemClock
from grandstand.errors import Unavailable
from grandstand.launch.actor import Actor
from grandstand.launch.base import Launcher
from grandstand.launch.demo import run_demo
from grandstand.launch.desk import OwnDesk
from grandstand.launch.local import LocalLauncher
from grandstand.launch.runtime import Runtime
from grandstand.launch.supervisor import Supervisor
from grandstand.live.hub import Hub
from grandstand.model.cores import usable_cores
from grandstand.model.scenarios import MOST_RANKS
from grandstand.service.access import Access
from grandstand.service.accounts import Accounts
from grandstand.service.bulk import Bulk
from grandstand.service.evaluations import Evaluations
from grandstand.service.ledger import Ledger
from grandstand.service.models import Models
from grandstand.service.passwords import Passwords
from grandstand.service.queue import Queue
from grandstand.service.retention import Retention
from grandstand.service.rooms import Rooms
from grandstand.service.scenarios import Scenarios
from grandstand.service.sessions import Sessions
from grandstand.service.shelf import Shelf
from grandstand.service.supervisors import Supervisors
from grandstand.service.telemetry import Telemetry
from grandstand.service.training import Training
from grandstand.settings import Settings
from grandstand.store.database import Database
from grandstand.store.history import replay
from grandstand.store.series import SeriesStore
from grandstand.store.sessions import heads

logger = logging.getLogger("grandstand")


class Assembly:
    """A server's parts, wired. `build` makes one; `open` and `aclose` bracket its life.

    Attributes:
        settings, clock, runtime: what it was built from.
        sessions, telemetry, training, queue, scenarios, shelf, models, evaluations, access,
            accounts, rooms, bulk: the services.
        series: curves; retention: housekeeping; hub: the stands.
        supervisor: this machine's workers; supervisors: it and those of other machines.
    """

    def __init__(self, settings: Settings, clock: Clock, runtime: Runtime) -> None:
        self.settings = settings
        self.clock = clock
        self.runtime = runtime
        models_dir = settings.resolved_models_dir()
        heartbeat = settings.training.heartbeat_seconds
        self.database = Database.open(settings.resolved_database_url())
        self.bus: Bus = _bus(settings, clock)
        self.ledger = Ledger(self.database, self.bus, clock)
        self.access = Access(
            self.database,
            clock,
            enabled=settings.security.enable_auth,
            secret=settings.security.secret(),
            leeway_seconds=settings.security.token_leeway_seconds,
        )
        self.passwords = Passwords()
        self.accounts = Accounts(
            self.database,
            self.access,
            self.passwords,
            clock,
            token_hours=settings.security.token_hours,
        )
        self.scenarios = Scenarios(settings.resolved_scenarios_dir())
        self.sessions = Sessions(self.ledger, models_dir, heartbeat)
        self.bulk = Bulk(self.sessions, self.database)
        self.rooms = Rooms(
            self.ledger,
            self.access,
            self.passwords,
            enabled=settings.integration.enable_spectator_integration,
            watch_minutes=settings.security.watch_token_minutes,
        )
        self.telemetry = Telemetry(self.ledger)
        self.shelf = Shelf(models_dir)
        self.evaluations = Evaluations(
            self.ledger,
            self.scenarios,
            self.shelf,
            settings.data_storage_path / "cache",
            runtime.missing,
        )
        self.actor = Actor(clock, models_dir / "actor.log")
        self.models = Models(self.ledger, self.shelf, self.evaluations, self.actor, runtime.missing)
        elsewhere = settings.training.launcher != "local"
        self.training = Training(
            self.ledger,
            self.sessions,
            self.scenarios,
            self.shelf,
            self.evaluations,
            capacity=settings.training.max_concurrent_trainings,
            labels=settings.training.labels,
            # How many cores a cluster has free, it says itself.
            cores=(lambda: MOST_RANKS) if elsewhere else usable_cores,
            heartbeat_seconds=heartbeat,
            threads_per_worker=settings.training.threads_per_worker,
            max_attempts=settings.training.max_attempts,
            keep_checkpoints=settings.training.keep_checkpoints,
            missing=(lambda *_: None) if elsewhere else runtime.missing,
        )
        self.evaluations.work_waiting = self.training.work_waiting.set
        self.queue = Queue(self.ledger, self.sessions)
        self.series = SeriesStore(self.database, clock)
        self.retention = Retention(
            self.database,
            self.series,
            self.sessions,
            clock,
            drop_log_days=settings.retention.drop_packed_log_days,
            delete_days=settings.retention.delete_ended_sessions_days,
            image_bytes=settings.retention.keep_image_bytes,
            drop_audit_days=settings.retention.drop_audit_days,
        )
        self.hub = Hub(
            self.bus,
            self.replay,
            clock,
            max_hz=settings.performance.live_max_hz,
            queue_bytes=settings.performance.send_queue_bytes,
            per_session=settings.performance.max_connections_per_session,
            per_address=settings.performance.max_connections_per_address,
            total=settings.performance.max_total_connections,
            history=settings.performance.metrics_history_size,
        )
        self.supervisors = Supervisors(
            self.ledger, self.training, self.access, clock, heartbeat_seconds=heartbeat
        )
        capacity = settings.training.max_concurrent_trainings
        labels = settings.training.labels
        desk = OwnDesk(
            self.training, self.supervisors, self.access, clock, capacity=capacity, labels=labels
        )
        self.supervisor = Supervisor(
            desk,
            self._launcher(),
            LocalLauncher(clock),
            lambda training: (training and elsewhere) or runtime.ready(),
            clock,
            capacity=capacity,
            evaluations=1,
            heartbeat_seconds=heartbeat,
            folder=models_dir,
            environment={"GRANDSTAND_WORKER_NICE": str(settings.training.nice)},
        )
        self.opened_at = clock.now()
        self._tasks: set[asyncio.Task[None]] = set()
        self._supervising = False
        self._telling = False
        self._reading = 0

    async def open(self) -> None:
        """Make ready to serve; workers start only with `supervise`."""
        await self.access.open()
        # What others stored they put into blocks themselves.
        self.bus.subscribe(self.series.hear, own=True)
        self.bus.subscribe(self._hear)
        await self.series.open()
        await self.hub.open()
        await self.bus.open()
        if not self.bus.alone:
            self.access.changed.append(self._tell_rights)
            self.spawn(self.hub.rounds(self._heads))
            self.spawn(self.hub.tell_presence())
        self.sessions.watching = self.hub.watching
        self.rooms.away = self.hub.away
        self.opened_at = self.clock.now()
        self.spawn(self._look_after_sessions())
        self.spawn(self._keep_house())
        self.spawn(self.rooms.rounds())
        self.spawn(self.supervisors.rounds())

    def _launcher(self) -> Launcher:
        training = self.settings.training
        if training.launcher == "ray":
            from grandstand.launch.ray import RayLauncher

            return RayLauncher(training.ray_address, training.ray_python, self.clock)
        return LocalLauncher(self.clock)

    async def supervise(self, url: str, *, demo: bool = False) -> None:
        """Start taking jobs, once the server listens at `url`.

        Args:
            demo: also queue the demonstration and install the learning part where it is missing.
        """
        self._supervising = True
        await self.supervisor.open(self.settings.training.worker_url or url)
        if demo:
            self.spawn(run_demo(self.sessions, self.training, self.runtime))

    async def drain(self) -> None:
        """Have workers leave while the server still answers them, so that they lose nothing."""
        if self._supervising:
            self._supervising = False
            await self.supervisor.aclose()

    async def aclose(self) -> None:
        """Close in reverse; what waits to be committed is committed."""
        await self.drain()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.hub.aclose()
        await self.actor.aclose()
        self.passwords.close()
        await self.series.aclose()
        await self.bus.aclose()
        await self.database.aclose()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the server until it ends or the server closes."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception:
                logger.exception("a background task failed")

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hear(self, news: News) -> None:
        if isinstance(news, Deleted):
            self.access.forget_session(news.session_id)
        elif isinstance(news, Rights | Missed) and not self._telling:
            self.spawn(self._read_rights())

    def _tell_rights(self) -> None:
        """Have other instances read what credentials rest on, unless it was they who told us."""
        if not self._reading:
            self._telling = True
            self.bus.publish(Rights())
            self._telling = False

    async def _read_rights(self) -> None:
        self._reading += 1
        try:
            await self.access.refresh()
        except Unavailable:
            logger.warning("cannot read who may stay; it is tried again", exc_info=True)
        finally:
            self._reading -= 1

    async def _heads(self, session_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        return await self.database.read(lambda c: heads(c, session_ids))

    async def _look_after_sessions(self) -> None:
        while True:
            await self.clock.sleep(self.settings.training.heartbeat_seconds)
            await self.sessions.lose_silent()

    async def _keep_house(self) -> None:
        while True:
            await self.clock.sleep(self.settings.performance.cleanup_interval_seconds)
            try:
                await self.retention.round()
            except Exception:
                # Nothing is lost by a round that fails (a full disk, say); the next tries again.
                logger.exception("a round of housekeeping failed")

    async def replay(self, session_id: str, since_seq: int, limit: int) -> list[Any]:
        """``(seq, type, timestamp, data)`` of a session's messages after a seq, in order.

        Raises:
            NotFound: no such session.
        """
        pk = await self.sessions.key(session_id)
        return await self.database.read(lambda c: replay(c, pk, since_seq, limit))


def build(
    settings: Settings, *, clock: Clock | None = None, runtime: Runtime | None = None
) -> Assembly:
    """Wire a server for `settings`; nothing runs yet, but the database is open and migrated.

    Raises:
        Unavailable: the database cannot be opened.
    """
    return Assembly(settings, clock or SystemClock(), runtime or Runtime())


def _bus(settings: Settings, clock: Clock) -> Bus:
    if (url := settings.redis.address) is None:
        return MemoryBus()
    from grandstand.bus.redis import RedisBus  # its library is an extra

    return RedisBus(url, clock, name=settings.redis.name)
