"""A worker on another machine than the server: its checkpoints and its model travel.

What it goes on from is fetched from the server, which has what any worker before it sent; nothing
on this machine's disk is relied on. Each checkpoint is written here, as always, and then sent by a
thread of its own while training goes on. One that a newer one overtakes is not sent any more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

from grandstand.client.transport import Transport
from grandstand.clock import Clock
from grandstand.errors import (
    Conflict,
    Forbidden,
    Gone,
    GrandstandError,
    NotFound,
    Unavailable,
)
from grandstand.model.archives import archive, unpack
from grandstand.model.checkpoints import FOLDER

log = logging.getLogger("grandstand.worker")

ZIP = "application/zip"
SEND_SECONDS = 120.0
RETRY_SECONDS = 1.0
MOST_BYTES = 2**34
"""What may be fetched; the server has bounded it when it came."""


class Uploads:
    """Sends what a session's worker writes.

    Args:
        transport: to the server, its own.
        session_id: whose.
        clock: for the spans.
    """

    def __init__(self, transport: Transport, session_id: str, clock: Clock) -> None:
        self._transport = transport
        self._base = f"/api/training/sessions/{session_id}"
        self._clock = clock
        self._changed = threading.Condition()
        self._next: tuple[Path, int, Callable[[str | None], None]] | None = None
        self._busy = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)

    def fetch(self, folder: Path) -> Path | None:
        """Put the checkpoint to go on from into a session's folder here.

        Returns:
            The folder of the session it came from if that is another one; None where it is this
            session's own, or there is none.

        Raises:
            GrandstandError: the server refused, or what a training is to start from is not there.
        """
        if self._fetch("own", folder / FOLDER):
            return None
        source = folder / "source"
        return source if self._fetch("source", source / FOLDER) else None

    def _fetch(self, of: str, root: Path) -> bool:
        path = f"{self._base}/order/checkpoint?of={of}"
        reply = self._transport.request("GET", path, timeout=SEND_SECONDS, repeatable=True)
        if reply.status >= 300:
            error = reply.error()
            if error.code == "checkpoint_not_found" and of == "own":
                return False
            if error.code == "nothing_to_start_from":
                return False
            raise error
        told = reply.headers.get("Content-Disposition") or ""
        name = told.rpartition('filename="')[2].removesuffix('.zip"')
        folder = root / Path(name).name
        folder.mkdir(parents=True)
        unpack(BytesIO(reply.body), folder, most_bytes=MOST_BYTES)
        log.info("fetched %s", folder.name)
        return True

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def offer(self, path: Path, episode: int, told: Callable[[str | None], None]) -> None:
        """Send a checkpoint as soon as the one under way is through.

        Args:
            path: its folder, which may be gone by then; then it is not sent.
            episode: finished episodes, the N of its name.
            told: called from the sending thread: with None once the server has it on disk, with
                the reason when it does not take it. Not called for one that was overtaken.
        """
        with self._changed:
            self._next = path, episode, told
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until everything offered is with the server, or was refused; False: not in time."""
        until = self._clock.monotonic() + seconds
        with self._changed:
            while self._next is not None or self._busy:
                left = until - self._clock.monotonic()
                if left <= 0 or self._over:
                    return False
                self._changed.wait(left)
            return True

    def send_model(self, files: Iterable[Path]) -> None:
        """Send the files of the finished model.

        Raises:
            GrandstandError: the server did not take them.
        """
        with archive((path, path.name) for path in files) as packed:
            body = packed.read()
        until = self._clock.monotonic() + SEND_SECONDS
        while True:
            try:
                self._put(f"{self._base}/model", body)
            except Unavailable:
                if self._clock.monotonic() > until:
                    raise
                self._clock.wait(RETRY_SECONDS)
            else:
                return

    def close(self) -> None:
        """Stop sending; what is under way is given up."""
        with self._changed:
            self._over = True
            self._next = None
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._next is None and not self._over:
                    self._changed.wait()
                if self._over or self._next is None:
                    break
                path, episode, told = self._next
                self._next, self._busy = None, True
            try:
                self._send(path, episode, told)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
        self._transport.close()

    def _send(self, path: Path, episode: int, told: Callable[[str | None], None]) -> None:
        try:
            with archive((f, f"{path.name}/{f.name}") for f in sorted(path.iterdir())) as packed:
                body = packed.read()
        except FileNotFoundError:  # pruned meanwhile: a newer one is waiting
            return
        while True:
            try:
                self._put(f"{self._base}/checkpoints/{episode}", body)
            except Unavailable as error:
                log.warning("checkpoint %d is not with the server yet: %s", episode, error.message)
                with self._changed:
                    if self._next is not None or self._over:
                        return
                    self._changed.wait(RETRY_SECONDS)
                    if self._next is not None or self._over:
                        return
            except (Conflict, NotFound, Gone, Forbidden) as error:
                log.warning("the server wants no checkpoint of this worker: %s", error.message)
                return
            except GrandstandError as error:
                told(error.message)
                return
            else:
                told(None)
                return

    def _put(self, path: str, body: bytes) -> None:
        reply = self._transport.request(
            "PUT", path, body, timeout=SEND_SECONDS, repeatable=True, media_type=ZIP
        )
        if reply.status >= 300:
            raise reply.error()
