"""/metrics: what it says is what happened. And the id that a request has in answer and log."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from .conftest import SESSIONS, House, serving

__all__ = ["serving"]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


async def scrape(house: House) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample: (name, labels) → value."""
    answer = await house.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def sample(samples: Any, name: str, **labels: str) -> float:
    return float(samples[f"grandstand_{name}", frozenset(labels.items())])


@pytest.fixture
def bound() -> Iterator[list[dict[str, Any]]]:
    """What is bound around each line of the access log."""
    found: list[dict[str, Any]] = []

    class Looking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(structlog.contextvars.get_contextvars())

    logger, looking = logging.getLogger("grandstand.access"), Looking()
    before = logger.level
    logger.addHandler(looking)
    logger.setLevel("DEBUG")
    yield found
    logger.setLevel(before)
    logger.removeHandler(looking)


async def test_what_is_counted_is_what_happened(house: House) -> None:
    await house.open_session("run")
    await house.log("run", 1, 2, 3)
    records = [{"type": "training_metrics", "columns": {"episode": [4, 5]}}]
    for _ in range(2):
        await house.ok(
            "POST", f"{SESSIONS}/run/records", json={"records": records, "batch_id": "a"}
        )
    await house.ok("GET", f"{SESSIONS}/none", 404)
    await house.ok("POST", f"{SESSIONS}/run/metrics", 422, json={"episode": "x"})
    found = await scrape(house)
    assert sample(found, "batches_total") == 4
    assert sample(found, "records_total") == 5
    assert sample(found, "duplicate_batches_total") == 1
    assert sample(found, "sessions", status="running") == 1
    assert sample(found, "sessions", status="failed") == 0
    assert sample(found, "commit_seconds_count") >= 6
    assert sample(found, "commit_writes_bucket", le="+Inf") == sample(found, "commit_seconds_count")
    assert sample(found, "database_bytes") > 0
    of = {"method": "POST", "route": SESSIONS + "/{session_id}/metrics"}
    assert sample(found, "http_requests_total", status="200", **of) == 3
    assert sample(found, "http_requests_total", status="422", **of) == 1
    assert sample(found, "http_request_seconds_count", **of) == 4
    of = {"method": "GET", "route": SESSIONS + "/{session_id}"}
    assert sample(found, "http_requests_total", status="404", **of) == 1


@pytest.mark.parametrize("kind", ["text/plain; version=0.0.4", "application/openmetrics-text"])
async def test_every_figure_is_in_the_table(house: House, kind: str) -> None:
    answer = await house.http.get("/metrics", headers={"Accept": kind})
    told = set(re.findall(r"^# TYPE (grandstand_\w+)", answer.text, re.MULTILINE))
    table = set(re.findall(r"^\| `(grandstand_\w+)`", PAGE.read_text(), re.MULTILINE))
    if "openmetrics" in kind:  # there a counter's name is without its end
        table = {name.removesuffix("_total") for name in table}
        assert answer.text.endswith("# EOF\n")
    assert told == table
    assert "process_resident_memory_bytes" in answer.text


async def test_sockets_are_counted_while_they_are_open(serving: House) -> None:
    await serving.open_session("run")
    async with serving.watch("run") as spectator:
        await spectator.event("snapshot")
        address = serving.url.replace("http", "ws", 1) + "/ws/run/ingest"
        async with connect(address) as reporter:
            await reporter.send('{"type": "training_metrics", "data": {"episode": 1}}')
            await reporter.recv()
            found = await scrape(serving)
            assert sample(found, "sockets", kind="spectator") == 1
            assert sample(found, "sockets", kind="reporter") == 1
            assert sample(found, "connections") == 2
            assert sample(found, "spectators") == 1
            assert sample(found, "records_total") == 1

    async def gone() -> bool:
        return sample(await scrape(serving), "sockets", kind="spectator") == 0

    await serving.until(gone)
    assert sample(await scrape(serving), "sockets_opened_total", kind="spectator") == 1


async def test_lines_of_a_socket_have_the_id_that_its_client_knows(
    serving: House, bound: list[dict[str, Any]]
) -> None:
    await serving.open_session("run")
    address = serving.url.replace("http", "ws", 1) + "/ws/run"
    async with connect(address, additional_headers={"X-Request-ID": "from-proxy"}) as socket:
        told = json.loads(await socket.recv())["data"]["connection_id"]

    async def ended() -> bool:
        ids = {"request_id": "from-proxy", "session_id": "run", "connection_id": told}
        return ids in bound

    await serving.until(ended)


async def test_an_answer_has_the_id_that_the_log_has(
    house: House, bound: list[dict[str, Any]]
) -> None:
    answer = await house.http.get(f"{SESSIONS}/none?token=abc")
    made = answer.headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{12}", made)
    assert bound[-1] == {"request_id": made, "session_id": "none"}
    given = await house.http.get("/health", headers={"X-Request-ID": "proxy-1/a=b"})
    assert given.headers["X-Request-ID"] == "proxy-1/a=b"
    assert bound[-1]["request_id"] == "proxy-1/a=b"
    for wrong in ("x" * 129, "a b", '"'):
        odd = await house.http.get("/health", headers={"X-Request-ID": wrong})
        assert re.fullmatch(r"[0-9a-f]{12}", odd.headers["X-Request-ID"])
