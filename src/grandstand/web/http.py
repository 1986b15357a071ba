"""The HTTP protocol uvicorn speaks for us: bounded before there is a request.

Until a request's headers are complete nothing of ours has seen it, and uvicorn would gather them
for as long as they come, from as many connections as there are.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 * 1024
"""Request line and headers of one request."""


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's, which reads no more than `MOST_HEAD_BYTES` of a request's head."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_head = True
        self._head = 0
        self._passed = False

    def data_received(self, data: bytes) -> None:
        self._passed = False
        super().data_received(data)
        # What came behind a head that ended in this chunk is less than a chunk: not worth finding
        # out how much of it belongs to the next.
        self._head = 0 if self._passed else self._head + len(data)
        if self._in_head and self._head > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers are too large.")

    def on_headers_complete(self) -> None:
        self._in_head, self._passed = False, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = self._passed = True
