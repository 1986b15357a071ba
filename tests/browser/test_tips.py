"""What a number means: told by its label to mouse, keyboard and finger."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


@pytest.fixture
def session(server: Server, request: pytest.FixtureRequest) -> str:
    """A session with figures, of one test alone."""
    name = server.open_session(request.node.originalname, total_episodes=100)
    for episode in range(1, 21):
        server.report(name, episode=episode, average_reward=episode * 1.5, win_rate=episode)
    return name


def test_by_mouse_there_is_one_at_a_time(session: str, open_page: OpenPage) -> None:
    page = open_page(f"/sessions/{session}")
    figures = page.get_by_label("Newest figures")
    labels = figures.get_by_role("button")
    tips = page.get_by_role("tooltip")
    expect(tips).to_have_count(0)
    labels.filter(has_text="Win rate").hover()
    expect(tips).to_contain_text("%")
    labels.filter(has_text="Average").first.hover()
    expect(tips).to_have_count(1)
    expect(tips).to_contain_text("Mean return of the latest episodes")
    page.mouse.move(600, 880)
    expect(tips).to_have_count(0)


def test_by_keyboard_it_comes_with_the_focus_and_goes_by_escape(
    session: str, open_page: OpenPage
) -> None:
    page = open_page(f"/sessions/{session}")
    name = page.get_by_label("Newest figures").get_by_role("button").filter(has_text="Win rate")
    name.focus()
    tip = page.get_by_role("tooltip")
    expect(tip).to_be_visible()
    described = name.get_attribute("aria-describedby")
    assert described == tip.get_attribute("id")
    page.keyboard.press("Escape")
    expect(tip).to_have_count(0)
    expect(name).to_be_focused()


def test_by_finger_a_tap_shows_it_within_the_screen(session: str, open_page: OpenPage) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = open_page(f"/sessions/{session}", **phone)
    page.get_by_label("Newest figures").get_by_role("button").filter(has_text="Win rate").tap()
    tip = page.get_by_role("tooltip")
    expect(tip).to_be_visible()
    box = tip.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    page.get_by_role("heading", level=1).tap()
    expect(tip).to_have_count(0)
