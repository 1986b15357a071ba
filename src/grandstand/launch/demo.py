"""The demonstration: the shipped scenarios, one after the other, slowly enough to watch."""

from __future__ import annotations

import logging

from grandstand.launch.runtime import Runtime
from grandstand.model.session import ENDED, Kind, Status
from grandstand.service.sessions import Sessions
from grandstand.service.training import NewTraining, Training

logger = logging.getLogger("grandstand.demo")

TAG = "demo"
FIRST = "bologna_coppia"
PACE = 250.0
"""Episodes a second: the first scenario's 40,000 take a little under three minutes."""
ORDER = (
    FIRST,
    "milano_junior",
    "milano_senior",
    "torino_single",
    "conservative",
    "balanced",
    "aggressive",
)


async def run_demo(sessions: Sessions, training: Training, runtime: Runtime) -> None:
    """Put the demo's trainings in the queue, unless those of an earlier run are still unfinished,
    and install the learning part if it is not there yet."""
    page = await sessions.listing(
        statuses=[s for s in Status if s not in ENDED],
        kind=Kind.MANAGED,
        tag=TAG,
        archived=None,
        limit=1,
    )
    if not runtime.ready() and not await _install(runtime):
        return
    if page.sessions:
        logger.info("going on with the %d unfinished demo sessions", page.total)
        training.work_waiting.set()
        return
    for name in ORDER:
        await training.start(
            NewTraining(name, queue=True, seed=7, pace=PACE, tags=(TAG,), name=f"{name}, seed 7")
        )


async def _install(runtime: Runtime) -> bool:
    installed = await runtime.install()
    if not installed:
        logger.warning("the demo waits: %s", runtime.setup().message)
    return installed
