"""Sockets between the ranks of one machine, which look instead of sleeping where a wait is short.

Ranks meet some twenty times an update with a few kilobytes each. Over gloo each meeting wakes two
threads in every process, more than a millisecond in a virtual machine; here it takes microseconds.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from grandstand.train.trainer import RankLost

LOOK_SECONDS = 0.002
"""How long ranks look for each other's bytes without sleeping."""
PIECE = 1 << 16
"""Most bytes handed over at once, so that both directions move."""


class Mesh:
    """A connection to every other rank of this machine.

    Made in two steps, so that all have doors before anybody knocks: construct it, learn that all
    others have done so too, then `connect`.

    Args:
        folder: where the ranks' sockets lie, one that only this user can read.
        rank: 0 to size - 1.
        size: at least 2.
        seconds: how long an exchange with a rank that does not answer is waited for.

    Raises:
        OSError: no such sockets here (a path too long for one, or a system without them).
    """

    def __init__(self, folder: Path, rank: int, size: int, seconds: float) -> None:
        self.rank = rank
        self.size = size
        self._folder = folder
        self._seconds = seconds
        self._peers: dict[int, socket.socket] = {}
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no Unix sockets")
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._door.bind(str(self._at(rank)))
            self._door.listen(size)
        except OSError:
            self._door.close()
            raise

    def connect(self) -> None:
        """Knock at every lower rank's door and let every higher one in.

        Raises:
            RankLost: one did not come, or not in time.
        """
        try:
            for other in range(self.rank):
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._peers[other] = made
                made.settimeout(self._seconds)
                made.connect(str(self._at(other)))
                made.sendall(self.rank.to_bytes(2, "big"))
            self._door.settimeout(self._seconds)
            for _ in range(self.rank + 1, self.size):
                came, _ = self._door.accept()
                came.settimeout(self._seconds)
                self._peers[_name(came)] = came
        except OSError as error:
            raise RankLost(f"the ranks did not meet: {error}") from error
        for peer in self._peers.values():
            peer.setblocking(False)
        self._door.close()

    def close(self) -> None:
        """Leave; the others see it at their next exchange."""
        self._door.close()
        for peer in self._peers.values():
            peer.close()

    def gather(self, own: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Every rank's bytes, by rank; as many from each.

        Args:
            own: (n,) contiguous, with n the same on every rank.

        Raises:
            RankLost: a rank is gone, or did not answer in time.
        """
        every = [
            own if rank == self.rank else np.empty(len(own), np.uint8) for rank in range(self.size)
        ]
        mine = own.data
        pending = [_Pending(peer, mine, every[rank].data) for rank, peer in self._peers.items()]
        since = perf_counter()
        try:
            while pending := [one for one in pending if not one.done]:
                if sum(one.move() for one in pending):
                    since = perf_counter()
                    continue
                waited = perf_counter() - since
                if waited > self._seconds:
                    raise RankLost(f"no answer within {self._seconds:g} s")
                if waited < LOOK_SECONDS:
                    _yield()
                else:
                    _sleep(pending, self._seconds - waited)
        except OSError as error:
            raise RankLost(f"a rank is gone: {error}") from error
        return every

    def _at(self, rank: int) -> Path:
        return self._folder / f"rank-{rank}"


def _name(came: socket.socket) -> int:
    """The rank that stands at the door.

    Raises:
        OSError: it went again without a word, or says none in time.
    """
    try:
        told = came.recv(2, socket.MSG_WAITALL)
        if len(told) < 2:
            raise ConnectionResetError("one went again at the door")
    except OSError:
        came.close()
        raise
    return int.from_bytes(told, "big")


class _Pending:
    """What is still to go to one rank, and to come from it."""

    def __init__(self, peer: socket.socket, out: memoryview, into: memoryview) -> None:
        self.peer = peer
        self.out = out
        self.into = into

    @property
    def done(self) -> bool:
        return not self.out and not self.into

    def move(self) -> int:
        """Move what can be moved now; returns how many bytes.

        Raises:
            OSError: the other end is closed.
        """
        moved = 0
        if self.out:
            try:
                sent = self.peer.send(self.out[:PIECE])
            except BlockingIOError:
                pass  # its buffer is full
            else:
                self.out = self.out[sent:]
                moved += sent
        if self.into:
            try:
                came = self.peer.recv_into(self.into)
            except BlockingIOError:
                pass  # nothing there yet
            else:
                if came == 0:
                    raise ConnectionResetError("its connection is closed")
                self.into = self.into[came:]
                moved += came
        return moved


def _sleep(pending: list[_Pending], seconds: float) -> None:
    """Until something can be moved."""
    with selectors.DefaultSelector() as selector:
        for one in pending:
            reading = selectors.EVENT_READ if one.into else 0
            writing = selectors.EVENT_WRITE if one.out else 0
            selector.register(one.peer, reading | writing)
        selector.select(seconds)


# Whoever else wants this core, the server say, comes first.
_yield: Callable[[], None] = getattr(os, "sched_yield", lambda: None)
