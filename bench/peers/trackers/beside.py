"""A tracker's own server, on the server's core, and a look at what it answers."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time
from urllib.error import URLError
from urllib.request import Request, urlopen

PR_SET_PDEATHSIG = 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def prepare(core):
    """In the child: stay on a core, and end with whoever started it."""
    os.sched_setaffinity(0, {core})
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Beside:
    """A process that ends with `stop`; `printed` is where its output goes."""

    def __init__(self, command, core, printed, env=None):
        self.printed = printed
        self.output = printed.open("wb")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self.output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            preexec_fn=lambda: prepare(core),
            start_new_session=True,
        )

    def wait_for(self, url, seconds=90):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            try:
                with urlopen(url, timeout=5):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"{url} does not answer")

    def said(self, pattern, seconds=30):
        """The first part of its output that looks like `pattern`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(pattern, self.printed.read_text(errors="replace")):
                return found[0]
            time.sleep(0.1)
        raise RuntimeError(f"the server never printed {pattern}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()


def ask(url, body=None, headers=None):
    """The decoded answer of one request."""
    data = None if body is None else json.dumps(body).encode()
    head = {"Content-Type": "application/json", **(headers or {})}
    with urlopen(Request(url, data, head), timeout=120) as answer:
        return json.loads(answer.read())
