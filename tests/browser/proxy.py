"""A reverse proxy as small as one can be: it serves a server below a path of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

NOT_MINE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@contextmanager
def below(path: str, server: str) -> Iterator[str]:
    """Serve what is at `server` below `path`, sockets included; everything else is not found.

    Args:
        path: with a slash in front, none at the end.

    Yields:
        The address of the whole, path included.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    to = urlsplit(server)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One request a connection, but for sockets, which keep theirs.
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        first, _, rest = head.partition(b"\r\n")
        method, target, version = first.split(b" ")
        if not target.startswith(path.encode()):
            writer.write(NOT_MINE)
            await writer.drain()
            writer.close()
            return
        target = target[len(path) :] or b"/"
        if b"upgrade: websocket" not in rest.lower():
            kept = [x for x in rest.split(b"\r\n") if not x.lower().startswith(b"connection:")]
            rest = b"\r\n".join([b"Connection: close", *kept])
        there, back = await asyncio.open_connection(to.hostname, to.port)
        back.write(b" ".join((method, target, version)) + b"\r\n" + rest)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def stop() -> None:
        listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    listening = asyncio.run_coroutine_threadsafe(
        asyncio.start_server(serve, "127.0.0.1", 0), loop
    ).result(10)
    try:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
