"""Sending what trainings left on disk while their server was away, or ran without one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from grandstand.client.encoding import halves
from grandstand.client.spool import Frame, Left, spools_in
from grandstand.client.transport import Transport, about_content, call
from grandstand.errors import GrandstandError, NotFound

log = logging.getLogger("grandstand.client")


class Synced(msgspec.Struct):
    """What became of one spool.

    Attributes:
        folder: where it lies, or lay.
        session_id: whose records they are; empty where the spool could not be read.
        sent: records (rows counted) the server has now.
        refused: records it does not take; they are dropped.
        why: why it is not done and still there; None when everything was sent and it is removed.
    """

    folder: Path
    session_id: str
    sent: int = 0
    refused: int = 0
    why: str | None = None


def sync(
    folder: Path,
    transport_to: Callable[[str], Transport],
    *,
    url: str | None = None,
) -> list[Synced]:
    """Send every spool in a folder, oldest first, and remove those that are sent.

    What is sent twice is stored once, so this may be interrupted and repeated, and a training that
    goes on may be sending the same at the same time.

    Args:
        folder: of spools, or one of them.
        transport_to: a way to the server at a URL.
        url: where to send them all; by default where each training would have.

    Raises:
        NotFound: no such folder, or no spool in it.
    """
    found = spools_in(folder) if folder.is_dir() else []
    if not found:
        raise NotFound(
            f"nothing waits in {folder}",
            code="no_spool",
            detail="Name the folder a training wrote to, `.grandstand` by default.",
            details={"folder": str(folder)},
        )
    return [_sync_one(each, transport_to, url) for each in found]


def _sync_one(
    folder: Path,
    transport_to: Callable[[str], Transport],
    url: str | None,
) -> Synced:
    result = Synced(folder, "")
    try:
        left = Left(folder)
    except BlockingIOError:
        result.why = "the training that writes it is still running, and sends it itself"
        return result
    except (OSError, ValueError) as error:
        result.why = str(error)
        return result
    with left:
        result.session_id = left.session["session_id"]
        transport = transport_to(url or left.session["url"])
        try:
            _open(left, transport)
            for frame in left.frames():
                for rows, taken in _send(frame, result.session_id, transport):
                    result.sent += rows if taken else 0
                    result.refused += 0 if taken else rows
        except GrandstandError as error:
            result.why = error.message
            return result
        finally:
            transport.close()
        left.remove()
    return result


def _open(left: Left, transport: Transport) -> None:
    if left.session.get("opened"):
        return
    body = dict(left.session["opening"])
    if left.session.get("tried"):
        body["resume"] = True  # an earlier sync was interrupted here
    left.note(tried=True)
    call(transport, "POST", "/api/training/sessions", body)
    left.note(opened=True)


def _send(frame: Frame, session_id: str, transport: Transport) -> Iterator[tuple[int, bool]]:
    """Post one frame, halving what is refused: rows, and whether they were taken.

    Raises:
        GrandstandError: the server is away, or takes nothing of this session.
    """
    path = f"/api/training/sessions/{session_id}/{frame.kind}"
    parts: list[tuple[bytes, int]] = [(frame.body, frame.rows)]
    while parts:
        body, rows = parts.pop()
        reply = transport.request("POST", path, body, repeatable=True)
        if reply.status < 300:
            yield rows, True
            continue
        error = reply.error()
        if not about_content(error):
            raise error
        if frame.kind == "records" and (two := halves(body)) is not None:
            parts += reversed(two)
        else:
            log.warning("session %s: %s; it is dropped", session_id, error.message)
            yield rows, False
