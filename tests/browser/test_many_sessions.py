"""Many sessions at once: chosen, compared, tagged, archived, deleted."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def row(page: Page, session_id: str) -> Locator:
    return page.locator(f"[data-session='{session_id}']")


def choose(page: Page, session_id: str, **how: object) -> None:
    row(page, session_id).get_by_role("checkbox").click(**how)  # type: ignore[arg-type]


def test_chosen_sessions_are_compared_tagged_archived_and_deleted(
    server: Server, open_page: OpenPage
) -> None:
    ids = [server.open_session(f"heap-{k}", tags=["heap"]) for k in range(5)]
    for one in ids:
        server.report(one, episode=1, current_reward=2.0)
    page = open_page("/?q=heap-&sort=name")
    bar = page.get_by_role("region", name="Chosen sessions")
    expect(bar).to_have_count(0)
    choose(page, ids[0])
    expect(bar).to_contain_text("1 chosen")
    choose(page, ids[3], modifiers=["Shift"])
    expect(bar).to_contain_text("4 chosen")
    bar.get_by_role("button", name="all 5").click()
    expect(bar).to_contain_text("5 chosen")
    choose(page, ids[4])

    bar.get_by_role("button", name="Tag").click()
    bar.get_by_label("Tags, with commas between").fill("kept, good")
    bar.get_by_role("button", name="Add").click()
    expect(bar.get_by_role("status")).to_contain_text("4 sessions tagged")
    expect(row(page, ids[0])).to_contain_text("good")
    assert server.api.get(f"/api/training/sessions/{ids[1]}").json()["tags"] == [
        "heap",
        "kept",
        "good",
    ]

    bar.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", name="4 sessions side by side")).to_be_visible()
    page.go_back()
    # What was chosen is still chosen.
    expect(bar).to_contain_text("4 chosen")

    bar.get_by_role("button", name="Archive", exact=True).click()
    expect(bar.get_by_role("status")).to_contain_text("4 sessions archived")
    expect(row(page, ids[0])).to_have_count(0)
    expect(row(page, ids[4])).to_be_visible()
    page.get_by_role("button", name="archived", exact=True).click()
    expect(row(page, ids[0])).to_be_visible()
    expect(row(page, ids[4])).to_have_count(0)

    for one in ids[:2]:
        choose(page, one)
    bar.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete 2 sessions?")
    expect(dialog).to_contain_text(re.compile(r"\d records, .*B in the database"))
    dialog.get_by_role("button", name="Keep them").click()
    assert server.api.get(f"/api/training/sessions/{ids[0]}").status_code == 200
    bar.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(bar.get_by_role("status")).to_contain_text("2 sessions deleted")
    assert server.api.get(f"/api/training/sessions/{ids[0]}").status_code == 404
    choose(page, ids[2])
    bar.get_by_role("button", name="Unarchive").click()
    expect(bar.get_by_role("status")).to_contain_text("1 session back among the others")


def test_what_is_refused_stays_chosen_and_is_said(server: Server, open_page: OpenPage) -> None:
    a = server.open_session("refuse-a")
    page = open_page("/?q=refuse-")
    choose(page, a)
    bar = page.get_by_role("region", name="Chosen sessions")
    expect(bar).to_contain_text("1 chosen")
    assert server.api.delete(f"/api/training/sessions/{a}").status_code == 204
    bar.get_by_role("button", name="Archive", exact=True).click()
    expect(bar.get_by_role("status")).to_contain_text("1 left as they were: ")
