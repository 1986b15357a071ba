"""Servers that ask who one is, and signing in at their pages."""

from __future__ import annotations

import subprocess
import sys

import httpx
from playwright.sync_api import Page, expect

from .conftest import OpenPage, Server, StartServer

PASSWORD = "correct horse"
ON = {
    "GRANDSTAND_SECURITY__ENABLE_AUTH": "true",
    "GRANDSTAND_SECURITY__JWT_SECRET_KEY": "s" * 48,
    "GRANDSTAND_SECURITY__TOKEN_LEEWAY_SECONDS": "0",
}


def add_admin(server: Server, name: str = "root") -> None:
    """Make the first account, as whoever runs the server would."""
    told = subprocess.run(
        [sys.executable, "-m", "grandstand", "users", "add", name, "--admin", "--password-stdin"],
        cwd=server.home,
        input=PASSWORD,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def guarded(start_server: StartServer, **more: str) -> Server:
    """A server that asks everybody who they are, with an admin called root."""
    server = start_server(ON | more)
    add_admin(server)
    server.api.headers["Authorization"] = f"Bearer {token_of(server)}"
    return server


def token_of(server: Server, name: str = "root", password: str = PASSWORD) -> str:
    """What signing in gives."""
    body = {"name": name, "password": password}
    answer = httpx.post(f"{server.url}/api/auth/login", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def add_user(server: Server, name: str, *scopes: str) -> None:
    """Make an account with the usual password."""
    body = {"name": name, "password": PASSWORD, "scopes": scopes}
    answer = server.api.post("/api/auth/users", json=body)
    assert answer.status_code == 201, answer.text


def sign_in(page: Page, name: str = "root", password: str = PASSWORD) -> None:
    """Fill the form in and send it."""
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Password").fill(password)
    form.get_by_role("button", name="Sign in").click()


def signed_in(page: Page, name: str = "root") -> None:
    """Sign in, and see that it worked."""
    sign_in(page, name)
    expect(page.get_by_role("dialog")).to_have_count(0)


def excuse(open_page: OpenPage, *statuses: int) -> None:
    """Forget what the browser says of answers that a test asked for."""
    told = [f"status of {status}" for status in statuses]
    open_page.complaints[:] = [  # type: ignore[attr-defined]
        c
        for c in open_page.complaints  # type: ignore[attr-defined]
        if not any(t in c for t in told)
    ]
