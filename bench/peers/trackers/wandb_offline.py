"""Weights & Biases without its service: `mode="offline"`, which writes a file to be sent later.

What is in the file is read with the library's own messages. Its framing (32 KiB blocks of
checksum, length and kind, as LevelDB's log has them) has no reader in the library any more.
"""

import os
import struct
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import wandb
from wandb.proto import wandb_internal_pb2 as messages

BLOCK = 32 * 1024
FILE_HEADER = 7
HEADER = struct.Struct("<IHB")
FULL, LAST = 1, 4


class Tracker:
    version = version("wandb")

    def __init__(self, folder: Path, server_core: int) -> None:
        self.data = folder
        self.core = server_core

    def open(self, run: str) -> None:
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})  # its writer is a process, started in here
        self.run = wandb.init(
            mode="offline", dir=self.data, project="bench", name=run,
            settings=wandb.Settings(silent=True),
        )  # fmt: skip
        os.sched_setaffinity(0, mine)

    def log(self, step: int, values: dict[str, float]) -> None:
        self.run.log(values, step=step)

    def close(self) -> None:
        self.file = Path(self.run.settings.sync_file)
        self.run.finish()

    def _rows(self) -> Iterator[dict[str, str]]:
        for record in _records(self.file.read_bytes()):
            read = messages.Record()
            read.ParseFromString(record)
            if read.WhichOneof("record_type") == "history":
                names = {i.key or i.nested_key[0]: i.value_json for i in read.history.item}
                yield {k: v for k, v in names.items() if not k.startswith("_")}

    def points(self) -> int:
        return sum(len(row) for row in self._rows())

    def fill(self, name: str, points: int) -> None:
        for step in range(points):
            self.run.log({name: step * 0.37}, step=step)

    def read(self, name: str) -> int:
        return len([float(row[name]) for row in self._rows() if name in row])

    def shut(self) -> None:
        wandb.teardown()


def _records(data: bytes) -> Iterator[bytes]:
    at, parts = FILE_HEADER, []
    while at + HEADER.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER.size:  # too little for a header: filled up
            at += left
            continue
        _, length, kind = HEADER.unpack_from(data, at)
        at += HEADER.size
        parts.append(data[at : at + length])
        at += length
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
