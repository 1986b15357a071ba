"""A run leaves the page as a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .charts import Chart, looked_at
from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow

EPISODES = 50


@pytest.fixture
def arrowless_server(start_hooked: Callable[[str], Server]) -> Server:
    """A server in an environment without pyarrow."""
    return start_hooked("import sys\nsys.modules['pyarrow'] = None\n")


def filled(server: Server, name: str) -> str:
    """A session of `EPISODES` episodes and one decision."""
    server.open_session(name)
    numbers = list(range(1, EPISODES + 1))
    server.report_many(name, episode=numbers, current_reward=numbers)
    server.report(name, "bot_decision", selected_action="jump", action_probabilities={"jump": 1})
    return name


def file(page: Page, format: str) -> bytes:
    """What the menu's entry gives."""
    if page.get_by_role("group", name="Export as").count() == 0:
        page.get_by_role("button", name="Export").click()
    with page.expect_download() as coming:
        page.get_by_role("group", name="Export as").get_by_text(format, exact=True).click()
    assert coming.value.suggested_filename.endswith(f".{format.lower()}")
    return Path(coming.value.path()).read_bytes()


def test_a_run_is_exported_in_every_format(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"/sessions/{filled(server, 'exported-run')}")
    table = list(csv.DictReader(io.StringIO(file(page, "CSV").decode())))
    assert [float(row["current_reward"]) for row in table] == list(range(1, EPISODES + 1))
    records = [json.loads(line) for line in file(page, "NDJSON").splitlines()]
    assert {"training_metrics", "bot_decision"} <= {record["type"] for record in records}
    assert file(page, "Parquet").startswith(b"PAR1")
    expect(page.get_by_role("heading", level=1)).to_have_text("exported-run")  # still here


def test_what_is_looked_at_can_be_exported_alone(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"/sessions/{filled(server, 'cut-run')}")
    Chart(page, "Episode return").drag(0.3, 0.6)
    low, high = looked_at(page)
    page.get_by_role("button", name="Export").click()
    page.get_by_role("checkbox").check()
    table = list(csv.DictReader(io.StringIO(file(page, "CSV").decode())))
    episodes = [int(row["episode"]) for row in table]
    assert episodes == [e for e in range(1, EPISODES + 1) if episodes[0] <= e <= episodes[-1]]
    assert (episodes[0], episodes[-1]) == pytest.approx((low, high), abs=1)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("looked-at")).to_have_count(0)


def test_parquet_without_its_library_says_how_to_get_it(
    arrowless_server: Server, open_page: OpenPage
) -> None:
    page = open_page(f"/sessions/{filled(arrowless_server, 'plain-run')}", on=arrowless_server)
    page.get_by_role("button", name="Export").click()
    page.get_by_role("group", name="Export as").get_by_text("Parquet", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("pip install 'grandstand[export]'")
    assert file(page, "CSV").startswith(b"seq,")
    # The browser notes the refusal.
    open_page.complaints[:] = [c for c in open_page.complaints if "503" not in c and "501" not in c]  # type: ignore[attr-defined]


def test_the_menu_is_left_by_escape_and_by_a_click_elsewhere(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(f"/sessions/{filled(server, 'menu-run')}")
    opener = page.get_by_role("button", name="Export")
    for leave in ("Escape", "click"):
        opener.press("Enter")
        choices = page.get_by_role("group", name="Export as")
        expect(choices).to_be_visible()
        page.keyboard.press("Tab")
        expect(choices.get_by_role("link").first).to_be_focused()
        if leave == "Escape":
            page.keyboard.press("Escape")
            expect(opener).to_be_focused()
        else:
            page.get_by_role("heading", level=1).click()
        expect(choices).to_have_count(0)
