"""The application for any ASGI server: ``uvicorn grandstand.asgi:app``.

Settings come from the environment (and the file GRANDSTAND_CONFIG names). Workers report to the
configured host and port, so start the ASGI server there.
"""

from __future__ import annotations

from grandstand.assembly import build
from grandstand.settings import load_settings
from grandstand.web.app import make_app

settings = load_settings()
house = build(settings)
app = make_app(house, supervise_at=f"http://{settings.host}:{settings.port}")
socket_app = app
