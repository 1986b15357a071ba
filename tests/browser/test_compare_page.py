"""Sessions laid over one another on /compare; the address says what is seen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def run(server: Server, name: str, level: float, **config: Any) -> str:
    """A finished session of 200 episodes around a return."""
    session_id = server.open_session(name, total_episodes=200, config=config)
    episodes = list(range(1, 201))
    rewards = [level + (e % 7) for e in episodes]
    server.report_many(session_id, episode=episodes, current_reward=rewards)
    ended = server.api.put(f"/api/training/sessions/{session_id}", json={"status": "completed"})
    assert ended.status_code == 200
    return session_id


def chart(page: Page, title: str) -> Locator:
    return page.get_by_role("region", name=title, exact=True)


def test_sessions_are_laid_over_one_another(server: Server, open_page: OpenPage) -> None:
    a = run(server, "beside-a", 10, learning_rate=0.001, gamma=0.99)
    b = run(server, "beside-b", 50, learning_rate=0.01, gamma=0.99)
    page = open_page("/compare")
    expect(page.get_by_role("heading", name="Nothing to compare yet")).to_be_visible()
    picker = page.get_by_role("combobox", name="Add a session")
    for name in (a, b):
        picker.fill(name)
        page.get_by_role("option", name=re.compile(name)).click()
        expect(page).to_have_url(re.compile(name))
    expect(page.get_by_role("heading", name="2 sessions side by side")).to_be_visible()
    card = chart(page, "Current reward")
    expect(card.get_by_role("img")).to_have_attribute("data-points", "200")
    expect(card.get_by_role("listitem")).to_have_count(2)
    facts = page.get_by_role("region", name="Configuration")
    expect(facts.get_by_role("row")).to_have_count(2)
    expect(facts).to_contain_text("learning_rate")
    facts.get_by_role("button", name="Show all").click()
    expect(facts).to_contain_text("gamma")
    numbers = page.get_by_role("region", name="Summary")
    expect(numbers.get_by_role("row").nth(1)).to_contain_text(a)
    numbers.get_by_role("button", name="Highest").click()
    expect(numbers.get_by_role("row").nth(1)).to_contain_text(b)
    expect(numbers.get_by_role("row").nth(1)).to_contain_text("56")


def test_a_link_shows_the_same_view(server: Server, open_page: OpenPage) -> None:
    ids = [run(server, f"seed-{k}", 10 + k, learning_rate=0.1 if k < 2 else 0.2) for k in range(4)]
    page = open_page(f"/compare?ids={','.join(ids)}")
    page.get_by_label("together").select_option("learning_rate")
    page.get_by_role("button", name="log").click()
    card = chart(page, "Current reward")
    expect(card.get_by_role("listitem")).to_have_count(2)
    expect(card).to_contain_text("0.1 (n = 2)")
    page.get_by_role("button", name=ids[3], exact=True).click()
    expect(card).to_contain_text("0.2 (n = 1)")
    again = open_page(page.url.removeprefix(server.url))
    expect(chart(again, "Current reward")).to_contain_text("0.2 (n = 1)")
    expect(again.get_by_role("button", name="log")).to_have_attribute("aria-pressed", "true")
    # Back goes to the sessions as they were chosen before, not through every slider's move.
    again.get_by_role("button", name=f"Take {ids[0]} out").click()
    expect(again.get_by_role("heading", name="3 sessions side by side")).to_be_visible()
    again.go_back()
    expect(again.get_by_role("heading", name="4 sessions side by side")).to_be_visible()


def test_what_runs_stays_live_and_what_is_gone_is_said(server: Server, open_page: OpenPage) -> None:
    a = run(server, "still", 10)
    b = server.open_session("moving")
    server.report(b, episode=1, current_reward=1.0)
    page = open_page(f"/compare?ids={a},{b},nowhere")
    card = chart(page, "Current reward")
    expect(card.get_by_role("listitem").nth(1)).to_have_text(re.compile("moving 1$"))
    server.report(b, episode=2, current_reward=77.0)
    expect(card.get_by_role("listitem").nth(1)).to_contain_text("77")
    expect(page.get_by_text(re.compile("nowhere: .*no session", re.IGNORECASE))).to_be_visible()
    open_page.complaints.clear()  # type: ignore[attr-defined] # the browser's own line on the 404
