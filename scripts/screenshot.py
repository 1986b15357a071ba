"""Takes the README's picture: a real server, a real training, a real browser (`make picture`).

Needs the training part and Chromium (`CHROMIUM` says where, /usr/bin/chromium by default).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
SCENARIO = "bologna_coppia"
PACE = 400
"""Episodes a second: quick enough not to wait long, slow enough that the page says "running"."""


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    """A JSON answer; POST where there is a body."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def take(url: str, target: Path, dark: bool, episodes: int) -> None:
    """Start a training, watch it until it has done `episodes`, and save what the page shows."""
    started = call(
        f"{url}/api/training/start",
        {"scenario_name": SCENARIO, "seed": 7, "pace": PACE, "name": "Bologna, a couple, seed 7"},
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS
        )
        page = browser.new_page(
            viewport={"width": 1360, "height": 900},
            device_scale_factor=1.5,
            color_scheme="dark" if dark else "light",
        )
        page.goto(f"{url}/sessions/{started['session_id']}")
        session = f"{url}/api/training/sessions/{started['session_id']}"
        while call(session)["current_episode"] < episodes:
            page.wait_for_timeout(500)
        page.wait_for_timeout(1500)  # one more redraw after the last number
        target.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=target)
        browser.close()


def main() -> int:
    """Serve from an empty folder, take the picture, stop."""
    parser = argparse.ArgumentParser(description="Take the README's picture.")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "img" / "session.png")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--episodes", type=int, default=18_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="grandstand-picture-") as home:
        server = subprocess.Popen(
            [sys.executable, "-m", "grandstand", "serve", "--port", "0"],
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            found = re.search(r"http://\S+", server.stdout.readline())
            if found is None:
                return server.wait(30) or 1
            take(found.group(), chosen.to.resolve(), chosen.dark, chosen.episodes)
        finally:
            server.terminate()
            server.wait(60)
    sys.stdout.write(f"Saved {chosen.to}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
