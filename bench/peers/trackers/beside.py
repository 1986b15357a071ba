"""A tracker's own server, on the server's core, and a look at what it answers."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from urllib.error import URLError
from urllib.request import Request, urlopen


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Beside:
    """A process that ends with `stop`; `printed` is where its output goes."""

    def __init__(self, command, core, printed, env=None):
        self.output = printed.open("wb")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self.output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
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
