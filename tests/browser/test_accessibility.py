"""axe-core finds nothing serious on any page or dialog: light and dark, desktop and phone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, StartServer
from .doors import add_user, excuse, guarded, signed_in
from .stage import PAGES, PHONE, furnish

PROOF = os.environ.get("PROOF") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.proof,
    pytest.mark.skipif(not PROOF, reason="ten minutes of pages: `make proof` runs it"),
]

ROOT = Path(__file__).resolve().parents[2]
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
RUN = """async (tags) => {
    const found = await axe.run(document, { runOnly: { type: "tag", values: tags } });
    return found.violations
        .filter((one) => one.impact === "serious" || one.impact === "critical")
        .map((one) => [one.id, one.nodes.map((node) => node.target.join(" ") + ": "
            + node.failureSummary.split("\\n").slice(1).join(" ").trim())]);
}"""
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone, light": {"color_scheme": "light", **PHONE},
    "phone, dark": {"color_scheme": "dark", **PHONE},
}


def complaints(page: Page) -> list[str]:
    """What axe finds on the page as it is, worst things only."""
    page.evaluate((ROOT / "ui/node_modules/axe-core/axe.min.js").read_text())
    page.wait_for_load_state("networkidle")
    # What is just being faded in is judged when it is there; what breathes for ever is not.
    page.evaluate(
        """Promise.all(document.getAnimations()
            .filter((one) => Number.isFinite(one.effect.getComputedTiming().endTime))
            .map((one) => one.finished.catch(() => {})))"""
    )
    return [f"{rule}: {node}" for rule, nodes in page.evaluate(RUN, TAGS) for node in nodes]


def press(role: Any, name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role(role, name=re.compile(name)).first.click()


def focus(name: str) -> Callable[[Page], None]:
    """Reach a label that has a tip."""

    def reach(page: Page) -> None:
        page.get_by_role("button", name=name).first.focus()
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        expect(page.get_by_role("tooltip").first).to_be_visible()

    return reach


def list_keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


def choose_one(page: Page) -> None:
    page.get_by_role("checkbox").first.click()
    page.get_by_role("button", name="Delete…").click()


def unfold(page: Page) -> None:
    for summary in page.locator("summary:visible").all():
        summary.click()


OPENED: tuple[tuple[str, str, Callable[[Page], None]], ...] = (
    ("export", "/sessions/{trained}", press("button", "^Export$")),
    ("watch room", "/sessions/{trained}", press("button", "Watch room")),
    ("tip", "/sessions/{trained}", focus("Average reward")),
    ("keys", "/sessions/{trained}", list_keys),
    ("account", "/", lambda page: page.get_by_title("Signed in as").click()),
    ("delete many", "/", choose_one),
    ("order, unfolded", "/train", unfold),
    ("scenario editor", "/train", press("button", "^New scenario from")),
)
"""What opens over a page, by the address it is opened at."""


@pytest.mark.timeout(1800)
def test_axe_finds_nothing_serious(start_server: StartServer, open_page: OpenPage) -> None:
    server = guarded(start_server)
    add_user(server, "ann", "watch", "report")
    first = open_page("/", on=server)
    assert complaints(first) == [], "signing in"
    excuse(open_page, 401)
    signed_in(first)
    stage = furnish(server, first)
    state = first.context.storage_state()
    found: dict[str, list[str]] = {}
    for look, context in LOOKS.items():
        page = open_page("/", on=server, storage_state=state, **context)
        for shown in PAGES:
            page.goto(server.url + stage.path(shown.path))
            shown.ready(page)
            found[f"{shown.name}, {look}"] = complaints(page)
        for name, path, act in OPENED:
            page.goto(server.url + stage.path(path))
            ready = next(shown.ready for shown in PAGES if shown.path == path)
            ready(page)
            act(page)
            found[f"{name}, {look}"] = complaints(page)
        page.context.close()
        print(look, {where: said for where, said in found.items() if said})
    assert {where: said for where, said in found.items() if said} == {}
