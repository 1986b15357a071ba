"""Trainings are ordered on /train: scenarios, parameters, the queue, scenarios of one's own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def start(server: Server, name: str, **more: Any) -> str:
    """Have a training wait, or run where nothing does; gives its session."""
    body = {"scenario_name": "balanced", "queue": True, "name": name, "eval_episodes": 0, **more}
    answer = server.api.post("/api/training/start", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["session_id"])


def scenario(page: Page, name: str) -> Locator:
    """The label of a scenario; others have its name in their description."""
    radios = page.get_by_role("radiogroup", name="Scenario").locator("label")
    return radios.filter(has=page.get_by_text(name, exact=True))


def waiting(page: Page) -> Locator:
    return page.get_by_role("region", name="Queue").get_by_role("listitem")


def test_a_training_is_ordered_with_its_parameters(server: Server, open_page: OpenPage) -> None:
    page = open_page("/train")
    card = scenario(page, "milano_junior")
    expect(card).to_contain_text("income 1\u00a0800")
    expect(card.get_by_role("img")).to_have_attribute("aria-label", re.compile("€\u00a0150 left"))
    card.click()
    order = page.get_by_role("region", name="Order")
    expect(order.get_by_role("heading")).to_have_text("milano_junior")
    order.get_by_label("Episodes", exact=True).fill("40")
    order.get_by_label("Seed").fill("3")
    order.get_by_text("How it learns").click()
    expect(order.get_by_text("Discount of the Executor, per month.")).to_be_visible()
    order.get_by_label("gamma low").fill("7")
    order.get_by_role("button", name="Start").click()
    expect(order.get_by_role("alert")).to_contain_text("gamma_low")
    expect(order.get_by_text("should be less than or equal to 1", exact=True)).to_be_visible()
    order.get_by_label("gamma low").fill("0.98")
    order.get_by_text("End early").click()
    order.get_by_label("Seconds of training").fill("100")
    order.get_by_label("Steps without a better return").fill("2000000")
    order.get_by_label("Better by more than").fill("0.5")
    order.get_by_role("button", name="Start").click()
    expect(page).to_have_url(re.compile(r"/sessions/\w+$"))
    expect(page.get_by_role("heading", name="milano_junior, seed 3")).to_be_visible()
    session = server.api.get(f"/api/training/sessions/{page.url.rpartition('/')[2]}").json()
    assert session["total_episodes"] == 40
    assert session["config"]["overrides"] == {"training": {"gamma_low": 0.98}}
    plateau = {"patience_steps": 2_000_000, "min_delta": 0.5}
    assert session["config"]["early_stopping"] == {"max_seconds": 100.0, "plateau": plateau}
    open_page.complaints[:] = [c for c in open_page.complaints if "422" not in c]  # type: ignore[attr-defined]


def test_the_queue_is_reordered_and_left(own_server: Server, open_page: OpenPage) -> None:
    start(own_server, "at work", pace=5)
    page = open_page("/train", on=own_server)
    for name in ("first", "second", "third"):
        start(own_server, name)
    rows = waiting(page)
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Move third up").click()
    expect(rows).to_contain_text(["first", "third", "second"])
    page.get_by_role("button", name="Move first down").press("Enter")
    expect(rows).to_contain_text(["third", "first", "second"])
    page.get_by_role("button", name="Take first out of the queue").click()
    expect(rows).to_have_count(2)
    expect(rows).to_contain_text(["third", "second"])
    queue = own_server.api.get("/api/training/queue").json()["queue"]
    assert [row["session"]["name"] for row in queue] == ["third", "second"]
    page.get_by_role("link", name="Sessions", exact=True).click()
    expect(page.get_by_text("2 waiting for a worker")).to_be_visible()
    page.get_by_role("link", name="the queue").click()
    expect(waiting(page)).to_have_count(2)


def test_a_priority_is_given_on_the_page(own_server: Server, open_page: OpenPage) -> None:
    start(own_server, "at work", pace=5)
    for name in ("first", "second"):
        start(own_server, name)
    page = open_page("/train", on=own_server)
    rows = waiting(page)
    expect(rows).to_contain_text(["first", "second"])
    field = page.get_by_label("Priority of second")
    field.fill("5000")
    field.press("Enter")
    expect(page.get_by_role("region", name="Queue").get_by_role("alert")).to_contain_text("1000")
    expect(field).to_have_value("0")
    field.fill("7")
    field.press("Enter")
    expect(rows).to_contain_text(["second", "first"])
    expect(field).to_have_value("7")
    queue = own_server.api.get("/api/training/queue").json()["queue"]
    assert [(row["session"]["name"], row["priority"]) for row in queue] == [
        ("second", 7),
        ("first", 0),
    ]


def test_on_a_phone_the_order_comes_right_behind_the_chosen_card(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page("/train", viewport={"width": 390, "height": 800})
    for name in ("milano_junior", "balanced"):
        card = scenario(page, name)
        card.click()
        order = page.get_by_role("region", name="Order")
        expect(order.get_by_role("heading")).to_have_text(name)
        above, below = card.bounding_box(), order.bounding_box()
        assert above is not None
        assert below is not None
        assert 0 <= below["y"] - (above["y"] + above["height"]) <= 32


def test_a_scenario_of_ones_own_is_written_checked_and_kept(
    own_server: Server, open_page: OpenPage
) -> None:
    page = open_page("/train", on=own_server)
    scenario(page, "balanced").click()
    page.get_by_role("button", name="New scenario from balanced").click()
    editor = page.get_by_role("region", name="Scenario editor")
    income = editor.get_by_role("spinbutton", name=re.compile("^income [>≥]"))
    expect(income).to_have_value("3200")
    income.fill("-1")
    expect(income).to_have_attribute("aria-invalid", "true")
    expect(income).to_have_accessible_description(re.compile("0"))
    expect(editor.get_by_role("alert")).to_contain_text("environment.income")
    expect(editor.get_by_role("button", name="Save as new")).to_be_disabled()
    income.fill("3100")
    editor.get_by_label("Description").fill("Written in a form.")
    expect(editor).to_contain_text("Every value is within its bounds")

    # The same as text; what was filled in stands there.
    editor.get_by_role("button", name="YAML").click()
    text = editor.get_by_label("Scenario as YAML")
    expect(text).to_have_value(re.compile("income: 3100.0"))
    expect(text).to_have_value(re.compile("Written in a form"))
    expect(text).to_have_value(re.compile("name: my_balanced"))
    yaml = text.input_value()
    text.fill(yaml.replace("income: 3100.0", "income: -1"))
    expect(editor.get_by_role("alert")).to_contain_text("environment.income")
    expect(editor.get_by_role("button", name="Save as new")).to_be_disabled()
    editor.get_by_role("button", name="Close").click()
    expect(editor.get_by_role("button", name="Really leave it unsaved?")).to_be_visible()
    text.fill(yaml.replace("income: 3100.0", "income: 2500"))
    expect(editor).to_contain_text("Every value is within its bounds")
    editor.get_by_role("button", name="Form").click()
    expect(income).to_have_value("2500")
    editor.get_by_role("button", name="Save as new").click()
    mine = scenario(page, "my_balanced")
    expect(mine).to_contain_text("yours")
    expect(mine).to_contain_text("income 2\u00a0500")
    expect(page.get_by_role("region", name="Order").get_by_role("heading")).to_have_text(
        "my_balanced"
    )
    page.get_by_role("button", name="Change my_balanced").click()
    editor.get_by_role("button", name="Delete").click()
    editor.get_by_role("button", name="Really delete?").click()
    expect(mine).to_have_count(0)
    open_page.complaints[:] = [c for c in open_page.complaints if "422" not in c]  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [390, 1360])
def test_nothing_sticks_out(server: Server, open_page: OpenPage, width: int) -> None:
    for path in ("/train", "/models"):
        page = open_page(path, viewport={"width": width, "height": 800})
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


def test_the_queue_stands_slim_above_the_sessions(own_server: Server, open_page: OpenPage) -> None:
    page = open_page("/", on=own_server)
    strip = page.get_by_role("region", name="Queue")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sessions")
    expect(strip).to_have_count(0)
    start(own_server, "at work", pace=5)
    for name in ("first", "second", "third"):
        start(own_server, name)
    expect(strip.get_by_role("link", name="at work")).to_be_visible()
    expect(strip.get_by_role("progressbar", name="Episodes of at work")).to_be_visible()
    strip.get_by_role("button", name="3 waiting for a worker").click()
    rows = waiting(page)
    expect(rows).to_contain_text(["first", "second", "third"])
    strip.get_by_role("button", name="Move third up").click()
    expect(rows).to_contain_text(["first", "third", "second"])
    strip.get_by_role("button", name="Take first out of the queue").click()
    expect(rows).to_contain_text(["third", "second"])
    expect(strip.get_by_role("button", name="Move third up")).to_be_disabled()
    strip.get_by_role("link", name="the queue").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Train")
