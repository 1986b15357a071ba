"""``python -m grandstand.worker``: carries out the task in ``GRANDSTAND_TASK`` and ends.

Whoever starts it sets ``GRANDSTAND_URL``, ``GRANDSTAND_TOKEN`` and ``GRANDSTAND_TASK``
(``session:ID`` or ``evaluation:ID``); on another machine than the server's also
``GRANDSTAND_WORK_FOLDER``, from where checkpoints and model are sent. Exit status: 0 it is done (or
somebody else's now), 1 it failed and the server knows, 2 there is nothing it could do, 3 a rank was
lost and another attempt is to go on.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grandstand.client.client import Client
from grandstand.client.transport import HttpTransport
from grandstand.clock import Clock, SystemClock
from grandstand.errors import Conflict, Gone, GrandstandError, NotFound, Unavailable
from grandstand.worker.controls import Controls
from grandstand.worker.runner import SessionRun
from grandstand.worker.uploads import Uploads

log = logging.getLogger("grandstand.worker")

ORDER_SECONDS = 30.0
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def main(env: Mapping[str, str] = os.environ) -> int:
    """Carry out the task; returns the exit status."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stdout,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    kind, _, task_id = env.get("GRANDSTAND_TASK", "").partition(":")
    if kind not in ("session", "evaluation") or not task_id:
        log.error("GRANDSTAND_TASK must be session:ID or evaluation:ID; the server starts workers")
        return 2
    if hasattr(os, "nice"):
        os.nice(int(env.get("GRANDSTAND_WORKER_NICE", "10")))
    clock = SystemClock()
    client = Client(mode="online")
    base = "/api/training/sessions/" if kind == "session" else "/api/evaluations/"
    try:
        order = fetch_order(client, f"{base}{task_id}/order", clock)
    except (Conflict, NotFound, Gone) as error:
        log.info("nothing to do: %s", error.message)
        return 0
    except GrandstandError as error:
        log.error("no order: %s", error.message)
        return 2
    limit_threads(int(order.get("threads") or 1))
    if kind == "evaluation":
        from grandstand.worker.evaluation import run_evaluation

        return run_evaluation(client, task_id, order)
    return run_session(client, order, clock, env)


def fetch_order(client: Client, path: str, clock: Clock) -> dict[str, Any]:
    """The order, waiting a little for a server that is just starting.

    Raises:
        GrandstandError: it refused, or did not answer for half a minute.
    """
    until = clock.monotonic() + ORDER_SECONDS
    while True:
        try:
            return dict(client.request("GET", path))
        except Unavailable:
            if clock.monotonic() > until:
                raise
            clock.wait(0.5)


def limit_threads(count: int) -> None:
    """Hold numeric libraries to `count` threads; works only before they are imported."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)


def run_session(
    client: Client, order: Mapping[str, Any], clock: Clock, env: Mapping[str, str]
) -> int:
    """Train the ordered session; SIGTERM makes it leave after a checkpoint."""
    session = client.attach(order["session_id"], lossless=True, heartbeat=False)
    controls = Controls(
        HttpTransport(client.url or "", env.get("GRANDSTAND_TOKEN")),
        session,
        wanted=order.get("wanted") or "running",
        heartbeat_seconds=float(order.get("heartbeat_seconds") or 5.0),
        clock=clock,
    )
    signal.signal(signal.SIGTERM, lambda number, frame: controls.leave())
    controls.start()
    work = env.get("GRANDSTAND_WORK_FOLDER")
    if work is None:
        return SessionRun(order, session, controls, clock).run()
    transport = HttpTransport(client.url or "", env.get("GRANDSTAND_TOKEN"))
    uploads = Uploads(transport, session.session_id, clock)
    # Of this attempt alone: what an earlier one left here may be behind what others have sent.
    folder = Path(work) / f"{session.session_id}-{order['attempt']}"
    elsewhere = {"folder": str(folder), "cache_folder": str(Path(work) / "cache")}
    shutil.rmtree(folder, ignore_errors=True)
    try:
        return SessionRun(dict(order) | elsewhere, session, controls, clock, uploads).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
