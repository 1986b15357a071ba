"""What is on a session's page, and hands for its charts."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect


def figure(page: Page, label: str) -> Locator:
    """The figure with this label in the strip above the curves."""
    strip = page.get_by_role("region", name="Newest figures")
    return strip.locator(".figure").filter(has=page.get_by_text(label, exact=True))


def card(page: Page, title: str) -> Locator:
    """The card of curves with this title."""
    return page.get_by_role("region", name=title, exact=True)


def ink(chart: Locator) -> int:
    """How many pixels of the chart's canvas are painted."""
    painted: Any = chart.locator("canvas").evaluate(
        """canvas => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            let painted = 0;
            for (let i = 3; i < data.length; i += 4) if (data[i] > 0) painted += 1;
            return painted;
        }"""
    )
    return int(painted)


FRAMES = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame(); await frame(); await frame();
}"""


class Chart:
    """One card of curves, and what a mouse does on it.

    Args:
        title: the card's.
    """

    def __init__(self, page: Page, title: str) -> None:
        self.card = card(page, title)
        self.legend = self.card.get_by_role("list")
        self._page = page

    @property
    def points(self) -> int:
        """How many points the first curve is drawn with."""
        return int(self.card.get_by_role("img").get_attribute("data-points") or 0)

    def expect_points(self, count: int) -> None:
        """Wait until the first curve is drawn with so many points."""
        expect(self.card.get_by_role("img")).to_have_attribute("data-points", str(count))

    def at(self, share: float) -> tuple[float, float]:
        """Where the page has the point at `share` (0 to 1) of the chart's width.

        Waits a few frames first, until what was asked for is drawn.
        """
        x, y, width, height = self.card.evaluate(
            """async card => {
                const frame = () => new Promise(requestAnimationFrame);
                await frame(); await frame(); await frame();
                const area = card.querySelector(".u-over");
                const top = area.getBoundingClientRect().top;
                if (top < 0 || top > innerHeight - 200) area.scrollIntoView({ block: "center" });
                const { x, y, width, height } = area.getBoundingClientRect();
                return [x, y, width, height];
            }"""
        )
        return x + width * share, y + height / 2

    def point_at(self, share: float) -> None:
        """Hold the pointer there."""
        self._page.mouse.move(*self.at(share))

    def drag(self, start: float, end: float, *, key: str | None = None) -> None:
        """Drag from one share of the width to another, perhaps with a key held."""
        if key:
            self._page.keyboard.down(key)
        from_, to = self.at(start), self.at(end)
        self._page.mouse.move(*from_)
        self._page.mouse.down()
        self._page.mouse.move(*to, steps=4)
        self._page.mouse.up()
        if key:
            self._page.keyboard.up(key)


def looked_at(page: Page) -> tuple[float, float]:
    """The range that the page says is looked at, once the finer picture is there.

    Waits a few frames first: the page takes a new range only at the next one, and until then it
    tells of the one before.
    """
    page.evaluate(FRAMES)
    told = page.get_by_test_id("looked-at")
    expect(told).not_to_contain_text("finer")
    found = re.search(r"([\d\u00a0]+) – ([\d\u00a0]+)", told.inner_text())
    assert found is not None, told.inner_text()
    low, high = (float(number.replace("\u00a0", "")) for number in found.groups())
    return low, high
