"""Whether somebody still writes an event file.

TensorBoard's, PyTorch's and TensorFlow's writers name host and process in the file's name. They
need not hold the file open between two values, so an open file is no sign of life they all give.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from pathlib import Path

import psutil

PROCESSES = Path("/proc")
_NAMED = r"tfevents\.(?P<begun>\d+)\.{host}\.(?P<pid>\d+)\.\d+(?!\d)"


def gone(path: Path) -> bool:
    """Whether the process that wrote the file has ended and no other one writes it.

    False wherever that cannot be told: the name tells of no process, or of one on another machine,
    or this is not Linux.
    """
    named = re.search(_NAMED.format(host=re.escape(socket.gethostname())), path.name)
    if named is None or not (PROCESSES / "self" / "fd").is_dir():
        return False
    return not _alive(int(named["pid"]), int(named["begun"])) and not _written(path)


def _alive(pid: int, begun: int) -> bool:
    """Whether the process lives that began the file; a later one may have got its number."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= begun + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _written(path: Path) -> bool:
    """Whether a process that we may look into has the file open for writing."""
    sought = path.resolve()
    for process in PROCESSES.iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile, or is somebody else's
            for handle in list((process / "fd").iterdir()):
                with contextlib.suppress(OSError):  # it was closed meanwhile
                    if handle.readlink() == sought and _for_writing(process, handle.name):
                        return True
    return False


def _for_writing(process: Path, handle: str) -> bool:
    told = (process / "fdinfo" / handle).read_text("ascii")
    found = re.search(r"^flags:\s*([0-7]+)", told, re.MULTILINE)
    return found is not None and int(found[1], 8) & os.O_ACCMODE != os.O_RDONLY
