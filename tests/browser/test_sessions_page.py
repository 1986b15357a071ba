"""The list of sessions: finds, shows, starts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow


def row(page: Page, session_id: str) -> Locator:
    """The row of one session."""
    return page.locator(f"[data-session={session_id}]")


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
    server.open_session("needle-run", tags=["searched"])
    server.open_session("other-run", tags=["searched"])
    page = open_page("/?tag=searched")
    expect(row(page, "other-run")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(row(page, "other-run")).to_have_count(0)
    expect(row(page, "needle-run")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?q=needle&tag=searched$"))
    page.get_by_role("searchbox").fill("nothing has this name")
    expect(page.get_by_text("no session with “nothing has this name” in it")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(row(page, "other-run")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/$"))


def test_an_answer_that_comes_late_does_not_undo_what_was_typed_since(
    server: Server, open_page: OpenPage
) -> None:
    server.open_session("quick-first")
    server.open_session("quick-second")
    page = open_page("/")
    expect(row(page, "quick-first")).to_be_visible()
    held: list[Route] = []
    page.route(re.compile(r"[?&]q=quick-first(&|$)"), lambda route: held.append(route))
    box = page.get_by_role("searchbox")
    with page.expect_request(re.compile("q=quick-first")):
        box.fill("quick-first")
    with page.expect_event("requestfailed", lambda given_up: "q=quick-first" in given_up.url):
        box.fill("quick-second")
    expect(row(page, "quick-first")).to_have_count(0)
    expect(row(page, "quick-second")).to_be_visible()


def test_filters_are_chosen_on_a_row_and_kept_in_the_address(
    server: Server, open_page: OpenPage
) -> None:
    server.open_session("chip-a", algorithm="CHIP-DQN", tags=["chip-both", "chip-one"])
    server.open_session("chip-b", algorithm="CHIP-PPO", tags=["chip-both"])
    server.open_session("chip-c", algorithm="CHIP-DQN")
    page = open_page("/?sort=name&q=chip-")
    names = page.locator("[data-session]")
    expect(names).to_have_count(3)
    row(page, "chip-b").get_by_role("button", name="chip-both").click()
    expect(names).to_have_count(2)
    row(page, "chip-a").get_by_role("button", name="CHIP-DQN").click()
    expect(names).to_have_count(1)
    shared = page.url
    other = open_page(shared.removeprefix(server.url))
    expect(other.locator("[data-session]")).to_have_count(1)
    expect(other.get_by_role("searchbox")).to_have_value("chip-")
    expect(other.get_by_role("combobox", name="Order")).to_have_value("name")
    page.go_back()
    expect(names).to_have_count(2)
    page.go_back()
    expect(names).to_have_count(3)
    page.go_forward()
    page.get_by_role("button", name="Remove filter: tag chip-both").click()
    expect(names).to_have_count(3)
    expect(page.get_by_role("searchbox")).to_have_value("chip-")


def test_back_from_a_session_finds_the_list_as_it_was(server: Server, open_page: OpenPage) -> None:
    for i in range(60):
        server.open_session(f"deep-{i:02}", tags=["deep"])
    page = open_page("/?tag=deep&sort=name")
    link = row(page, "deep-40").get_by_role("link")
    expect(page.locator("[data-session]").first).to_be_visible()
    page.evaluate("scrollTo(0, 1500)")  # what is far away is not drawn
    link.scroll_into_view_if_needed()
    where = page.evaluate("scrollY")
    assert where > 0
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("deep-40")
    page.go_back()
    expect(row(page, "deep-40")).to_be_in_viewport()
    assert page.evaluate("scrollY") == where
    row(page, "deep-40").get_by_role("link").click()
    page.get_by_role("main").get_by_role("link", name="Sessions").click()
    expect(page).to_have_url(re.compile(r"\?tag=deep&sort=name$"))


def test_each_status_says_how_many_there_are(server: Server, open_page: OpenPage) -> None:
    for i, status in enumerate(["", "", "", "completed", "stopped", "failed"]):
        name = server.open_session(f"count-{i}", tags=["counted"])
        if status:
            server.api.post(f"/api/training/sessions/{name}/finish", json={"status": status})
    page = open_page("/?tag=counted")
    which = page.get_by_role("group", name="Which sessions")
    expect(which.get_by_role("button")).to_have_text(
        [
            re.compile(w)
            for w in (r"all\s+6", r"under way\s+3", r"ended\s+3", r"failed\s+1", r"archived")
        ]
    )
    which.get_by_role("button", name="ended").click()
    expect(page.locator("[data-session]")).to_have_count(3)
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Sessions\s+3"))
    expect(page).to_have_url(re.compile("status=ended"))
    server.api.post("/api/training/sessions/count-0/finish", json={"status": "completed"})
    expect(row(page, "count-0")).to_be_visible()  # by itself
    expect(which.get_by_role("button", name="under way")).to_have_text(re.compile(r"\b2$"))


def test_the_list_can_be_put_in_other_orders(server: Server, open_page: OpenPage) -> None:
    for name, episodes in (("order-b", 5), ("order-c", 50), ("order-a", 500)):
        server.open_session(name, tags=["ordered"])
        server.report(name, episode=episodes, current_reward=1.0)
    page = open_page("/?tag=ordered")

    def expect_order(*letters: str) -> None:
        rows = page.locator("[data-session]")
        expect(rows.locator("a")).to_have_text([f"order-{letter}" for letter in letters])

    expect_order("a", "c", "b")
    order = page.get_by_role("combobox", name="Order")
    order.select_option("by name")
    expect_order("a", "b", "c")
    page.get_by_role("button", name="Episodes").click()
    expect_order("a", "c", "b")
    expect(page.get_by_role("columnheader", name="Episodes")).to_have_attribute(
        "aria-sort", "descending"
    )
    server.report("order-b", episode=5000, current_reward=1.0)
    expect_order("b", "a", "c")


def test_hundreds_of_sessions_load_as_one_scrolls_and_go_on_living(
    server: Server, open_page: OpenPage
) -> None:
    for i in range(180):
        server.open_session(f"many-{i:03}", tags=["many"])
    page = open_page("/?tag=many")
    rows = page.locator("[data-session]")
    expect(rows.first).to_have_attribute("data-session", "many-179")
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Sessions\s+180"))
    seen: list[str] = []
    for i in reversed(range(0, 180, 6)):
        row(page, f"many-{i:03}").scroll_into_view_if_needed()
        shown: list[str] = rows.evaluate_all("rows => rows.map(row => row.dataset.session)")
        assert len(set(shown)) == len(shown) <= 150, "what is far away is not drawn"
        seen += [name for name in shown if name not in seen]
    assert seen == [f"many-{i:03}" for i in reversed(range(180))]
    server.report("many-002", episode=77, current_reward=1.0)
    expect(row(page, "many-002")).to_contain_text("77")  # down there the list lives too
    server.open_session("many-180", tags=["many"])
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"Sessions\s+181"))
    page.keyboard.press("Home")
    expect(rows.first).to_have_attribute("data-session", "many-180")


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


def test_rows_are_walked_through_chosen_and_opened_by_keys(
    server: Server, open_page: OpenPage
) -> None:
    for i in range(120):
        server.open_session(f"walk-{i:03}", tags=["walk"])
    page = open_page("/?tag=walk&sort=name")
    rows = page.locator("[data-session]")
    expect(rows.first).to_have_attribute("aria-rowindex", "2")
    expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "121")

    def expect_at(session_id: str) -> None:
        expect(row(page, session_id).get_by_role("link")).to_be_focused()
        expect(row(page, session_id)).to_be_in_viewport(ratio=1)

    page.keyboard.press("j")
    expect_at("walk-000")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    expect_at("walk-002")
    page.keyboard.press("k")
    expect_at("walk-001")
    page.keyboard.press("x")
    expect(row(page, "walk-001").get_by_role("checkbox")).to_be_checked()
    bar = page.get_by_role("region", name="Chosen sessions")
    expect(bar).to_contain_text("1 chosen")
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    expect_at("walk-031")
    page.keyboard.press("Shift+X")
    expect(bar).to_contain_text("31 chosen")
    # To the end of what is loaded, which then goes on: a page of fifty at a time.
    at = "walk-031"
    while at < "walk-119":
        page.keyboard.press("End")
        at = page.evaluate(
            "at => document.activeElement.closest('[data-session]')?.dataset.session ?? at", at
        )
        if at < "walk-119":
            page.wait_for_function(
                "at => [...document.querySelectorAll('[data-session]')]"
                ".some(row => row.dataset.session > at)",
                arg=at,
            )
    expect_at("walk-119")
    page.keyboard.press("Home")
    expect_at("walk-000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("walk-000")


def test_on_a_phone_the_list_goes_on_and_what_stood_beside_it_lies_above(
    server: Server, open_page: OpenPage
) -> None:
    for i in range(70):
        server.open_session(f"thumb-{i:02}", tags=["thumb"])
    page = open_page(
        "/?tag=thumb&sort=name", viewport={"width": 390, "height": 844}, has_touch=True
    )
    expect(row(page, "thumb-00")).to_be_visible()
    for i in range(0, 70, 5):
        row(page, f"thumb-{i:02}").scroll_into_view_if_needed()
    assert page.locator("[data-session]").count() < 40
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_role("heading", name="Watch rooms")).to_be_hidden()
    page.get_by_role("button", name="watch room").click()
    expect(page.get_by_role("heading", name="Watch rooms")).to_be_visible()


def test_the_list_is_put_in_groups_that_fold(server: Server, open_page: OpenPage) -> None:
    for i in range(75):
        tags = ["grp", "odd"] if i % 2 else ["grp"]
        algorithm = "GRP-A" if i < 60 else "GRP-B"
        server.open_session(f"grp-{i:02}", tags=tags, algorithm=algorithm)
    page = open_page("/?tag=grp&sort=name")
    page.get_by_role("combobox", name="Groups").select_option("by algorithm")
    expect(page).to_have_url(re.compile("group=algorithm"))
    heads = page.locator("[data-group]")
    # What comes after the first group is not known to be near before that is read to its end.
    expect(heads.first).to_have_text(re.compile(r"GRP-A\s+60"))
    expect(page.get_by_role("table")).to_have_attribute("aria-rowcount", "78")
    expect(row(page, "grp-00")).to_be_visible()
    heads.first.get_by_role("button").click()
    expect(row(page, "grp-00")).to_have_count(0)
    expect(heads).to_have_text([re.compile(r"GRP-A\s+60"), re.compile(r"GRP-B\s+15")])
    expect(row(page, "grp-60")).to_have_attribute("aria-rowindex", "4")
    # By keys a group is reached like a row; Enter opens it again.
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(heads.first.get_by_role("button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(row(page, "grp-00")).to_be_visible()
    page.keyboard.press("End")
    page.keyboard.press("End")
    expect(row(page, "grp-74").get_by_role("link")).to_be_focused()
    # It lives on, and groups come and grow.
    server.open_session("grp-new", tags=["grp"], algorithm="GRP-C")
    expect(heads.last).to_have_text(re.compile(r"GRP-C\s+1"))
    expect(row(page, "grp-new")).to_be_visible()

    # One of two tags is in both groups.
    other = open_page("/?q=grp-0&sort=name&group=tag")
    expect(other.locator("[data-group]")).to_have_text(
        [re.compile(r"grp\s+10"), re.compile(r"odd\s+5")]
    )
    expect(row(other, "grp-01")).to_have_count(2)
    expect(row(other, "grp-02")).to_have_count(1)
