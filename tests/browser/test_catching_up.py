"""A connection that is lost comes back with everything, once and in order, and says so quietly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from .charts import Chart, figure
from .conftest import OpenPage, Server, StartServer

pytestmark = pytest.mark.slow

PATIENCE_MS = 30_000
"""Longer than the longest wait before the page tries again."""


class Cable:
    """The page's live connections to the real server; they can be cut, and nothing gets through
    until they are mended."""

    def __init__(self, page: Page) -> None:
        self.dialled: list[str] = []
        self._cut_with: int | None = None
        self._lines: list[tuple[WebSocketRoute, WebSocketRoute]] = []
        page.route_web_socket(re.compile("/ws/"), self._dial)

    def _dial(self, here: WebSocketRoute) -> None:
        self.dialled.append(here.url)
        if self._cut_with is None:
            self._lines.append((here, here.connect_to_server()))
        else:
            here.close(code=self._cut_with)

    def cut(self, code: int) -> None:
        """Close every connection, as with `code` from the server."""
        self._cut_with = code
        for here, there in self._lines:
            here.close(code=code)
            there.close()
        self._lines.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._cut_with = None


def watched(open_page: OpenPage, name: str, on: Server | None = None) -> tuple[Page, Cable]:
    """The page of a session, live, with the cable it hangs on."""
    page = open_page("/", on=on)
    cable = Cable(page)
    page.goto(page.url + f"sessions/{name}")
    expect(page.get_by_test_id("link")).to_have_text(re.compile("live"))
    return page, cable


def report(server: Server, name: str, first: int, last: int) -> None:
    """Report episodes one by one."""
    for episode in range(first, last + 1):
        server.report(name, episode=episode, current_reward=episode)


def forget_refused_connections(open_page: OpenPage) -> None:
    """The browser notes every question a server that is away did not answer."""
    kept = [c for c in open_page.complaints if "ERR_" not in c and "WebSocket" not in c]  # type: ignore[attr-defined]
    open_page.complaints[:] = kept  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [1012, 4508, 4429])
def test_what_was_missed_is_caught_up_and_told(
    server: Server, open_page: OpenPage, code: int
) -> None:
    name = server.open_session(f"missed-{code}")
    report(server, name, 1, 5)
    page, cable = watched(open_page, name)
    chart = Chart(page, "Episode return")
    chart.expect_points(5)
    cable.cut(code)
    link = page.get_by_test_id("link")
    expect(link).to_contain_text("reconnecting")
    expect(page.get_by_role("region", name="Newest figures")).to_have_class(re.compile("stale"))
    report(server, name, 6, 17)
    cable.mend()
    expect(link).to_contain_text("caught up 12 messages", timeout=PATIENCE_MS)
    assert re.search(r"[?&]since=\d+$", cable.dialled[-1])
    chart.expect_points(17)
    expect(figure(page, "Last reward")).to_contain_text("17")
    expect(page.get_by_role("region", name="Newest figures")).not_to_have_class(re.compile("stale"))
    expect(link).to_have_text(re.compile("live"), timeout=PATIENCE_MS)
    chart.expect_points(17)


def test_what_is_too_much_to_send_again_is_loaded_anew(
    start_server: StartServer, open_page: OpenPage
) -> None:
    forgetful = start_server({"GRANDSTAND_PERFORMANCE__METRICS_HISTORY_SIZE": "100"})
    name = forgetful.open_session("long-missed")
    report(forgetful, name, 1, 5)
    page, cable = watched(open_page, name, on=forgetful)
    chart = Chart(page, "Episode return")
    chart.expect_points(5)
    cable.cut(1012)
    numbers = list(range(6, 506))
    forgetful.report_many(name, episode=numbers, current_reward=numbers)
    cable.mend()
    link = page.get_by_test_id("link")
    expect(link).to_contain_text("missed 500 messages, loaded anew", timeout=PATIENCE_MS)
    chart.expect_points(505)
    forgetful.report(name, episode=506, current_reward=506)
    expect(figure(page, "Last reward")).to_contain_text("506")
    chart.expect_points(506)


def test_a_server_that_is_killed_and_started_again_leaves_no_gap_and_no_double(
    own_server: Server, open_page: OpenPage
) -> None:
    name = own_server.open_session("survivor")
    report(own_server, name, 1, 20)
    page = open_page(f"/sessions/{name}", on=own_server)
    chart = Chart(page, "Episode return")
    chart.expect_points(20)
    link = page.get_by_test_id("link")
    expect(link).to_have_text(re.compile("live"))
    for last in (30, 40):
        report(own_server, name, last - 9, last - 5)
        own_server.kill()
        expect(link).to_contain_text("reconnecting")
        own_server.start_again()
        report(own_server, name, last - 4, last)
        expect(link).to_have_text(re.compile("caught up|live"), timeout=PATIENCE_MS)
        chart.expect_points(last)
        expect(figure(page, "Last reward")).to_contain_text(str(last))
    # It is live again, and what the page has is what the store has.
    own_server.report(name, episode=41, current_reward=41)
    chart.expect_points(41)
    page.reload()
    chart.expect_points(41)
    forget_refused_connections(open_page)


def test_a_session_that_is_deleted_is_not_asked_for_again(
    server: Server, open_page: OpenPage
) -> None:
    name = server.open_session("deleted-run")
    report(server, name, 1, 3)
    page, cable = watched(open_page, name)
    deleted = server.api.delete(f"/api/training/sessions/{name}", params={"force": "true"})
    assert deleted.status_code == 204
    expect(page.get_by_text("The session was deleted.")).to_be_visible()
    expect(page.get_by_test_id("link")).to_contain_text("not live")
    expect(page.get_by_role("region", name="Newest figures")).to_have_class(re.compile("stale"))
    assert len(cable.dialled) == 1
    open_page.complaints[:] = [c for c in open_page.complaints if "404" not in c]  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", [4401, 4403, 4404, 4409])
def test_who_is_refused_does_not_come_back(server: Server, open_page: OpenPage, code: int) -> None:
    name = server.open_session(f"refused-{code}")
    page, cable = watched(open_page, name)
    page.clock.install()
    cable.cut(code)
    expect(page.get_by_test_id("link")).to_contain_text("not live")
    expect(page.get_by_role("alert")).to_be_visible()
    page.clock.run_for(120_000)
    assert len(cable.dialled) == 1


def test_a_busy_server_is_left_alone_for_as_long_as_it_asks(
    start_server: StartServer, open_page: OpenPage
) -> None:
    environment = {"GRANDSTAND_PERFORMANCE__MAX_CONNECTIONS_PER_SESSION": "1"}
    crowded = start_server(environment)
    name = crowded.open_session("crowded")
    first = open_page(f"/sessions/{name}", on=crowded)
    expect(first.get_by_test_id("link")).to_have_text(re.compile("live"))
    second: Any = open_page(f"/sessions/{name}", on=crowded)
    waiting = second.get_by_test_id("link")
    expect(waiting).to_contain_text("reconnecting")
    expect(waiting.get_by_title("too many watchers just now")).to_be_visible()
    first.close()
    expect(waiting).to_have_text(re.compile("live"), timeout=60_000)
