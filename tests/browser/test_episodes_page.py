"""The views of a session: its episodes, one of them replayed, its configuration."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow

TRAINED_MS = 120_000
STEPS = 30


def decide(server: Server, session: str, episode: int, steps: range) -> None:
    """Tell of an agent's decisions, as a script would that tells of each."""
    records = [
        {
            "type": "bot_decision",
            "data": {
                "action_probabilities": {"left": 0.25, "right": 0.75},
                "selected_action": "right",
                "q_values": [1.0, 2.0 + step],
                "episode": episode,
                "step": step,
                "extra": {"reward": 2.0, "obs/angle": step / 10},
            },
        }
        for step in steps
    ]
    answer = server.api.post(f"/api/training/sessions/{session}/records", json={"records": records})
    assert answer.status_code == 200, answer.text


def script(server: Server, name: str) -> str:
    """A run of 60 episodes: the last one told whole, the one before it in part."""
    session = server.open_session(name, total_episodes=100)
    decide(server, session, 59, range(10, 13))
    decide(server, session, 60, range(1, STEPS + 1))
    server.report_many(
        session,
        episode=list(range(1, 61)),
        current_reward=[float(n % 7) for n in range(1, 61)],
        episode_length=[STEPS] * 60,
    )
    return session


def first_cells(page: Page) -> list[str]:
    """The numbers in the table's first column, without what is read out alone."""
    texts = page.locator("tbody tr td:first-child").all_inner_texts()
    return [text.split()[-1] for text in texts]


def test_the_views_of_a_session_have_addresses_and_one_connection(
    server: Server, open_page: OpenPage
) -> None:
    session = script(server, "views")
    page = open_page()
    sockets: list[Any] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.goto(f"{server.url}/sessions/{session}")
    views = page.get_by_role("navigation", name="Views of this session")
    expect(views.get_by_role("link", name="Curves")).to_have_attribute("aria-current", "page")
    expect(page.get_by_label("Newest figures")).to_be_visible()
    views.get_by_role("link", name="Episodes").click()
    expect(page).to_have_url(f"{server.url}/sessions/{session}/episodes")
    expect(page.get_by_role("region", name="Episodes")).to_contain_text("60 finished")
    # The last one by keyboard; back by the browser's own button.
    page.keyboard.press("End")
    expect(page).to_have_url(f"{server.url}/sessions/{session}/config")
    page.go_back()
    expect(page.get_by_role("region", name="Episodes")).to_be_visible()
    views.get_by_role("link", name="Curves").click()
    expect(page.locator(".holder[role=img]:not([data-points='0'])").first).to_be_visible()
    assert len(sockets) == 1
    page.goto(f"{server.url}/sessions/{session}/nothing")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()


def test_episodes_are_paged_sorted_and_grow_when_asked(server: Server, open_page: OpenPage) -> None:
    session = script(server, "table")
    page = open_page(f"/sessions/{session}/episodes")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    assert first_cells(page)[:2] == ["60", "59"]
    expect(rows.nth(0)).to_contain_text("whole, 30 steps")
    expect(rows.nth(1)).to_contain_text("3 of 30 steps")
    expect(rows.nth(2)).to_contain_text("–")
    # Nothing moves under the hand: what is new is told of, and shown when asked for.
    server.report(session, episode=61, current_reward=3.0, episode_length=4)
    newer = page.get_by_role("button", name="1 newer")
    expect(newer).to_be_visible()
    assert first_cells(page)[0] == "60"
    newer.click()
    expect(rows.first).to_contain_text("61")
    page.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(11)
    expect(page).to_have_url(re.compile(r"from=11$"))
    assert first_cells(page)[0] == "11"
    page.get_by_role("button", name="Newer").click()
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Return").click()
    expect(page).to_have_url(re.compile(r"sort=-return$"))
    expect(rows.first).to_contain_text("55")  # the newest of those with a return of 6
    page.get_by_label("Replay episode", exact=True).fill("59")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("heading", name="Episode 59")).to_be_visible()


