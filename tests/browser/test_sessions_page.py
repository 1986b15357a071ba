"""The list of sessions: finds, shows, starts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def test_a_session_made_by_a_script_shows_up_and_leads_to_its_page(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page("/")
    name = server.open_session("listed-run", name="A run of mine", total_episodes=10)
    for episode in range(1, 6):
        server.report(name, episode=episode, current_reward=episode, average_reward=episode)
    row = page.locator(f"[data-session={name}]")
    expect(row).to_contain_text("A run of mine")
    expect(row.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    expect(row.locator("svg path")).to_have_attribute("d", re.compile("^M"))
    row.get_by_role("link", name="A run of mine").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A run of mine")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sessions")


def test_the_list_can_be_searched_from_the_keyboard(server: Server, open_page: OpenPage) -> None:
    server.open_session("needle-run")
    server.open_session("other-run")
    page = open_page("/")
    expect(page.locator("[data-session=other-run]")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(page.locator("[data-session=other-run]")).to_have_count(0)
    expect(page.locator("[data-session=needle-run]")).to_be_visible()
    page.get_by_role("searchbox").fill("nothing has this name")
    expect(page.get_by_text("No session fits this search.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("[data-session=other-run]")).to_be_visible()


def test_an_address_below_the_page_opens_directly(server: Server, open_page: OpenPage) -> None:
    page = open_page("/no/such/page")
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing here")
    page.get_by_role("link", name="All sessions", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sessions")


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_screen(server: Server, open_page: OpenPage, width: int) -> None:
    server.open_session(
        f"wide-{width}", name="a-name-without-any-place-to-break-" + "x" * 60, total_episodes=5
    )
    page = open_page("/", viewport={"width": width, "height": 800})
    expect(page.locator(f"[data-session=wide-{width}]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_without_the_training_part_the_page_says_how_to_get_it(
    untrained_server: Server, open_page: OpenPage
) -> None:
    page = open_page("/", on=untrained_server)
    banner = page.get_by_test_id("setup-banner")
    expect(banner).to_contain_text("not installed")
    expect(banner.locator("code")).to_contain_text("pip install")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    expect(page.get_by_text("No sessions yet")).to_be_visible()
