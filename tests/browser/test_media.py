"""Texts, histograms and images on the page of their session."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def report(server: Server, name: str, *records: tuple[str, dict[str, Any]]) -> None:
    body = {"records": [{"type": kind, "data": data} for kind, data in records]}
    answer = server.api.post(f"/api/training/sessions/{name}/records", json=body)
    assert answer.status_code == 200, answer.text


def histogram(step: int) -> dict[str, Any]:
    """A bell that wanders and narrows."""
    middle, width = step / 100, 1.2 - step / 100
    edges = [-2 + i / 8 for i in range(41)]
    counts = [
        round(1000 * math.exp(-(((low + 1 / 16 - middle) / width) ** 2) / 2)) for low in edges[:-1]
    ]
    return {"name": "weights/policy", "counts": counts, "edges": edges, "step": step, "nan": 3}


def picture(page: Page, width: int) -> str:
    clip = {"x": 0, "y": 0, "width": width, "height": 40}
    image = page.screenshot(type="png", clip=clip)  # type: ignore[arg-type]
    return base64.b64encode(image).decode()


def painted(page: Page) -> int:
    """Pixels of the strip that are not blank."""
    return int(
        page.evaluate(
            """() => {
                const canvas = document.querySelector("[data-testid=histogram] canvas");
                const {width, height} = canvas;
                const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
                return data.filter((value, i) => i % 4 === 3 && value > 0).length;
            }"""
        )
    )


def test_media_show_as_they_come_and_are_there_again(server: Server, open_page: OpenPage) -> None:
    name = server.open_session("media-run", total_episodes=10)
    page = open_page(f"/sessions/{name}")
    expect(page.get_by_test_id("link")).to_contain_text("live")
    server.report(name, episode=1, current_reward=1.0)
    expect(page.get_by_text("Episode return").first).to_be_visible()
    for label in ("Images", "Histograms", "Texts"):
        expect(page.get_by_role("region", name=label)).to_have_count(0)

    evil = "<img src=x onerror=alert(1)>\n# of two lines"
    report(
        server,
        name,
        ("text", {"name": "answers/first", "text": "Move left.", "step": 10}),
        ("text", {"name": "answers/first", "text": evil, "step": 20, "left_out": 1234}),
        *(("histogram", histogram(step)) for step in range(0, 60, 3)),
        ("image", {"name": "track", "image": picture(page, 300), "step": 10}),
        ("image", {"name": "track", "image": picture(page, 400), "step": 20, "caption": "a lap"}),
    )
    for again in (False, True):
        seen = open_page(f"/sessions/{name}") if again else page
        texts = seen.get_by_role("region", name="Texts")
        rows = texts.get_by_role("listitem")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("step 20")
        rows.first.locator("summary").click()
        expect(rows.first.locator("pre")).to_have_text(evil)
        expect(rows.first).to_contain_text("more characters were not reported")
        expect(rows.first.locator("img")).to_have_count(0)

        strip = seen.get_by_test_id("histogram")
        expect(strip).to_contain_text("weights/policy")
        expect(strip.get_by_role("img")).to_have_attribute("data-columns", "20")
        expect(strip).to_contain_text("3 not finite")
        expect(strip).to_contain_text("step 57")
        strip.scroll_into_view_if_needed()
        seen.wait_for_function(
            "() => document.querySelector('[data-testid=histogram] canvas').width > 300"
        )
        assert painted(seen) > 10_000
        strip.get_by_role("img").hover(position={"x": 4, "y": 40})
        expect(strip.locator("header")).to_contain_text("step 0")

        shown = seen.get_by_test_id("image")
        expect(shown).to_contain_text("step 20")
        expect(shown).to_contain_text("a lap")
        seen.wait_for_function(
            "() => document.querySelector('[data-testid=image] img')?.naturalWidth === 400"
        )
        shown.get_by_role("slider").fill("0")
        expect(shown).to_contain_text("step 10")
        seen.wait_for_function(
            "() => document.querySelector('[data-testid=image] img')?.naturalWidth === 300"
        )
        shown.get_by_role("button", name="newest").click()
        expect(shown).to_contain_text("step 20")

    report(server, name, ("text", {"name": "long/" * 50, "text": "x" * 5000}))
    narrow = open_page(f"/sessions/{name}", viewport={"width": 390, "height": 844})
    expect(narrow.get_by_role("region", name="Texts").get_by_role("listitem")).to_have_count(3)
    assert narrow.evaluate("document.documentElement.scrollWidth") == 390

    report(server, name, ("histogram", histogram(60)), ("text", {"name": "b", "text": "later"}))
    expect(page.get_by_test_id("histogram").get_by_role("img")).to_have_attribute(
        "data-columns", "21"
    )
    expect(page.get_by_role("region", name="Texts").get_by_role("listitem")).to_have_count(4)


def test_an_event_that_only_says_it_is_one_shows_as_an_event(
    server: Server, open_page: OpenPage
) -> None:
    name = server.open_session("posing-run", total_episodes=10)
    page = open_page(f"/sessions/{name}")
    expect(page.get_by_test_id("link")).to_contain_text("live")
    report(
        server,
        name,
        ("training_status", {"event": "image", "name": "x", "url": "https://elsewhere.example/"}),
        ("training_status", {"event": "histogram", "name": "x", "counts": "many"}),
        ("training_status", {"event": "text", "message": "an old one"}),
    )
    expect(page.get_by_text("an old one")).to_be_visible()
    expect(page.get_by_test_id("image")).to_have_count(0)
    expect(page.get_by_test_id("histogram")).to_have_count(0)
