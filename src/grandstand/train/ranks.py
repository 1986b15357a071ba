"""Several processes that train one policy together: what each has, and what they do together.

Every rank lives its share of the environments. Gradients, statistics and finished episodes are
exchanged, so that all ranks compute the same weights, bit for bit; docs/design/ranks.md says how.
The exchange is `torch.distributed` over gloo, NCCL for tensors on a GPU, and what ranks of one
machine tell each other within an update goes over sockets of their own (`mesh.py`).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from grandstand.errors import Unavailable, ValidationFailed
from grandstand.train.mesh import Mesh
from grandstand.train.trainer import RankLost

log = logging.getLogger("grandstand.ranks")

START_SECONDS = 120.0
"""A rank that has not come by then is not coming."""
EXCHANGE_SECONDS = 60.0
"""Most that ranks wait for each other within an update, whose work is the same for all."""
ORDER_SECONDS = 365 * 86_400.0
"""How long ranks wait for rank 0's next order: a pause may last."""
LOOK_SECONDS = 0.2


class Ask(IntEnum):
    """What rank 0 has the others do."""

    CLOSE = 0
    NEXT = 1
    STATE = 2
    LOAD = 3
    DIGESTS = 4


class Moments(NamedTuple):
    """Of values spread over all ranks: how many, their mean and their variance."""

    rows: int
    mean: float
    variance: float


class Ranks:
    """This process's place in a group that stands.

    All methods that exchange something are called by all ranks, in the same order.

    Args:
        address: where the ranks meet: `file:///path` on one machine, `tcp://host:port` across
            several; rank 0 keeps the store there.
        rank: 0 to size - 1.
        size: at least 2.
        cuda: whether tensors on a GPU are exchanged too.
        look: called while the others are still coming; raises to give up.
        exchange_seconds: how long an exchange with a rank that does not answer is waited for.

    Raises:
        RankLost: not all came within two minutes.
        Unavailable: this build of PyTorch has no gloo.
    """

    def __init__(
        self,
        address: str,
        rank: int,
        size: int,
        *,
        cuda: bool = False,
        look: Callable[[], None] = lambda: None,
        exchange_seconds: float = EXCHANGE_SECONDS,
    ) -> None:
        if not dist.is_available() or not dist.is_gloo_available():
            raise Unavailable(
                "this build of PyTorch cannot train on several ranks (it has no gloo)",
                code="training_unavailable",
                detail="Train with ranks: 1, or install a build from pytorch.org.",
            )
        self.rank = rank
        self.size = size
        local = address.startswith("file:")
        self._mesh = _mesh(address, rank, size, exchange_seconds) if local else None
        try:
            self._meet(address, cuda, look, exchange_seconds)
        except BaseException:
            self._leave_mesh()
            raise

    def _meet(
        self, address: str, cuda: bool, look: Callable[[], None], exchange_seconds: float
    ) -> None:
        rank, size = self.rank, self.size
        with _told_as_lost("the ranks did not meet"):
            store = _store(address, rank, size)
            store.set(f"here/{rank}", "" if self._mesh is None else "door")
            for other in range(size):
                _await(store, f"here/{other}", look)
            if not all(store.get(f"here/{other}") for other in range(size)):
                self._leave_mesh()
            if self._mesh is not None:
                self._mesh.connect()
            with _interface(address):
                dist.init_process_group(
                    "cpu:gloo,cuda:nccl" if cuda else "gloo",
                    store=dist.PrefixStore("ranks", store),  # type: ignore[attr-defined]
                    rank=rank,
                    world_size=size,
                    timeout=timedelta(seconds=exchange_seconds),
                )
                # Rank 0 waits for ears, which a rank has within an update; the others for words.
                patience = ORDER_SECONDS if rank else exchange_seconds
                self._orders = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience))

    def close(self) -> None:
        """Leave the group; nothing can be exchanged any more."""
        self._leave_mesh()
        dist.destroy_process_group()

    def _leave_mesh(self) -> None:
        if self._mesh is not None:
            self._mesh.close()
        self._mesh = None

    # --- Shares -----------------------------------------------------------------------------------

    def share(self, count: int, rank: int | None = None) -> range:
        """Which of `count` things are a rank's (left out: this one's); the first have one more.

        Raises:
            ValidationFailed: there are fewer than ranks.
        """
        if count < self.size:
            raise ValidationFailed(
                f"training.ranks is {self.size}, but there are only {count} environments to share",
                detail="Train with fewer ranks or with more environments.",
                details={"errors": [{"field": "training.ranks", "value": self.size}]},
            )
        return share_of(count, self.size, self.rank if rank is None else rank)

    def seed(self, seed: int) -> int:
        """This rank's own seed out of the run's (at least 0)."""
        own = np.random.SeedSequence(seed).spawn(self.size)[self.rank]
        return int(own.generate_state(1, np.uint64)[0]) >> 1

    # --- Exchanges --------------------------------------------------------------------------------

    def sum(self, values: Tensor) -> None:
        """Replace `values` by its sum over all ranks, the same bits on each.

        On the CPU it is added up in the order of ranks, so that neither how they are connected nor
        where they run changes a bit.
        """
        if values.is_cuda:
            with _told_as_lost("a sum did not come about"):
                dist.all_reduce(values)
            return
        first, *others = self._gather(values.numpy(), "a sum did not come about")
        total = first.copy()
        for other in others:
            total += other
        values.copy_(torch.from_numpy(total))

    def table(self, row: Sequence[float]) -> NDArray[np.float64]:
        """Every rank's row, (size, len(row))."""
        return np.stack(self._gather(np.array(row, np.float64), "a table did not come about"))

    def rows(self, rows: NDArray[Any], counts: Sequence[int]) -> list[NDArray[Any]]:
        """Every rank's rows of one dtype, by rank.

        Args:
            rows: (counts[rank],) any dtype without objects.
            counts: how many each rank has.
        """
        size = rows.dtype.itemsize
        most = max(counts) * size
        if not most:
            return [rows] * self.size
        own = np.zeros(most, np.uint8)
        own[: rows.nbytes] = np.ascontiguousarray(rows).view(np.uint8)
        every = self._gather(own, "rows were not gathered")
        return [
            one[: count * size].view(rows.dtype) for one, count in zip(every, counts, strict=True)
        ]

    def _gather(self, own: NDArray[Any], failing: str) -> list[NDArray[Any]]:
        """Every rank's array of one shape, by rank."""
        own = np.ascontiguousarray(own)
        if self._mesh is not None:
            every = self._mesh.gather(own.reshape(-1).view(np.uint8))
        else:
            data = torch.from_numpy(own.reshape(-1).view(np.uint8))
            found = [torch.empty_like(data) for _ in range(self.size)]
            with _told_as_lost(failing):
                dist.all_gather(found, data)
            every = [one.numpy() for one in found]
        return [one.view(own.dtype).reshape(own.shape) for one in every]

    def content(self, content: bytes | None) -> bytes:
        """Rank 0's bytes; the others give None."""
        size = torch.tensor([len(content or b"")])
        with _told_as_lost("rank 0's content did not come"):
            dist.broadcast(size, 0)
            data = torch.zeros(int(size), dtype=torch.uint8)
            if content:
                data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return data.numpy().tobytes()

    def moments(self, *columns: Tensor) -> tuple[list[int], list[Moments]]:
        """How many values each rank has, and the moments of each column over all ranks.

        Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983: parts are
        combined from their means and sums of squared deviations, here in the order of ranks.

        Args:
            columns: (n,) each; n may differ between ranks and be 0.
        """
        own = [float(len(columns[0]))]
        for column in columns:
            wide = column.double()
            mean = float(wide.mean()) if len(wide) else 0.0
            own += [mean, float((wide - mean).square().sum())]
        table = self.table(own)
        found = []
        for first in range(1, len(own), 2):
            count, mean, squares = 0.0, 0.0, 0.0
            for n, other_mean, other_squares in table[:, (0, first, first + 1)].tolist():
                if n:
                    apart = other_mean - mean
                    squares += other_squares + apart * apart * count * n / (count + n)
                    mean += apart * n / (count + n)
                    count += n
            found.append(Moments(int(count), mean, squares / max(count, 1.0)))
        return [int(n) for n in table[:, 0]], found

    # --- Orders -----------------------------------------------------------------------------------

    def tell(self, what: Ask) -> None:
        """Rank 0: have the others do it; waits until they have done what came before."""
        with _told_as_lost("an order did not arrive"):
            dist.broadcast(torch.tensor([int(what)]), 0, group=self._orders)

    def hear(self) -> Ask:
        """The others: what rank 0 wants next, however long that takes."""
        told = torch.zeros(1, dtype=torch.int64)
        with _told_as_lost("rank 0 is gone"):
            dist.broadcast(told, 0, group=self._orders)
        return Ask(int(told))


