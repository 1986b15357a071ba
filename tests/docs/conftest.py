"""What other tests have already: a whole server in this process, Node with socket.io-client; and a
server as users start it."""

from __future__ import annotations

import re
import selectors
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.flow.conftest import House, house, make_house, serving
from tests.process.test_socketio_clients import node_client

__all__ = ["House", "house", "make_house", "node_client", "serving"]

READY_WITHIN_SECONDS = 60


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server as `grandstand serve` starts it, on a port of its own, in an empty folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "grandstand", "serve", "--port", "0"],
        cwd=tmp_path_factory.mktemp("home"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(READY_WITHIN_SECONDS), "the server did not say where it is"
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, f"the server said {said!r}"
        yield found.group()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
