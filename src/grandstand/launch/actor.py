"""A process that has models loaded and acts with them: the house itself knows no torch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grandstand.clock import Clock
from grandstand.errors import Unavailable, from_body

logger = logging.getLogger("grandstand.actor")

ANSWER_SECONDS = 60.0
"""The first answer takes as long as loading torch does."""
IDLE_SECONDS = 300.0
LINE_BYTES = 4 * 2**20


class Actor:
    """Starts the process at the first question, ends it when nobody asks for five minutes.

    Args:
        log_file: what the process prints goes here.
    """

    def __init__(self, clock: Clock, log_file: Path) -> None:
        self._clock = clock
        self._log_file = log_file
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._asked_at = 0.0
        self._reaper: asyncio.Task[None] | None = None

    async def act(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """See `service.models.Player`; one question at a time.

        Raises:
            GrandstandError: as the process answered.
            Unavailable: it did not start, or did not answer (code ``actor_unavailable``).
        """
        async with self._turn:
            self._asked_at = self._clock.monotonic()
            process = await self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    process.stdin.write(json.dumps(dict(told)).encode() + b"\n")
                    await process.stdin.drain()
                    line = await process.stdout.readline()
            except BaseException as error:
                await self._end()  # a late answer must not be taken for that of the next question
                if isinstance(error, (TimeoutError, OSError)):
                    raise _silent() from error
                raise
        if not line:
            async with self._turn:
                await self._end()
            raise _silent()
        answer = json.loads(line)
        if "error" in answer:
            raise from_body(answer["status"], answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    async def aclose(self) -> None:
        """End the process."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.wait((self._reaper,))
        await self._end()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "grandstand.worker.actor",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=output,
                    limit=LINE_BYTES,
                    start_new_session=True,  # Ctrl-C is for the server; this ends with its input
                )
            except OSError as error:
                raise Unavailable(
                    f"models cannot be played here: {error}", code="actor_unavailable"
                ) from error
        logger.info("process %d has models to play", self._process.pid)
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._end_when_idle())
        return self._process

    async def _end_when_idle(self) -> None:
        while True:
            left = self._asked_at + IDLE_SECONDS - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
                continue
            async with self._turn:
                await self._end()
                self._reaper = None
                return

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _silent() -> Unavailable:
    return Unavailable(
        "the process that plays models did not answer",
        code="actor_unavailable",
        detail="Try again; its output is in actor.log in the models folder.",
    )
