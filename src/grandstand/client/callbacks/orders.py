"""What people wish of a training that runs in somebody's own loop, and how it is obeyed."""

from __future__ import annotations

from grandstand.client.session import Session

STOPPED = "stopped by request"


def listen(session: Session) -> None:
    """Say that this loop obeys, so that people are offered to pause and to stop it."""
    session.wait_if_paused(0)


def hold(session: Session) -> bool:
    """Stay here while people want the training paused.

    Returns:
        Whether it goes on; False when it is to stop. A session that takes nothing any more holds
        nobody.
    """
    return session.wait_if_paused()