def test_an_episode_is_gone_through_step_by_step(server: Server, open_page: OpenPage) -> None:
    session = script(server, "replayed")
    page = open_page(f"/sessions/{session}/episodes")
    page.get_by_role("link", name="Replay episode 60").click()
    place = page.get_by_test_id("replay-place")
    expect(place).to_have_text("step 1 of 30")
    expect(page.get_by_test_id("about-episode")).to_contain_text("recorded whole, 30 steps")
    page.keyboard.press("ArrowRight")
    expect(place).to_have_text("step 2 of 30")
    expect(page).to_have_url(re.compile(r"episodes/60\?step=2$"))
    decision = page.get_by_role("region", name="Decision")
    expect(decision).to_contain_text("right, chosen")
    expect(decision).to_contain_text(re.compile(r"Return so far\s*4"))
    charts = page.get_by_role("region", name="Over the episode's steps")
    for title in ("Action probabilities: left 25", "Reward: reward 2", "Q-values: left 1", "Angle"):
        expect(charts.get_by_role("img", name=re.compile(title))).to_be_visible()
    page.keyboard.press("End")
    expect(place).to_have_text("step 30 of 30")
    expect(page).to_have_url(re.compile("step=30$"))
    page.reload()
    expect(place).to_have_text("step 30 of 30")
    # Played from its end, it begins again; a step taken by hand ends that.
    page.get_by_label("Steps a second").select_option("2")
    page.get_by_role("button", name="Play").click()
    expect(place).to_have_text(re.compile(r"step [2-9] of 30"))
    page.get_by_role("button", name="A step back").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    page.get_by_label("Step", exact=True).fill("9")
    expect(place).to_have_text("step 10 of 30")
    charts.get_by_role("img", name=re.compile("^Reward")).click()
    expect(place).to_have_text(re.compile("step 1[456] of 30"))
    # What is there in part says so, and what is not there how to have it.
    page.get_by_role("link", name="Episode 59").click()
    expect(page.get_by_test_id("about-episode")).to_contain_text("3 of 30 steps")
    expect(place).to_have_text("step 10 · 1 of 3")
    page.get_by_role("link", name="Episode 58").click()
    expect(page.get_by_role("heading", name="Nothing of it was recorded")).to_be_visible()
    expect(page.get_by_role("region", name="lines that record a decision")).to_be_visible()
    page.goto(f"{server.url}/sessions/{session}/episodes/70")
    expect(page.get_by_test_id("about-episode")).to_contain_text("It has not begun")
    decide(server, session, 70, range(1, 3))
    server.report(session, episode=70, current_reward=3.0)
    expect(place).to_have_text("step 1 of 2")
    expect(page.get_by_test_id("about-episode")).to_contain_text("was not told")


def test_episodes_without_decisions_say_how_to_record_them(
    server: Server, open_page: OpenPage
) -> None:
    session = server.open_session("no-decisions")
    page = open_page(f"/sessions/{session}/episodes")
    expect(page.get_by_role("heading", name="No episode has finished yet")).to_be_visible()
    server.report(session, episode=1, current_reward=1.0)
    # The first ones come by themselves.
    expect(page.locator("tbody tr")).to_have_count(1)
    how = page.get_by_role("region", name="How to record decisions")
    expect(how).to_contain_text("session.decision(")


