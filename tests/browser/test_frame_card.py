"""The agent at play, on the page of its session."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .charts import figure
from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def show(server: Server, name: str, image: bytes, **query: Any) -> None:
    answer = server.api.put(
        f"/api/training/sessions/{name}/frame",
        content=image,
        headers={"Content-Type": "image/jpeg"},
        params=query,
    )
    assert answer.json() == {"accepted": True}, answer.text


def picture(page: Page, width: int) -> bytes:
    """A real JPEG, as wide as that."""
    clip = {"x": 0, "y": 0, "width": width, "height": 20}
    return page.screenshot(type="jpeg", clip=clip)  # type: ignore[arg-type]


def test_the_agent_is_shown_as_it_plays(server: Server, open_page: OpenPage) -> None:
    name = server.open_session("filmed-run", total_episodes=10)
    page = open_page(f"/sessions/{name}")
    expect(page.get_by_test_id("link")).to_contain_text("live")
    frame = page.get_by_test_id("frame")
    expect(frame).to_have_count(0)
    pictures = {width: picture(page, width) for width in (40, 60, 80)}

    def shown(width: int) -> None:
        page.wait_for_function(
            "width => document.querySelector('[data-testid=frame] img')?.naturalWidth === width",
            arg=width,
        )

    show(server, name, pictures[40], episode=1, step=12, **{"return": 30.5})
    expect(frame).to_contain_text("episode 1, step 12")
    expect(frame).to_contain_text("return 30.5")
    expect(frame.get_by_role("img")).to_have_attribute(
        "alt", "The agent at play, episode 1, step 12"
    )
    shown(40)
    show(server, name, pictures[60], episode=2, **{"return": 4})
    shown(60)
    expect(frame).to_contain_text("episode 2")

    frame.get_by_role("button", name="best episode").click()
    shown(40)
    expect(frame).to_contain_text("episode 1, step 12")
    show(server, name, pictures[80], episode=3, **{"return": 1})
    frame.get_by_role("button", name="live").click()
    shown(80)  # the newest at once, not only with the next one
    expect(frame).to_contain_text("episode 3")

    again = open_page(f"/sessions/{name}")
    expect(again.get_by_test_id("frame")).to_contain_text("episode 3")


def test_nothing_is_sent_to_a_page_that_nobody_sees(server: Server, open_page: OpenPage) -> None:
    name = server.open_session("unseen-run", total_episodes=10)
    page = open_page(f"/sessions/{name}")
    expect(page.get_by_test_id("link")).to_contain_text("live")
    image = picture(page, 50)
    show(server, name, image, episode=1)
    frame = page.get_by_test_id("frame")
    expect(frame).to_contain_text("episode 1")

    def turn(hidden: bool) -> None:
        page.evaluate(
            """hidden => {
                Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
                document.dispatchEvent(new Event("visibilitychange"));
            }""",
            hidden,
        )

    turn(True)
    server.report(name, episode=2, average_reward=2.0)
    expect(page.get_by_text("Episode return").first).to_be_visible()
    show(server, name, image, episode=2)
    server.report(name, episode=3, average_reward=33.5)
    expect(figure(page, "Average reward")).to_contain_text("33.5")
    expect(frame).to_contain_text("episode 1")
    turn(False)
    expect(frame).to_contain_text("episode 2")
