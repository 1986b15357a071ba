"""The WebSocket protocol uvicorn speaks for us."""

from __future__ import annotations


def protocol_class() -> str:
    """Uvicorn's name of the protocol: websockets without its own tasks and queues."""
    return "websockets-sansio"
