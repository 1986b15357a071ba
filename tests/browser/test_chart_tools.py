"""What a card of curves can do: pinned, on the full screen, as a file; a link shows the same."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from .charts import Chart, card, looked_at
from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def run_of(server: Server, name: str) -> str:
    """Three cards of two hundred episodes each."""
    server.open_session(name)
    numbers = list(range(1, 201))
    server.report_many(
        name,
        episode=numbers,
        current_reward=[n / 3 for n in numbers],
        win_rate=[n / 2 for n in numbers],
        loss_value=[1 / n for n in numbers],
    )
    return name


def choose(page: Page, title: str, what: str) -> None:
    """Open a card's menu and take one of its choices, by keyboard alone."""
    opener = card(page, title).get_by_role("button", name=f"{title}: chart tools")
    opener.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    for _ in range(6):
        if page.get_by_role("menuitem", name=what).evaluate(
            "one => one === document.activeElement"
        ):
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")


def test_a_pinned_card_stands_first_here_and_where_the_link_goes(
    server: Server, open_page: OpenPage
) -> None:
    name = run_of(server, "pinned")
    page = open_page(f"/sessions/{name}")
    Chart(page, "Losses").expect_points(200)
    choose(page, "Losses", "Pin to the top")
    expect(page.locator(".curves .grid h3").first).to_contain_text("Losses")
    expect(page).to_have_url(re.compile(r"pin=loss"))
    page.reload()
    expect(page.locator(".curves .grid h3").first).to_contain_text("Losses")
    link = page.url
    other = open_page(link.removeprefix(server.url))
    expect(other.locator(".curves .grid h3").first).to_contain_text("Losses")
    choose(other, "Losses", "Unpin")
    expect(other.locator(".curves .grid h3").first).to_contain_text("Episode return")


def test_the_full_screen_tells_the_stretch_and_escape_leaves_it(
    server: Server, open_page: OpenPage
) -> None:
    name = run_of(server, "full-screen")
    page = open_page(f"/sessions/{name}")
    chart = Chart(page, "Episode return")
    chart.expect_points(200)
    chart.drag(0.25, 0.75)
    looked_at(page)
    choose(page, "Episode return", "Full screen")
    dialog = page.get_by_role("dialog", name="Episode return, full screen")
    expect(dialog.locator("canvas")).to_be_visible()
    expect(dialog.get_by_role("columnheader", name="this stretch")).to_be_visible()
    figures = [float(text) for text in dialog.locator("td").all_inner_texts()]
    last, least, most, mean = figures
    assert 15 < least < 18.5
    assert 48.5 < most < 51.5
    assert last == most
    assert mean == pytest.approx((least + most) / 2, rel=1e-3)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    # Only then the stretch.
    expect(page.get_by_test_id("looked-at")).to_be_visible()


def test_a_card_is_saved_as_a_table_with_every_digit_and_as_a_picture(
    server: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    name = run_of(server, "saved")
    page = open_page(f"/sessions/{name}")
    Chart(page, "Episode return").expect_points(200)
    with page.expect_download() as saved:
        choose(page, "Episode return", "Save as CSV")
    saved.value.save_as(tmp_path / "curves.csv")
    with (tmp_path / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == [n / 3 for n in range(1, 201)]
    assert [int(row["episode"]) for row in rows] == list(range(1, 201))
    with page.expect_download() as saved:
        choose(page, "Episode return", "Save as PNG")
    assert saved.value.suggested_filename == "saved-return.png"
    saved.value.save_as(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_link_shows_axis_scale_smoothing_and_stretch(server: Server, open_page: OpenPage) -> None:
    name = run_of(server, "linked")
    page = open_page(f"/sessions/{name}")
    chart = Chart(page, "Win rate")
    chart.expect_points(200)
    chart.drag(0.25, 0.5)
    page.get_by_role("button", name="log", exact=True).click()
    page.get_by_role("slider").fill("0.2")
    expect(page).to_have_url(re.compile(r"scale=log.*smoothing=0\.2.*from=.*to="))
    stretch = looked_at(page)
    other = open_page(page.url.removeprefix(server.url))
    assert looked_at(other) == stretch
    expect(other.get_by_role("button", name="log", exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(other.get_by_role("slider")).to_have_value("0.2")
    # The smoothing is remembered, the rest is not.
    page.goto(f"{server.url}/sessions/{name}")
    expect(page.get_by_role("slider")).to_have_value("0.2")
    expect(page.get_by_test_id("looked-at")).to_have_count(0)


def test_among_hundreds_of_metrics_one_is_found(server: Server, open_page: OpenPage) -> None:
    name = server.open_session("hundreds")
    values = {f"part{i // 6:02d}/measure{i % 6}": float(i) for i in range(300)}
    for episode in (1, 2, 3):
        server.report(name, episode=episode, extra=values)
    page = open_page(f"/sessions/{name}")
    search = page.get_by_role("searchbox", name="Find a metric")
    expect(page.locator(".curves .grid h3")).to_have_count(50)
    search.fill("part07 measure3")
    expect(page.locator(".curves .grid h3")).to_have_count(1)
    expect(page.locator(".curves .grid canvas")).to_have_count(1)
    search.fill("nothing of this kind")
    expect(page.get_by_text("No metric is called")).to_be_visible()


def tell(server: Server, name: str, **data: object) -> None:
    """Report an event, as the SDK does."""
    record = {"type": "training_status", "data": data}
    path = f"/api/training/sessions/{name}/records"
    answer = server.api.post(path, json={"records": [record]})
    assert answer.status_code == 200, answer.text


def test_what_happened_is_flagged_on_every_chart(server: Server, open_page: OpenPage) -> None:
    name = run_of(server, "flagged")
    tell(server, name, event="checkpoint", episode=101, score=0.5)
    page = open_page(f"/sessions/{name}")
    chart = Chart(page, "Win rate")
    chart.expect_points(200)
    events = page.get_by_role("button", name="events", exact=True)
    expect(events).to_have_attribute("aria-pressed", "true")
    chart.point_at(100 / 199)
    expect(chart.card).to_contain_text("Checkpoint at episode 101, score 0.5")
    chart.point_at(0.8)
    expect(chart.card).not_to_contain_text("Checkpoint")
    # One that comes live says only what it is; the run says where it was.
    tell(server, name, event="alert", title="Too slow", message="3 a second")
    expect(page.get_by_role("listitem").filter(has_text="Too slow")).to_be_visible()
    chart.point_at(1.0 - 1e-3)
    expect(chart.card).to_contain_text("Too slow 3 a second")
    events.click()
    expect(page).to_have_url(re.compile("events=off"))
    chart.point_at(100 / 199)
    expect(chart.card).to_contain_text(re.compile("episode 10[01]"))
    expect(chart.card).not_to_contain_text("Checkpoint")
