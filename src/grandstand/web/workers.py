"""Several server processes at one port: a parent that listens, and starts again whoever dies."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.synchronize
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from grandstand import logs
from grandstand.clock import SystemClock
from grandstand.settings import Settings
from grandstand.web.server import bind, serve_at, url_of

logger = logging.getLogger("grandstand")

LEAVE_SECONDS = 15.0
"""How long processes get to see their workers and connections out."""
AGAIN_SECONDS = 1.0
"""A process that dies at once is not started at once."""


def serve_many(
    settings: Settings, count: int, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve with `count` processes until told to stop (Ctrl-C, SIGTERM).

    The kernel hands each connection to one of them. The first of them takes trainings; they share
    everything else through the database and Redis, as servers on several machines do.

    Raises:
        OSError: the address cannot be listened at.
    """
    listeners = bind(settings.host, settings.port)
    try:
        _Family(settings, listeners, count, on_ready).run()
    finally:
        for listener in listeners:
            listener.close()


class _Family:
    """The parent, and its processes by their place."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        count: int,
        on_ready: Callable[[str], None] | None,
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._count = count
        self._on_ready = on_ready
        self._context = multiprocessing.get_context("spawn")
        self._ready = self._context.Semaphore(0)
        self._processes: dict[int, SpawnProcess] = {}
        self._told, self._tell = socket.socketpair()
        self._leaving = False

    def run(self) -> None:
        """Start them, and start again whoever ends, until told to stop; then see them out."""
        before = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            for place in range(self._count):
                self._start(place)
            while not self._leaving and not self._ready.acquire(timeout=0.1):
                self._look(0.0)
            if self._on_ready is not None and not self._leaving:
                self._on_ready(url_of(self._settings.host, self._listeners[0]))
            while not self._leaving:
                self._look(None)
        finally:
            self._see_out()
            for number, handler in before.items():
                signal.signal(number, handler)
            self._told.close()
            self._tell.close()

    def _start(self, place: int) -> None:
        process = self._context.Process(
            target=_one,
            args=(self._settings, list(self._listeners), place == 0, self._ready),
            name=f"grandstand-{place}",
        )
        process.start()
        self._processes[place] = process

    def _look(self, timeout: float | None) -> None:
        """Wait for a process to end or for the word to stop, and start again what ended."""
        ends = {process.sentinel: place for place, process in self._processes.items()}
        for ended in multiprocessing.connection.wait([*ends, self._told], timeout):
            if self._leaving or not isinstance(ended, int):
                return
            place = ends[ended]
            process = self._processes[place]
            process.join()
            logger.error(
                "server process %s ended (exit code %s) and is started again",
                process.pid,
                process.exitcode,
            )
            SystemClock().wait(AGAIN_SECONDS)
            self._start(place)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True
        self._tell.send(b"!")

    def _see_out(self) -> None:
        for listener in self._listeners:  # or who comes now would wait for nobody
            listener.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(LEAVE_SECONDS)
            if process.is_alive():
                logger.warning("server process %s did not leave and is killed", process.pid)
                process.kill()
                process.join()


def _hand_nothing_down() -> None:
    """Keep what this process was given from the workers it starts: one that outlives it would hold
    the port, and the pipe whose end tells the parent that this process ended."""
    for entry in tuple(Path("/dev/fd").iterdir()):
        if int(entry.name) > 2:
            with contextlib.suppress(OSError):  # the one that the folder was read by
                os.set_inheritable(int(entry.name), False)


def _leave_with_parent() -> None:
    """End when the parent does: one that is killed says nothing, and its port must come free."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    logger.error("the process that started this one is gone; leaving")
    os.kill(os.getpid(), signal.SIGTERM)


def _one(
    settings: Settings,
    listeners: list[socket.socket],
    supervises: bool,
    ready: multiprocessing.synchronize.Semaphore,
) -> None:
    """One of the processes."""
    # Ctrl-C reaches the whole group; it is the parent that says when to leave.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _hand_nothing_down()
    threading.Thread(target=_leave_with_parent, name="grandstand-parent", daemon=True).start()
    logs.configure(settings)
    serve_at(settings, listeners, supervises=supervises, on_ready=lambda _: ready.release())