def test_a_configuration_is_read_searched_and_copied(server: Server, open_page: OpenPage) -> None:
    config = {
        "lr": 3e-4,
        "network": {"layers": [64, 64], "activation": "relu"},
        "versions": {"python": "3.12.1"},
        "command": "python train.py --lr 3e-4",
        "git_commit": "0123456789abcdef0123",
        **{f"flag_{n}": n % 2 == 0 for n in range(8)},
    }
    session = server.open_session("configured", config=config)
    page = open_page(f"/sessions/{session}/config")
    tree = page.get_by_role("region", name="Configuration", exact=True)
    expect(tree).to_contain_text(re.compile(r"lr\s*0\.0003"))
    expect(tree).to_contain_text(re.compile(r"layers\s*64, 64"))
    page.keyboard.press("/")
    page.keyboard.type("network relu")
    expect(tree.get_by_role("definition")).to_have_text(["relu"])
    where = page.get_by_role("region", name="Where it ran")
    expect(where).to_contain_text("0123456789ab")
    expect(where).to_contain_text("3.12.1")
    expect(where).to_contain_text("python train.py")
    json = page.get_by_role("region", name="configuration as JSON")
    expect(json).to_contain_text('"activation": "relu"')
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: configuration as JSON").click()
    expect(page.get_by_role("button", name="Copied: configuration as JSON")).to_be_visible()
    assert '"lr": 0.0003' in page.evaluate("navigator.clipboard.readText()")
    bare = server.open_session("bare")
    page.goto(f"{server.url}/sessions/{bare}/config")
    expect(page.get_by_role("heading", name="No configuration was told")).to_be_visible()


def test_graphs_are_drawn_and_grow(server: Server, open_page: OpenPage) -> None:
    session = server.open_session("graphs")
    page = open_page(f"/sessions/{session}/graphs")
    expect(page.get_by_role("heading", name="No graph yet")).to_be_visible()
    expect(page.get_by_role("region", name="lines that report a graph")).to_be_visible()

    def grow(*minutes: int) -> None:
        points = [{"timestamp": f"2026-05-01T10:{n:02}:00Z", "value": n / 2} for n in minutes]
        body = {"title": "Q values", "y_label": "points", "metrics": ["mean", "best"]}
        server.report(session, "graph_update", graph_id="q", data_points={"mean": points}, **body)

    grow(1, 2, 3)
    graph = page.get_by_role("img", name="Q values: mean 1.50")
    expect(graph).to_be_visible()
    expect(page.get_by_role("region", name="Graphs")).to_contain_text("No point yet: best")
    grow(4)
    expect(page.get_by_role("img", name="Q values: mean 2 points")).to_be_visible()


def test_the_decisions_panel_goes_back_to_the_first(server: Server, open_page: OpenPage) -> None:
    session = server.open_session("long")
    decide(server, session, 1, range(1, 41))
    server.report_many(session, episode=list(range(2, 9_002)), current_reward=[1.0] * 9_000)
    decide(server, session, 9_002, range(1, 11))
    page = open_page(f"/sessions/{session}")
    scrubber = page.get_by_label(re.compile("Look back through the last"))
    expect(scrubber).to_have_accessible_name(re.compile("last 10 decisions"))
    card = page.locator("section.card", has=scrubber)
    expect(card).to_contain_text("following live")
    # At its left end the scrubber reads what is older, however far away.
    scrubber.press("Home")
    expect(scrubber).to_have_accessible_name(re.compile("last 50 decisions"))
    expect(card).to_contain_text("episode 9 002")
    scrubber.press("ArrowLeft")
    expect(card).to_contain_text("episode 1 · step 40")
    # What comes meanwhile is added, and does not move what is looked at.
    decide(server, session, 9_003, range(1, 2))
    expect(scrubber).to_have_accessible_name(re.compile("last 51 decisions"))
    expect(card).to_contain_text("episode 1 · step 40")
    scrubber.press("Home")
    expect(card).to_contain_text("the first one")
    expect(card).to_contain_text("step 1")
    card.get_by_role("button", name="back to live").click()
    expect(card).to_contain_text("episode 9 003")


def test_a_rooms_audience_looks_at_the_curves_alone(server: Server, open_page: OpenPage) -> None:
    session = script(server, "watched")
    opened = server.api.post(
        f"/api/training/sessions/{session}/room", json={"name": "Thursday's class"}
    )
    assert opened.status_code == 201, opened.text
    page = open_page(f"/join/{opened.json()['room']['room_code']}")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name=re.compile("Watch|Join")).click()
    expect(page.get_by_label("Newest figures")).to_be_visible()
    expect(page.get_by_role("navigation", name="Views of this session")).to_have_count(0)


