"""What people write of a session: its name, tags and notes, edited in place on its page."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage, Server, StartServer
from .doors import add_user, guarded, signed_in

pytestmark = pytest.mark.slow


def told(server: Server, session_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = server.api.get(f"/api/training/sessions/{session_id}").json()
    return answer


def test_name_tags_and_notes_are_edited_where_they_stand(
    server: Server, open_page: OpenPage
) -> None:
    run = server.open_session("words-run", tags=["old"])
    page = open_page(f"/sessions/{run}")
    title = page.get_by_role("heading", level=1)
    edit = page.get_by_role("button", name="Edit the name")
    edit.press("Enter")
    field = page.get_by_role("textbox", name="Name")
    expect(field).to_be_focused()
    field.fill("Not this")
    field.press("Escape")  # takes back
    expect(title).to_have_text(run)
    expect(edit).to_be_focused()
    edit.press("Enter")
    field.fill("  A better name ")
    field.press("Enter")
    expect(title).to_have_text("A better name")
    expect(edit).to_be_focused()
    assert told(server, run)["name"] == "A better name"

    words = page.get_by_role("group", name="Tags and notes")
    words.get_by_role("button", name="Edit the tags").click()
    tags = page.get_by_role("textbox", name="Tags")
    expect(tags).to_have_value("old")
    tags.fill("old, seeds, seeds")
    tags.press("Enter")
    expect(words.get_by_role("link")).to_have_text(["old", "seeds"])
    assert told(server, run)["tags"] == ["old", "seeds"]

    words.get_by_role("button", name="Notes").click()
    notes = page.get_by_role("textbox", name="Notes")
    notes.press_sequentially("One line")
    notes.press("Enter")
    notes.press_sequentially("and another")
    notes.press("Control+Enter")
    expect(words).to_contain_text("One line\nand another")
    assert told(server, run)["notes"] == "One line\nand another"


def test_what_is_refused_is_said_and_stays_as_it_was_typed(
    server: Server, open_page: OpenPage
) -> None:
    run = server.open_session("refused-words")
    page = open_page(f"/sessions/{run}")
    page.get_by_role("button", name="Tags", exact=True).click()
    tags = page.get_by_role("textbox", name="Tags")
    tags.fill("x" * 65)
    tags.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("64")
    expect(tags).to_have_value("x" * 65)
    tags.press("Escape")
    expect(page.get_by_role("alert")).to_have_count(0)
    assert told(server, run)["tags"] == []
    open_page.complaints[:] = [c for c in open_page.complaints if "422" not in c]  # type: ignore[attr-defined]


def test_who_may_only_watch_reads_them(start_server: StartServer, open_page: OpenPage) -> None:
    server = guarded(start_server)
    add_user(server, "ann", "watch")
    add_user(server, "olga", "operate")
    run = server.open_session("read-run", tags=["kept"])
    server.api.patch(f"/api/training/sessions/{run}", json={"notes": "To be read"})
    page = open_page(f"/sessions/{run}", on=server)
    signed_in(page, "ann")
    words = page.get_by_role("group", name="Tags and notes")
    expect(words).to_contain_text("To be read")
    expect(words.get_by_role("link", name="kept")).to_be_visible()
    expect(page.get_by_role("button", name="Edit")).to_have_count(0)
    other = open_page(f"/sessions/{run}", on=server)
    signed_in(other, "olga")
    other.get_by_role("button", name="Edit the name").click()
    other.get_by_role("textbox", name="Name").fill("Looked after")
    other.get_by_role("textbox", name="Name").press("Enter")
    expect(other.get_by_role("heading", level=1)).to_have_text("Looked after")
