"""What the server sends a browser: the page, its files, what it writes into it."""

from __future__ import annotations

import gzip
import html
import json
import re
from typing import Any

import pytest

from grandstand.web.routes import server


async def index(house: Any) -> str:
    answer = await house.http.get("/")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    return str(answer.text)


async def test_the_page_knows_whether_to_sign_in_without_asking(house: Any) -> None:
    found = re.search(r'name="grandstand-auth" content="([^"]*)"', await index(house))
    assert found is not None
    assert json.loads(html.unescape(found[1])) == await house.ok("GET", "/api/auth")


async def test_files_come_packed_to_whoever_takes_them(house: Any) -> None:
    found = re.search(r'src="[./]*(assets/[^"]+\.js)"', await index(house))
    assert found is not None
    packed = (server.DIST / f"{found[1]}.gz").read_bytes()
    whole = (server.DIST / found[1]).read_bytes()
    assert gzip.decompress(packed) == whole
    async with house.http.stream(
        "GET", f"/{found[1]}", headers={"Accept-Encoding": "br, gzip;q=0.8"}
    ) as answer:
        assert b"".join([part async for part in answer.aiter_raw()]) == packed
    assert answer.headers["content-encoding"] == "gzip"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("takes", ["identity", "gzip;q=0, br", ""])
async def test_files_come_whole_to_everybody_else(house: Any, takes: str) -> None:
    found = re.search(r'src="[./]*(assets/[^"]+\.js)"', await index(house))
    assert found is not None
    answer = await house.http.get(f"/{found[1]}", headers={"Accept-Encoding": takes})
    assert answer.content == (server.DIST / found[1]).read_bytes()
    assert "content-encoding" not in answer.headers
    assert "Accept-Encoding" in answer.headers["vary"]