def goes_on(page: Page, server: Server, session: str) -> None:
    """A new session goes on from a checkpoint of this one, and says so."""
    checkpoints = page.get_by_role("region", name="Checkpoints")
    # After the last episode it goes on by another plan: as many again, unless one says otherwise.
    checkpoints.get_by_role("button", name="Continue from episode 120").click()
    dialog = page.get_by_role("dialog", name="Go on from episode 120")
    until = dialog.get_by_label("Until episode")
    expect(until).to_have_value("240")
    expect(dialog).to_contain_text("120 more, with the learning rate of the new plan: 50 %")
    until.fill("120")
    expect(dialog).to_contain_text("has 120 episodes already")
    expect(dialog.get_by_role("button", name="Start")).to_be_disabled()
    until.fill("150")
    dialog.get_by_label("Name").fill("and on")
    dialog.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="and on", level=1)).to_be_visible()
    expect(page.get_by_test_id("status")).to_have_text(re.compile("completed"), timeout=TRAINED_MS)
    came = server.api.get(f"/api/training/sessions/{page.url.rsplit('/', 1)[1]}").json()
    assert (came["current_episode"], came["total_episodes"]) == (150, 150)
    page.goto(f"{server.url}/sessions/{session}")
    checkpoints.get_by_role("button", name=re.compile("Continue from episode [56]")).click()
    dialog = page.get_by_role("dialog", name=re.compile("Go on from episode [56]"))
    expect(dialog).to_contain_text("exactly as it would have gone on")
    dialog.get_by_label("Name").fill("once more")
    dialog.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="once more", level=1)).to_be_visible()
    expect(page.get_by_test_id("status")).to_have_text(re.compile("completed"), timeout=TRAINED_MS)
    came = server.api.get(f"/api/training/sessions/{page.url.rsplit('/', 1)[1]}").json()
    assert (came["parent_session_id"], came["current_episode"]) == (session, 120)
    parent = page.get_by_text("goes on from episode").get_by_role("link")
    expect(parent).to_have_text("the first")
    parent.click()
    expect(page.get_by_role("heading", name="the first", level=1)).to_be_visible()


@pytest.mark.timeout(400)
def test_a_household_is_watched_month_by_month(own_server: Server, open_page: OpenPage) -> None:
    body = {
        "scenario_name": "bologna_coppia",
        "num_episodes": 120,
        "eval_episodes": 0,
        "save_interval": 50,
        "seed": 1,
        "name": "the first",
    }
    answer = own_server.api.post("/api/training/start", json=body)
    assert answer.status_code == 202, answer.text
    session = answer.json()["session_id"]
    page = open_page(f"/sessions/{session}", on=own_server)
    expect(page.get_by_test_id("status")).to_have_text(re.compile("completed"), timeout=TRAINED_MS)
    goes_on(page, own_server, session)
    page.goto(f"{own_server.url}/sessions/{session}")
    page.get_by_role("link", name="Episodes").click()
    played = page.get_by_role("region", name="Played to be looked at")
    played.get_by_role("link", name="after 120").click()
    expect(page.get_by_test_id("replay-place")).to_have_text("month 1 of 120")
    expect(page.get_by_test_id("about-episode")).to_contain_text("whole, 120 months")
    charts = page.get_by_role("region", name="Over the episode's steps")
    for title in ("Shares of income", "Reward", "Cash", "Portfolio"):
        expect(charts.get_by_role("img", name=re.compile(f"^{title}"))).to_be_visible()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_test_id("replay-place")).to_have_text("month 11 of 120")
    expect(page.get_by_role("region", name="Decision")).to_contain_text("Portfolio after")
