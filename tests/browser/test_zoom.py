"""Looking closer at a curve: coarse at once, then as fine as it is, to single points."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest
from playwright.sync_api import Page, Request, Route, expect

from .charts import Chart, ink, looked_at
from .conftest import OpenPage, Server

pytestmark = pytest.mark.slow

POINTS = 1_000_000
SPIKE_AT = 623_457
SPIKE = 431.25


@pytest.fixture(scope="module")
def million(server: Server) -> str:
    """A session of a million episodes, noise about a rising curve, and one spike of one point."""
    name = server.open_session("a-million")
    noise = random.Random(1)
    for start in range(0, POINTS, 10_000):
        episodes = list(range(start + 1, start + 10_001))
        rewards = [round(50 - 50 * math.exp(-e / 3e5) + noise.gauss(0, 4), 3) for e in episodes]
        if start < SPIKE_AT <= start + 10_000:
            rewards[SPIKE_AT - start - 1] = SPIKE
        steps = [20 * e for e in episodes]
        server.report_many(name, episode=episodes, current_reward=rewards, step=steps)
    server.api.post(f"/api/training/sessions/{name}/finish", json={"status": "completed"})
    return name


def run_of(server: Server, name: str, episodes: int) -> str:
    """A session whose reward is its episode, one by one."""
    server.open_session(name)
    numbers = list(range(1, episodes + 1))
    server.report_many(name, episode=numbers, current_reward=numbers)
    return name


def asks_for_detail(request: Request) -> bool:
    return "/series?" in request.url and "from=" in request.url


def test_a_spike_of_one_point_in_a_million_is_seen_and_found(
    server: Server, open_page: OpenPage, million: str
) -> None:
    page = open_page(f"/sessions/{million}")
    chart = Chart(page, "Episode return")
    chart.expect_points(600)
    # The whole run tells of it where its bucket is, some two pixels wide.
    for pixels in range(-4, 5):
        chart.point_at(SPIKE_AT / POINTS + pixels / 400)
        if "431.25)" in chart.legend.inner_text():
            break
    expect(chart.legend).to_contain_text("431.25)")
    low, high = 1.0, float(POINTS)
    for _ in range(6):
        there = (SPIKE_AT - low) / (high - low)
        chart.drag(max(0.0, there - 0.06), min(1.0, there + 0.06))
        low, high = looked_at(page)
        assert low < SPIKE_AT < high
        if high - low < 60:
            break
    expect(page.get_by_test_id("looked-at")).to_contain_text("every point")
    chart.point_at((SPIKE_AT - low) / (high - low))
    expect(chart.card).to_contain_text(re.compile("episode 623\u00a0457"))
    expect(chart.legend).to_have_text(re.compile(r"431\.25\s*$"))  # that one point alone


def test_the_coarse_picture_stays_until_the_finer_one_is_there(
    server: Server, open_page: OpenPage, million: str
) -> None:
    page = open_page(f"/sessions/{million}")
    chart = Chart(page, "Episode return")
    chart.expect_points(600)
    held: list[Route] = []
    page.route(re.compile(r"/series\?.*from="), lambda route: held.append(route))
    with page.expect_request(asks_for_detail) as asked:
        chart.drag(0.3, 0.4)
    told = page.get_by_test_id("looked-at")
    expect(told).to_contain_text("finer…")
    assert ink(chart.card) > 500, "nothing is drawn meanwhile"
    chart.expect_points(600)
    bounds = dict(re.findall(r"(from|to|max_points)=([\d.]+)", asked.value.url))
    assert 200_000 < float(bounds["from"]) < 300_000 < 400_000 < float(bounds["to"]) < 500_000
    held[0].continue_()
    expect(told).to_contain_text(re.compile(r"1\d\d points each"))
    low, high = looked_at(page)
    assert low == pytest.approx(300_000, abs=5000)
    assert high == pytest.approx(400_000, abs=5000)
    assert chart.points > 1500  # twelve hundred in and beside what is looked at, and the rest


def test_zoom_goes_on_inside_a_zoom_and_comes_back(server: Server, open_page: OpenPage) -> None:
    page = open_page(f"/sessions/{run_of(server, 'zoomed-run', 1000)}")
    chart = Chart(page, "Episode return")
    chart.drag(0.25, 0.75)
    low, high = looked_at(page)
    assert (low, high) == pytest.approx((250, 750), abs=15)
    chart.drag(0.5, 0.6)
    assert looked_at(page) == pytest.approx((500, 550), abs=15)
    told = page.get_by_test_id("looked-at")
    for back in ("Escape", "all", "double click", "chip"):
        if back == "Escape":
            page.keyboard.press("Escape")
        elif back == "all":
            page.get_by_role("button", name="all", exact=True).click()
        elif back == "double click":
            page.mouse.dblclick(*chart.at(0.5))
        else:
            told.get_by_role("button").click()
        expect(told).to_have_count(0)
        expect(page.get_by_text("drag to zoom")).to_be_visible()
        chart.drag(0.4, 0.6)
        expect(told).to_contain_text("every point")


@pytest.mark.parametrize("axis", ["step", "time"])
def test_every_axis_can_be_looked_at_closely(
    server: Server, open_page: OpenPage, axis: str
) -> None:
    name = server.open_session(f"{axis}-zoomed")
    for episode in range(1, 41):
        server.report(name, episode=episode, step=episode * 50, current_reward=episode)
    page = open_page(f"/sessions/{name}")
    chart = Chart(page, "Episode return")
    chart.expect_points(40)
    page.get_by_role("button", name=axis, exact=True).click()
    expect(page.get_by_role("button", name=axis, exact=True)).to_have_attribute(
        "aria-pressed", "true"
    )
    asked = re.compile(rf"/series\?x={axis}&.*from=[\d.]+&to=[\d.]+")
    with page.expect_request(asked):
        chart.drag(0.4, 0.5)
    expect(page.get_by_test_id("looked-at")).to_contain_text("every point")


def test_what_comes_in_live_is_appended_where_the_zoom_reaches_the_end(
    server: Server, open_page: OpenPage
) -> None:
    name = run_of(server, "followed-run", 400)
    page = open_page(f"/sessions/{name}")
    chart = Chart(page, "Episode return")
    chart.expect_points(400)
    page.get_by_role("button", name="last quarter").click()
    assert looked_at(page) == pytest.approx((300, 400), abs=1)
    for episode in range(401, 431):
        server.report(name, episode=episode, current_reward=episode)
    chart.expect_points(430)
    assert looked_at(page) == pytest.approx((330, 430), abs=1)
    chart.point_at(0.999)
    expect(chart.legend).to_contain_text("430")
    # Looking elsewhere, one is left in peace.
    chart.drag(0.2, 0.4)
    before = looked_at(page)
    server.report(name, episode=431, current_reward=431)
    expect(chart.card.get_by_role("img")).to_have_attribute("aria-label", re.compile("431"))
    assert looked_at(page) == before


def test_a_zoom_is_moved_and_scaled_by_mouse_wheel_and_keys(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(f"/sessions/{run_of(server, 'panned-run', 1000)}")
    chart = Chart(page, "Episode return")
    chart.drag(0.4, 0.6)
    low, high = looked_at(page)
    chart.drag(0.8, 0.3, key="Shift")
    assert looked_at(page) == pytest.approx((low + 100, high + 100), abs=8)
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Shift")
    moved = wait_for_range(page, lambda a, b: a < low + 60)
    assert moved[1] - moved[0] == pytest.approx(high - low, abs=3)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    scaled = wait_for_range(page, lambda a, b: b - a < 0.8 * (high - low))
    page.keyboard.press("ArrowRight")
    wait_for_range(page, lambda a, b: a > scaled[0] + 5)
    page.keyboard.press("-")
    wait_for_range(page, lambda a, b: b - a > 1.5 * (scaled[1] - scaled[0]))
    page.keyboard.press("+")
    wait_for_range(page, lambda a, b: b - a < 1.2 * (scaled[1] - scaled[0]))


def wait_for_range(page: Page, fits: Any) -> tuple[float, float]:
    """The range looked at, once it fits; fails when it does not within a while."""
    for _ in range(100):
        found = looked_at(page)
        if fits(*found):
            return found
        page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError(f"the range looked at stays {found}")


def test_fingers_pinch_and_pan(server: Server, open_page: OpenPage) -> None:
    name = run_of(server, "touched-run", 1000)
    page = open_page(
        f"/sessions/{name}", viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    chart = Chart(page, "Episode return")
    chart.expect_points(600)
    hand = page.context.new_cdp_session(page)

    def touch(kind: str, *shares: float) -> None:
        points = [dict(zip("xy", chart.at(share), strict=True)) for share in shares]
        hand.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{**p, "id": i} for i, p in enumerate(points)]},
        )

    touch("touchStart", 0.45)
    touch("touchStart", 0.45, 0.55)
    for apart in (0.1, 0.15, 0.2, 0.25):
        touch("touchMove", 0.5 - apart, 0.5 + apart)
    touch("touchEnd")
    low, high = looked_at(page)
    assert high - low == pytest.approx(200, abs=30)
    assert (low + high) / 2 == pytest.approx(500, abs=40)
    touch("touchStart", 0.7)
    for there in (0.6, 0.5, 0.4, 0.3, 0.2):
        touch("touchMove", there)
    touch("touchEnd")
    moved = wait_for_range(page, lambda a, b: a > low + 60)
    assert moved[1] - moved[0] == pytest.approx(high - low, abs=3)
