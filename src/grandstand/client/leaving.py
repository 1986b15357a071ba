"""What happens to open sessions when the process is asked to end (SIGTERM).

Python ends at once then, without `atexit`. So that a scheduler's or a container's stop loses
nothing, sessions say what they have left and that they were stopped, for 5 s at most. Installed
only where nobody handles the signal, from the main thread; the process still ends by the signal.
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grandstand.client.session import Session

SECONDS = 5.0
REASON = "the process was asked to end (SIGTERM)"

_open: weakref.WeakSet[Session] = weakref.WeakSet()
_owner = 0


def watch_over(session: Session) -> None:
    """Have `session` told of as stopped when SIGTERM comes."""
    global _owner
    _open.add(session)
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)
        _owner = os.getpid()


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    if os.getpid() == _owner:  # a forked child's sessions are its parent's
        # The signal may have come while this thread held a lock of the very session.
        ending = threading.Thread(target=_end_all, daemon=True)
        ending.start()
        ending.join(SECONDS)
    os.kill(os.getpid(), number)


def _end_all() -> None:
    from grandstand.client.buffer import leave_all

    for session in list(_open):
        session.finish("stopped", REASON, timeout=SECONDS / 2)
    leave_all(SECONDS / 2)
