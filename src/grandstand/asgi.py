"""The application for any ASGI server: ``uvicorn grandstand.asgi:app``.

Settings come from the environment (and the file GRANDSTAND_CONFIG names), and what cannot work is
refused here as `grandstand serve` refuses it. Workers report to the configured host and port, so
start the ASGI server there.
"""

from __future__ import annotations

import logging

from grandstand import logs
from grandstand.assembly import build
from grandstand.errors import Unavailable
from grandstand.settings import check, load_settings
from grandstand.web.app import make_app
from grandstand.web.server import reachable

settings = load_settings()
logs.configure(settings)
problems = check(settings)
for problem in problems:
    if problem.severity == "error":
        raise Unavailable(f"{problem.path}: {problem.message}", code="settings_refused")
    logging.getLogger("grandstand.settings").warning("%s: %s", problem.path, problem.message)

house = build(settings)
app = make_app(house, supervise_at=reachable(settings.host, settings.port))
socket_app = app
