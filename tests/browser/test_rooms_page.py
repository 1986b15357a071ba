"""Rooms in browsers: opened by their host, joined on a phone, shown in a stream."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import OpenPage, Server, StartServer
from .doors import excuse, guarded, signed_in

pytestmark = pytest.mark.slow

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}


def run(server: Server, name: str) -> str:
    """A session with something to see."""
    server.open_session(name, total_episodes=100)
    for episode in range(1, 21):
        server.report(name, episode=episode, average_reward=episode * 1.5, win_rate=episode)
    server.report(
        name,
        "bot_decision",
        action_probabilities={"jump": 0.75, "duck": 0.25},
        state_values=5.5,
        q_values=[1.0, 2.0],
        selected_action="jump",
        confidence_score=0.75,
        step=3,
    )
    return name


def open_room(page: Page, kind: str = "Public", password: str = "") -> str:
    """Open a room on a session's page; gives its code."""
    page.get_by_role("button", name="Watch room").click()
    form = page.get_by_role("dialog")
    form.get_by_role("radio", name=kind).check()
    if password:
        form.get_by_role("textbox", name="Password").fill(password)
    form.get_by_role("button", name="Open it").click()
    code = room(page).get_by_label(re.compile("^Code"))
    expect(code).to_have_text(re.compile(r"^\w{6}$"))
    return code.inner_text()


def room(page: Page) -> Locator:
    return page.get_by_role("region", name="Watch room")


def join(page: Page, name: str, password: str = "") -> None:
    page.get_by_label("Your name").fill(name)
    if password:
        page.get_by_label("Password of the room").fill(password)
    page.get_by_role("button", name="Join").click()


