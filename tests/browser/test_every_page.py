"""A walk over every page of a server with trainings of its own: desktop and phone, light and dark.

With PICTURES=1 (`make pictures`) what was seen is written into docs/, for docs/page.md.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from .conftest import OpenPage, StartServer
from .doors import excuse, guarded, signed_in
from .stage import PAGES, PHONE, Shown, furnish

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "img" / "pages"
TALL = 1360
"""Height of a picture, px: the rest of a long page is more of the same."""
COLOURS = 128
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": TALL}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": TALL}},
    "phone": {"color_scheme": "light", **PHONE, "viewport": {"width": 390, "height": TALL}},
}
END = """tall => {
    const main = [...document.querySelectorAll("main")].at(-1);
    const end = Math.ceil(main?.getBoundingClientRect().bottom ?? tall) + 16;
    return Math.min(tall, Math.max(400, end));
}"""
"""Where what is to be seen ends, px from the top of the window."""
OVERHANG = "document.documentElement.scrollWidth - innerWidth"


def shown_in(look: str) -> list[Shown]:
    """The pages that are made for a look."""
    return [shown for shown in PAGES if look != "phone" or shown.phone]


def take(page: Page, name: str) -> None:
    """Keep a picture of a page, small: its colours are few."""
    page.evaluate("document.activeElement?.blur()")
    seen = page.screenshot(animations="disabled", caret="hide")
    image = Image.open(io.BytesIO(seen)).convert("RGB")
    image = image.crop((0, 0, image.width, page.evaluate(END, TALL)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


def document() -> str:
    """docs/page.md: each page with its pictures."""
    parts = [
        "# The page",
        "",
        "Each page of Grandstand as a test saw it, on a server with trainings of its own.",
        "Written by `make pictures`; change `tests/browser/stage.py`, not this file.",
        "",
    ]
    for shown in PAGES:
        name = shown.name
        parts += [
            f"## {shown.title}",
            "",
            f"`{shown.path}` {shown.sentence}",
            "",
            "<picture>",
            f'  <source media="(prefers-color-scheme: dark)" srcset="img/pages/{name}-dark.png">',
            f'  <img src="img/pages/{name}-light.png" alt="{shown.title}" width="760">',
            "</picture>",
            "",
        ]
        if shown.phone:
            alt = f"{shown.title}, on a phone"
            parts += [f'<img src="img/pages/{name}-phone.png" alt="{alt}" width="240">', ""]
    return "\n".join(parts)


def test_the_document_shows_every_page() -> None:
    if os.environ.get("PICTURES") == "1":
        (DOCS / "page.md").write_text(document())
    assert (DOCS / "page.md").read_text() == document()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_page(start_server: StartServer, open_page: OpenPage) -> None:
    server = guarded(start_server)
    first = open_page("/", on=server)
    excuse(open_page, 401)
    signed_in(first)
    stage = furnish(server, first)
    state = first.context.storage_state()
    for look, context in LOOKS.items():
        page = open_page("/", on=server, storage_state=state, **context)
        for shown in shown_in(look):
            page.goto(server.url + stage.path(shown.path))
            shown.ready(page)
            page.wait_for_load_state("networkidle")
            expect(page.get_by_text("Loading")).to_have_count(0)
            assert page.evaluate(OVERHANG) <= 0, f"{shown.name}, {look}: wider than its window"
            if os.environ.get("PICTURES") == "1":
                take(page, f"{shown.name}-{look}")
        page.context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_are_there(look: str) -> None:
    named = {f"{shown.name}-{look}.png" for shown in shown_in(look)}
    assert {path.name for path in FOLDER.glob(f"*-{look}.png")} == named
