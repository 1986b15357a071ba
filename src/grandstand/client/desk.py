"""The desk of a supervisor on another machine: jobs over HTTP.

Nobody answering is no failure here: the server may be restarting, and workers go on meanwhile.
Requests are made in threads, since the transport is the SDK's own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import grandstand
from grandstand.client.transport import Transport, call
from grandstand.clock import Clock
from grandstand.errors import GrandstandError, NotFound, Unavailable
from grandstand.model.assignments import Assignment

log = logging.getLogger("grandstand.supervisor")

RETRY_SECONDS = 2.0
TELL_SECONDS = 60.0
"""How long the end of a worker is told again; after that the server has seen it by its silence."""
HOLD_SECONDS = 10.0
"""How long the server holds an answer while there is nothing to say."""
SLACK_SECONDS = 20.0


class RemoteDesk:
    """A server's desk, as `grandstand.launch.base.Desk` promises; trainings only.

    Args:
        transport: to the server, with a token of scope ``supervise``.
        name: of this supervisor, its own among all.
        labels: what this machine has.
        capacity: trainings at once.
        clock: for the spans.

    Attributes:
        draining: whether it was asked to take no more.
        heartbeat_seconds, nice: what the server says, once `open` has returned.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        *,
        name: str,
        labels: Sequence[str],
        capacity: int,
    ) -> None:
        self._transport = transport
        self._waiting = transport.twin()
        self._clock = clock
        self._name = name
        self._labels = list(labels)
        self._capacity = capacity
        self._instance = secrets.token_hex(8)
        self._path = f"/api/supervisors/{name}"
        self._given: dict[str, Any] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._asks: set[asyncio.Task[Any]] = set()
        self._away = False
        self.draining = False
        self.heartbeat_seconds = 5.0
        self.nice = 10

    async def open(self, running: int) -> None:
        """See `Desk.open`.

        Raises:
            GrandstandError: the server refuses, or does not answer.
        """
        self._hear(await self._ask(self._transport, running, room=False, seconds=0.0))

    async def take(self, *, training: bool, running: int) -> Assignment | None:
        """See `Desk.take`."""
        if not training:
            return None
        if self._looking is not None:
            await self._looking  # never given up: its answer may bring a job
        elif self._given is None:
            await self._look(self._transport, running, room=True, seconds=0.0)
        job, self._given = self._given, None
        return _assignment(job) if job is not None else None

    async def wait(
        self, seconds: float, *, running: int, training_room: bool, evaluation_room: bool
    ) -> None:
        """See `Desk.wait`: the server holds the request."""
        if self._given is not None:
            return
        held = min(seconds, HOLD_SECONDS)
        if not training_room:
            await self._look(self._waiting, running, room=False, seconds=held)
            return
        if self._looking is None:
            look = self._look(self._waiting, running, room=True, seconds=held)
            self._looking = asyncio.create_task(look)
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    async def launched(self, job: Assignment, handle: str) -> None:
        """See `Desk.launched`."""
        told = {"attempt": job.attempt, "handle": handle}
        await self._tell(f"{self._path}/jobs/{job.id}/launched", told)

    async def gone(
        self,
        job: Assignment,
        *,
        why: str,
        error: Mapping[str, Any] | None = None,
        counts: bool = True,
    ) -> None:
        """See `Desk.gone`."""
        told = {
            "attempt": job.attempt,
            "why": why[:500],
            "error": dict(error) if error else None,
            "counts": counts,
        }
        await self._tell(f"{self._path}/jobs/{job.id}/gone", told)

    async def held(self) -> Sequence[Assignment] | None:
        """See `Desk.held`."""
        try:
            answer = await asyncio.to_thread(
                call, self._transport, "GET", f"{self._path}/jobs", repeatable=True
            )
        except GrandstandError as error:
            self._nobody(error)
            return None
        return [_assignment(job) for job in answer["jobs"]]

    async def aclose(self) -> None:
        """See `Desk.aclose`."""
        await self._leave()
        if self._asks:
            # The server lets go of a request that it holds for one who has left; one that was on
            # its way may still have made us known again, or have brought a job.
            await asyncio.wait(self._asks)
            await self._leave()
        if self._given is not None:
            why = "the supervisor was leaving when it got the training"
            await self.gone(_assignment(self._given), why=why, counts=False)
        self._transport.close()
        self._waiting.close()

    async def _leave(self) -> None:
        path = f"{self._path}?instance={self._instance}"
        try:
            await asyncio.to_thread(
                call, self._transport, "DELETE", path, timeout=5.0, repeatable=True
            )
        except GrandstandError as error:  # it is seen as silent soon
            log.warning("cannot tell that this supervisor leaves: %s", error.message)

    def _looked(self, _: asyncio.Task[None]) -> None:
        self._looking = None

    async def _look(
        self, transport: Transport, running: int, *, room: bool, seconds: float
    ) -> None:
        try:
            answer = await self._ask(transport, running, room=room, seconds=seconds)
        except GrandstandError as error:
            self._nobody(error)
            await self._clock.sleep(RETRY_SECONDS)
            return
        self._hear(answer)

    async def _ask(
        self, transport: Transport, running: int, *, room: bool, seconds: float
    ) -> dict[str, Any]:
        told = {
            "instance": self._instance,
            "labels": self._labels,
            "capacity": self._capacity,
            "running": running,
            "room": room,
            "version": grandstand.__version__,
            "draining": self.draining,
            "wait_seconds": seconds,
        }
        ask = asyncio.create_task(
            asyncio.to_thread(
                call, transport, "POST", f"{self._path}/take", told, timeout=seconds + SLACK_SECONDS
            )
        )
        self._asks.add(ask)
        ask.add_done_callback(self._asked)
        return dict(await asyncio.shield(ask))

    def _asked(self, ask: asyncio.Task[Any]) -> None:
        """Keep a job that was given, also when nobody waits for the answer any more."""
        self._asks.discard(ask)
        if ask.cancelled() or ask.exception() is not None:
            return
        if (job := ask.result()["job"]) is not None:
            self._given = job

    def _hear(self, answer: Mapping[str, Any]) -> None:
        if self._away:
            log.info("the server answers again")
            self._away = False
        if answer["draining"] != self.draining:
            self.draining = bool(answer["draining"])
            log.info("takes no more trainings" if self.draining else "takes trainings again")
        self.heartbeat_seconds = float(answer["heartbeat_seconds"])
        self.nice = int(answer["nice"])

    def _nobody(self, error: GrandstandError) -> None:
        if not self._away:
            log.warning("%s; workers go on meanwhile", error.message)
            self._away = True

    async def _tell(self, path: str, told: Mapping[str, Any]) -> None:
        until = self._clock.monotonic() + TELL_SECONDS
        while True:
            try:
                await asyncio.to_thread(
                    call, self._transport, "POST", path, dict(told), repeatable=True
                )
            except NotFound:
                return  # its end is known already
            except Unavailable as error:
                self._nobody(error)
                if self._clock.monotonic() > until:
                    return
                await self._clock.sleep(RETRY_SECONDS)
            else:
                return


def _assignment(job: Mapping[str, Any]) -> Assignment:
    return Assignment(
        id=int(job["id"]),
        task=f"session:{job['session_id']}",
        training=True,
        attempt=int(job["attempt"]),
        token=job.get("token"),
        handle=job["handle"],
        silent_seconds=float(job.get("silent_seconds", 0.0)),
    )