def test_a_room_is_opened_joined_on_a_phone_and_emptied(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = guarded(start_server)
    name = run(server, "shown-run")
    host = open_page(f"/sessions/{name}", on=server)
    signed_in(host)
    code = open_room(host)
    link = room(host).get_by_text("/join/").inner_text()
    assert link == f"{server.url}/join/{code}"

    phone = open_page(f"/join/{code.lower()}", on=server, **PHONE)
    join(phone, "Ada")
    expect(phone.get_by_label("Newest figures")).to_contain_text("30")
    expect(phone.get_by_test_id("link")).to_contain_text("live")
    for gone in ("Watch room", "Stop", "Checkpoint"):
        expect(phone.get_by_role("button", name=gone)).to_have_count(0)
    expect(phone.get_by_role("navigation")).to_have_count(0)
    expect(phone.get_by_role("button", name="Leave")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    phone.get_by_text("watching").first.click()
    expect(phone.get_by_role("list", name="Who watches")).to_contain_text("Ada you")
    expect(room(host).get_by_role("listitem")).to_have_text(re.compile("Ada, watching"))

    phone.reload()
    expect(phone.get_by_test_id("link")).to_contain_text("live")
    expect(room(host).get_by_role("listitem")).to_have_count(1)

    room(host).get_by_role("button", name="Remove Ada").click()
    room(host).get_by_role("button", name="Really remove Ada?").click()
    expect(phone.get_by_role("heading", level=1)).to_have_text("You are no longer in this room")
    expect(room(host)).to_contain_text("Removed: Ada")
    phone.goto(f"{server.url}/join/{code}")
    join(phone, "ada")
    expect(phone.get_by_role("alert")).to_have_text("The host removed you from this room.")

    join(phone, "Bea")
    expect(phone.get_by_test_id("link")).to_contain_text("live")
    phone.get_by_role("button", name="Leave").click()
    expect(phone.get_by_role("heading", level=1)).to_have_text("You left the room")
    phone.get_by_role("button", name="Join again").click()
    join(phone, "Bea")
    expect(phone.get_by_test_id("link")).to_contain_text("live")

    room(host).get_by_role("button", name="Close the room").click()
    room(host).get_by_role("button", name="Really close it for everybody?").click()
    expect(phone.get_by_role("heading", level=1)).to_have_text("The room is closed")
    expect(host.get_by_role("button", name="Watch room")).to_be_visible()
    excuse(open_page, 401, 403, 410)


def test_without_authentication_a_locked_session_is_the_rooms_alone(
    own_server: Server, open_page: OpenPage
) -> None:
    name = run(own_server, "locked-run")
    host = open_page(f"/sessions/{name}", on=own_server)
    code = open_room(host, "With a password", "open sesame")
    expect(room(host).get_by_text("open sesame")).to_be_visible()
    expect(host.get_by_test_id("link")).to_contain_text("live")
    host.reload()
    expect(room(host).get_by_label(re.compile("^Code"))).to_have_text(code)
    expect(host.get_by_test_id("link")).to_contain_text("live")
    expect(room(host).get_by_text("open sesame")).to_have_count(0)

    guest = open_page(f"/sessions/{name}", on=own_server)
    expect(guest.get_by_role("heading", level=1)).to_have_text("This session is watched in a room")
    guest.get_by_role("link", name="I have the code").click()
    guest.get_by_label("Code of the room").fill(f"{code[:3].lower()}-{code[3:]}")
    guest.get_by_role("button", name="Go on").click()
    join(guest, "Cem", "not the one")
    expect(guest.get_by_role("alert")).to_have_text("That is not the room's password.")
    join(guest, "Cem", "open sesame")
    expect(guest.get_by_test_id("link")).to_contain_text("live")

    host.get_by_role("navigation").get_by_role("link", name="Sessions").click()
    own = host.get_by_role("region", name="Watch rooms")
    own.get_by_role("link", name=name).click()
    room(host).get_by_role("button", name="Close the room").click()
    room(host).get_by_role("button", name="Really close it for everybody?").click()
    expect(host.get_by_role("button", name="Watch room")).to_be_visible()
    expect(host.get_by_test_id("link")).to_contain_text("live")
    excuse(open_page, 401, 410)


def test_a_private_room_is_joined_by_invitation(own_server: Server, open_page: OpenPage) -> None:
    name = run(own_server, "private-run")
    host = open_page(f"/sessions/{name}", on=own_server)
    code = open_room(host, "Private")
    guest = open_page(f"/join/{code}", on=own_server)
    join(guest, "Dan")
    expect(guest.get_by_role("alert")).to_contain_text("This room is private")
    room(host).get_by_role("button", name="Make an invitation").click()
    link = room(host).get_by_text("#invitation=").inner_text()
    invited = open_page(link.removeprefix(own_server.url), on=own_server)
    join(invited, "Eva")
    expect(invited.get_by_test_id("link")).to_contain_text("live")
    excuse(open_page, 403)


def test_an_unknown_code_is_said_plainly(server: Server, open_page: OpenPage) -> None:
    page = open_page("/join/CDFGHJ")
    expect(page.get_by_role("alert")).to_contain_text("There is no room with this code")
    expect(page.get_by_label("Code of the room")).to_be_focused()
    excuse(open_page, 404)


def test_an_overlay_shows_the_run_in_a_stream(own_server: Server, open_page: OpenPage) -> None:
    name = run(own_server, "streamed-run")
    host = open_page(f"/sessions/{name}", on=own_server)
    code = open_room(host, "With a password", "open sesame")
    overlay = open_page(f"/overlay/{code}#password=open%20sesame", on=own_server)
    figures = overlay.get_by_label("Newest figures")
    expect(figures).to_contain_text("20 of 100")
    expect(figures).to_contain_text("Win rate")
    expect(overlay.get_by_label("Newest decision")).to_contain_text("75 %")
    expect(overlay.get_by_label("Curve")).to_be_visible()
    expect(overlay.get_by_role("banner")).to_have_count(0)
    assert overlay.evaluate("getComputedStyle(document.body).backgroundColor") == "rgba(0, 0, 0, 0)"
    own_server.api.headers["Authorization"] = ""
    own_server.report(name, episode=21, average_reward=77.25)
    expect(figures).to_contain_text("77.25")

    more = f"/overlay/{code}?show=figures&scale=2&bg=rgb(0,0,128)#password=open%20sesame"
    large = open_page(more, on=own_server)
    expect(large.get_by_label("Newest figures")).to_be_visible()
    expect(large.get_by_label("Newest decision")).to_have_count(0)
    assert large.evaluate("getComputedStyle(document.querySelector('main')).fontSize") == "32px"
    assert (
        large.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor")
        == "rgb(0, 0, 128)"
    )

    own_server.kill()
    expect(overlay.get_by_text("reconnecting")).to_be_visible()
    own_server.start_again()
    own_server.report(name, episode=22, average_reward=99.5)
    expect(figures).to_contain_text("99.5", timeout=40_000)
    open_page.complaints.clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [390, 1360])
def test_nothing_sticks_out(own_server: Server, open_page: OpenPage, width: int) -> None:
    name = run(own_server, "wide-run")
    page = open_page(f"/sessions/{name}", on=own_server, viewport={"width": width, "height": 800})
    page.get_by_role("button", name="Watch room").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    code = open_room(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for path in ("/join", f"/join/{code}", f"/overlay/{code}"):
        page.goto(own_server.url + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
