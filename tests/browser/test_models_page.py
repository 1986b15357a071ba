"""Models: found, played, looked at closely, set beside one another, removed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow

TRAINED_MS = 120_000


def train(server: Server, name: str, seed: int) -> str:
    """Start a short training; gives its session."""
    body = {
        "scenario_name": "bologna_coppia",
        "num_episodes": 120,
        "seed": seed,
        "name": name,
        "queue": True,
        "eval_episodes": 0,
        "save_interval": 50,
    }
    answer = server.api.post("/api/training/start", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["session_id"])


@pytest.mark.timeout(400)
def test_models_from_their_training_to_their_comparison(
    own_server: Server, open_page: OpenPage
) -> None:
    page = open_page("/models", on=own_server)
    expect(page.get_by_role("heading", name="No models yet")).to_be_visible()
    one, two = train(own_server, "the first", 1), train(own_server, "the second", 2)

    # A session's page has its checkpoints, and one can go on from them.
    page.goto(f"{own_server.url}/sessions/{two}")
    expect(page.get_by_test_id("status")).to_have_text(re.compile("completed"), timeout=TRAINED_MS)
    checkpoints = page.get_by_role("region", name="Checkpoints")
    expect(checkpoints.get_by_role("listitem").first).to_contain_text("episode 120")
    with page.expect_download() as coming:
        checkpoints.get_by_role("link", name="Download the checkpoint of episode 120").click()
    assert coming.value.suggested_filename == f"{two}-checkpoint_episode_120.zip"

    page.get_by_role("link", name="Models").click()
    rows = page.locator("[data-model]")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("the second")
    expect(rows.first).to_contain_text("newest")
    page.get_by_label("Search models").fill("first")
    expect(rows).to_have_count(1)

    # Played, it shows how its lives went.
    rows.get_by_role("link", name="the first").click()
    play = page.get_by_role("region", name="Play it", exact=True)
    play.get_by_label("Episodes").fill("200")
    play.get_by_role("button", name="Play and score").click()
    plays = page.get_by_role("region", name="How it plays")
    expect(plays.get_by_test_id("fans")).to_be_visible(timeout=TRAINED_MS)
    # As it is seen: between the word and the number lies a tip that is not shown.
    score = re.compile(r"Score\s*-?[01]\.\d{4}")
    expect(plays).to_contain_text(score, use_inner_text=True)
    for figure in ("Cash", "Portfolio", "Wealth"):
        expect(plays.get_by_role("slider", name=f"{figure} by month")).to_be_visible()
    expect(plays).to_contain_text("50 lives")

    # A month pointed at in one chart, by keyboard, is told in all of them.
    fans = plays.get_by_test_id("fans")
    cash = fans.get_by_role("slider", name="Cash by month")
    cash.press("Home")
    cash.press("ArrowRight")
    cash.press("PageUp")
    expect(fans.get_by_text("month 14")).to_have_count(4)
    expect(cash).to_have_attribute("aria-valuetext", re.compile("^month 14: median €"))
    cash.press("Escape")
    expect(fans.get_by_text("in the end")).to_have_count(3)

    # Asked, it says what it would do.
    tried = page.get_by_role("region", name="Try it")
    tried.get_by_label("Cash").fill("40000")
    tried.get_by_role("button", name="What would it do?").click()
    action = tried.get_by_test_id("action")
    expect(action).to_contain_text("invest", timeout=TRAINED_MS)
    shares = re.findall(r"([\d.]+) %", action.inner_text())
    assert sum(map(float, shares)) == pytest.approx(100, abs=0.2)

    # An evaluation somebody else asked for is followed to its end.
    asked = own_server.api.post(f"/api/models/{two}/evaluate", json={"episodes": 200})
    assert asked.status_code == 202, asked.text
    page.goto(f"{own_server.url}/models/{two}")
    expect(plays).to_contain_text(score, timeout=TRAINED_MS, use_inner_text=True)
    page.get_by_role("link", name="Models").first.click()
    expect(rows).to_have_count(2)
    page.get_by_label("Choose the first").check()
    page.get_by_label("Choose the second").check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page).to_have_url(re.compile(rf"ids={one},{two}$"))
    differ = page.get_by_role("region", name="Configuration")
    expect(differ.get_by_role("row").filter(has_text="config.seed")).to_contain_text("12")
    pairs = page.get_by_role("region", name="Differences")
    expect(pairs).to_contain_text("the first minus the second")
    expect(pairs).to_contain_text(re.compile("apart|could be luck"))

    page.goto(f"{own_server.url}/models/{one}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(rows).to_have_count(1)
    gone = own_server.api.get(f"/api/models/{one}")
    assert gone.status_code == 404


def test_a_model_that_is_none_is_said(server: Server, open_page: OpenPage) -> None:
    page = open_page("/models/nobody")
    expect(page.get_by_role("heading", name="No such model")).to_be_visible()
    page.goto(f"{server.url}/models/compare?ids=nobody,nobody")
    expect(page.get_by_text("Two or more are needed.")).to_be_visible()
    page.goto(f"{server.url}/models/compare?ids=nobody,nothing")
    expect(page.get_by_role("alert")).to_contain_text("there is no model")
    open_page.complaints[:] = [c for c in open_page.complaints if "404" not in c]  # type: ignore[attr-defined]
