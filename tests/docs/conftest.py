"""What other tests have already: a whole server in this process, Node with socket.io-client."""

from __future__ import annotations

from tests.flow.conftest import House, house, make_house, serving
from tests.process.test_socketio_clients import node_client

__all__ = ["House", "house", "make_house", "node_client", "serving"]
