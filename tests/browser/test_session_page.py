"""One session: its figures, curves and decision move while it is watched."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .charts import card, figure, ink
from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def test_a_strangers_run_is_drawn_live(server: Server, open_page: OpenPage) -> None:
    name = server.open_session("live-run", total_episodes=100)
    page = open_page(f"/sessions/{name}")
    expect(page.get_by_text("No numbers yet")).to_be_visible()
    expect(page.get_by_test_id("link")).to_contain_text("live")
    for episode in range(1, 31):
        server.report(
            name,
            episode=episode,
            current_reward=episode * 1.5,
            average_reward=episode,
            win_rate=episode,
            loss_value=1 / episode,
            epsilon=1 - episode / 100,
            extra={"arena/score": episode},
        )
    expect(figure(page, "Average reward")).to_contain_text("30")
    expect(figure(page, "Win rate")).to_contain_text("30.0")
    for title in ("Episode return", "Win rate", "Losses", "Epsilon", "Arena"):
        expect(card(page, title)).to_be_visible()
    expect(page.get_by_role("progressbar", name="Episodes done")).to_have_attribute(
        "aria-valuenow", "30"
    )
    assert ink(card(page, "Episode return")) > 500
    server.report(name, episode=31, average_reward=77.25)
    expect(figure(page, "Average reward")).to_contain_text("77.25")
    expect(card(page, "Episode return").get_by_role("img")).to_have_attribute(
        "aria-label", "Episode return: average 77.25"
    )


def test_the_decision_follows_live_and_can_be_looked_back_on(
    server: Server, open_page: OpenPage
) -> None:
    name = server.open_session("deciding-run")
    for step, jump in ((1, 0.25), (2, 0.75)):
        server.report(
            name,
            "bot_decision",
            action_probabilities={"jump": jump, "duck": 1 - jump},
            state_values=5.5,
            q_values=[1.0, 2.0],
            selected_action="jump",
            confidence_score=jump,
            step=step,
        )
    page = open_page(f"/sessions/{name}")
    jump_row = page.get_by_role("listitem").filter(has_text="jump")
    expect(jump_row).to_contain_text("75 %")
    expect(page.get_by_text("following live")).to_be_visible()
    server.report(
        name,
        "bot_decision",
        action_probabilities={"jump": 0.1, "duck": 0.9},
        state_values=5.0,
        q_values=[1.0, 2.0],
        selected_action="duck",
        confidence_score=0.9,
        step=3,
    )
    expect(jump_row).to_contain_text("10 %")
    slider = page.get_by_role("slider", name="Look back")
    slider.focus()
    page.keyboard.press("Home")
    expect(jump_row).to_contain_text("25 %")
    page.get_by_role("button", name=re.compile("back to")).click()
    expect(jump_row).to_contain_text("10 %")


def test_axes_and_scales_can_be_changed(server: Server, open_page: OpenPage) -> None:
    name = server.open_session("scaled-run")
    for episode in range(1, 21):
        server.report(name, episode=episode, step=episode * 50, loss_value=10 ** -(episode / 5))
    page = open_page(f"/sessions/{name}")
    expect(card(page, "Losses")).to_be_visible()
    for label in ("step", "time", "log", "linear", "episode"):
        button = page.get_by_role("button", name=label, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_text("Nothing on this axis yet.")).to_have_count(0)


def test_not_a_number_is_said_and_does_not_break_the_page(
    server: Server, open_page: OpenPage
) -> None:
    name = server.open_session("broken-run")
    for episode, loss in ((1, 0.5), (2, "NaN"), (3, "Infinity"), (4, 0.25)):
        server.report(name, episode=episode, loss_value=loss)
    page = open_page(f"/sessions/{name}")
    expect(figure(page, "Loss")).to_contain_text("0.25")
    server.report(name, episode=5, loss_value="NaN")
    expect(figure(page, "Loss")).to_contain_text("NaN")


def test_a_missing_session_is_said_and_found_once_it_exists(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page("/sessions/later-run")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such session")
    server.open_session("later-run")
    expect(page.get_by_role("heading", level=1)).to_have_text("later-run")
    # The browser notes the answers 404 that the page asked for.
    open_page.complaints[:] = [c for c in open_page.complaints if "404" not in c]  # type: ignore[attr-defined]


@pytest.mark.timeout(400)
def test_a_training_is_started_watched_and_stopped(server: Server, open_page: OpenPage) -> None:
    page = open_page("/")
    page.get_by_role("combobox", name="Scenario").select_option("torino_single")
    page.get_by_role("spinbutton", name="Episodes").fill("5000")
    page.get_by_role("combobox", name="Pace").select_option("20")
    page.get_by_role("button", name="Start", exact=True).click()
    patience = 150_000  # a worker has to import torch first
    expect(page.get_by_test_id("status")).to_have_text("running", timeout=patience)
    expect(figure(page, "Average reward")).to_be_visible(timeout=patience)
    expect(card(page, "Months survived")).to_be_visible()
    expect(page.get_by_text("invest", exact=True)).to_be_visible(timeout=patience)
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Really stop?").click()
    expect(page.get_by_test_id("status")).to_have_text("stopped", timeout=patience)
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


@pytest.mark.timeout(400)
def test_a_finished_model_is_scored_on_its_page(server: Server, open_page: OpenPage) -> None:
    started = server.api.post(
        "/api/training/start",
        json={"scenario_name": "torino_single", "num_episodes": 200, "queue": True},
    )
    assert started.status_code == 202, started.text
    page = open_page(f"/sessions/{started.json()['session_id']}")
    patience = 150_000
    expect(page.get_by_test_id("status")).to_have_text("completed", timeout=patience)
    page.get_by_role("button", name="Score the model").click()
    score = page.get_by_test_id("score")
    expect(score).to_contain_text("Exact optimum", timeout=patience)
    expect(score.locator("header .num")).to_have_text(re.compile(r"^-?\d\.\d{3}$"))


def test_a_strangers_run_says_what_it_is_and_how_to_steer_it(
    server: Server, open_page: OpenPage
) -> None:
    name = server.open_session(
        "told-run", tags=["course"], config={"lr": 0.5, "net": {"hidden": [64, 32]}}
    )
    server.report(
        name, episode=3, step=9, current_reward=1.5, extra={"charts/episodic_return": 1.5}
    )
    page = open_page(f"/sessions/{name}")
    about = page.get_by_role("region", name="About this run")
    expect(about.get_by_role("definition")).to_contain_text(["told-run", "0.5", "64, 32"])
    expect(about).to_contain_text("session.wait_if_paused()")
    expect(page.get_by_role("link", name="course")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_have_count(0)  # nothing says how far it is to go
    expect(card(page, "Episode return")).to_be_visible()
    expect(card(page, "Charts")).to_have_count(0)  # the same number under another name
    body = {"status": "running", "listens": ["pause", "stop"]}
    answer = server.api.post(f"/api/training/sessions/{name}/heartbeat", json=body)
    assert answer.status_code == 200, answer.text
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(about.get_by_text("wait_if_paused")).to_have_count(0)
    about.get_by_role("link", name="How a run like this is reported").click()
    expect(page.get_by_role("dialog", name="Add a run")).to_be_visible()