def share_of(count: int, size: int, rank: int) -> range:
    """Rank's contiguous share of `count` things; the first ranks have one more."""
    each, more = divmod(count, size)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def _mesh(address: str, rank: int, size: int, seconds: float) -> Mesh | None:
    """Doors beside the ranks' meeting point; None where there can be none, and gloo does it all."""
    try:
        return Mesh(Path(address.removeprefix("file://")).parent, rank, size, seconds)
    except OSError as error:
        log.info("rank %d exchanges over gloo: %s", rank, error)
        return None


def _store(address: str, rank: int, size: int) -> Any:
    kind, _, where = address.partition("://")
    if kind == "file":
        return dist.FileStore(where, size)  # type: ignore[attr-defined]
    port = where.rpartition(":")[2]
    return dist.TCPStore(  # type: ignore[attr-defined]
        _host(address),
        int(port),
        world_size=size,
        is_master=rank == 0,
        timeout=timedelta(seconds=START_SECONDS),
        wait_for_workers=False,
    )


def _await(store: Any, key: str, look: Callable[[], None]) -> None:
    """Wait for a key, looking about now and then.

    Raises:
        RankLost: it did not come in time.
    """
    until = perf_counter() + START_SECONDS
    while True:
        look()
        try:
            store.wait([key], timedelta(seconds=LOOK_SECONDS))
        except dist.DistNetworkError:
            raise
        except RuntimeError:  # not yet there; a FileStore has no class of its own for that
            if perf_counter() > until:
                raise
        else:
            return


@contextmanager
def _told_as_lost(what: str) -> Iterator[None]:
    """What torch.distributed raises is a RuntimeError of the connection; here it is `RankLost`."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(f"{what}: {error}") from error


@contextmanager
def _interface(address: str) -> Iterator[None]:
    """Have gloo use the network interface that leads to rank 0: on one machine the loopback."""
    name = "GLOO_SOCKET_IFNAME"
    found = _towards("127.0.0.1" if address.startswith("file:") else _host(address))
    if name in os.environ or found is None:
        yield
        return
    os.environ[name] = found
    try:
        yield
    finally:
        del os.environ[name]


def _towards(host: str) -> str | None:
    """The name of the interface that leads to a host; None where that cannot be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((host, 9))  # sends nothing, but chooses a way
        except OSError:
            return None
        own = asking.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == own for one in addresses):
            return name
    return None


def _host(address: str) -> str:
    return address.partition("://")[2].rpartition(":")[0]
