"""/metrics: how the server is, for Prometheus.

Everything is counted where it happens, in plain numbers, and only gathered when it is asked for.
docs/operating.md has the table of names; a test keeps the two equal.
"""

from __future__ import annotations

import asyncio
import math
import platform
import shutil
from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

import grandstand
from grandstand.assembly import Assembly
from grandstand.model.session import Status
from grandstand.model.tally import Tally
from grandstand.service.access import Grant, Scope
from grandstand.store.vitals import Vitals, vitals
from grandstand.web.auth import Authority
from grandstand.web.requests import Traffic

PREFIX: Final = "grandstand_"


def routes(house: Assembly, authority: Authority, traffic: Traffic) -> APIRouter:
    """The router."""
    router = APIRouter(tags=["server"])
    scrape = authority.require(Scope.METRICS)
    process = CollectorRegistry()
    ProcessCollector(registry=process)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics(request: Request, grant: Grant = scrape) -> Response:
        """Figures about the server, as Prometheus reads them."""
        stored = await house.database.read(vitals)
        free = await asyncio.to_thread(_free_bytes, house)
        registry = CollectorRegistry()
        registry.register(_Told([*_of_house(house, stored, free), *_of_traffic(traffic)]))
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        # One document: OpenMetrics ends with a mark of its own.
        registry.register(_Told(list(process.collect())))
        return Response(encode(registry), headers={"Content-Type": kind})

    return router


class _Told(Collector):
    """Gives what was gathered already."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def _free_bytes(house: Assembly) -> int:
    folder = house.settings.data_storage_path.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _of_house(house: Assembly, stored: Vitals, free: int) -> Iterator[Metric]:
    database, live = house.database, house.hub.measures
    yield _gauge(
        "info",
        "1; its labels say what runs.",
        {(grandstand.__version__, platform.python_version()): 1},
        ("version", "python"),
    )
    up = (house.clock.now() - house.opened_at).total_seconds()
    yield _gauge("uptime_seconds", "Since the server opened.", up)

    yield _counter("batches", "Batches that reporters had stored.", house.ledger.batches)
    yield _counter("records", "Records in them.", house.ledger.records)
    yield _counter(
        "duplicate_batches", "Batches that were stored before already.", house.ledger.duplicates
    )
    yield _histogram("commit_seconds", "Commits, by how long they took.", database.commit_seconds)
    yield _histogram("commit_writes", "Commits, by how many writes shared them.", database.together)
    yield _counter("commit_failures", "Commits that failed; nothing was stored.", database.failures)
    yield _gauge("writes_waiting", "Writes that wait for the writer.", database.waiting)
    yield _gauge("database_bytes", "Size of the database.", stored.size_bytes)
    yield _gauge("disk_free_bytes", "Room on the disk of data_storage_path.", free)

    yield _gauge("connections", "Live connections, of every kind.", house.hub.connections)
    yield _gauge("spectators", "Who watches here, all sessions together.", house.hub.spectators)
    total, most = house.hub.outbox_bytes()
    yield _gauge("outbox_bytes", "What waits to reach spectators.", total)
    yield _gauge("outbox_largest_bytes", "Of that, for the one with most.", most)
    yield _counter("spectators_set_aside", "Times a slow spectator was set aside.", live.set_aside)
    yield _counter("spectators_too_slow", "Spectators let go with 4508.", live.too_slow)
    yield _counter(
        "replay_pages",
        "Pages of missed messages, by where they came from.",
        {("store",): live.pages_read, ("memory",): live.pages_shared},
        ("source",),
    )

    yield _gauge(
        "sessions",
        "Sessions by status.",
        {(status.value,): stored.sessions.get(status.value, 0) for status in Status},
        ("status",),
    )
    yield _gauge("trainings_queued", "Trainings that wait for a place.", stored.queued)
    yield _gauge("workers", "Workers of this server at work.", house.supervisor.running)
    yield _counter(
        "training_restarts",
        "Trainings that went back into the queue because their worker was gone.",
        house.training.restarts,
    )
    yield _gauge("webhooks_waiting", "Webhook messages nobody has taken yet.", stored.deliveries)


def _of_traffic(traffic: Traffic) -> Iterator[Metric]:
    yield _counter(
        "http_requests",
        "Answers, by route and status.",
        {
            (method, route, str(status)): count
            for (method, route, status), count in traffic.answers.items()
        },
        ("method", "route", "status"),
    )
    seconds = HistogramMetricFamily(
        f"{PREFIX}http_request_seconds",
        "How long requests took, by route.",
        labels=("method", "route"),
    )
    for labels, tally in sorted(traffic.seconds.items()):
        seconds.add_metric(labels, _buckets(tally), tally.total)
    yield seconds
    kinds = ("spectator", "reporter", "socketio")
    for name, words, counted in (
        ("sockets", "Open WebSockets.", traffic.sockets),
        ("sockets_opened", "WebSockets there were.", traffic.opened),
    ):
        make = _gauge if name == "sockets" else _counter
        yield make(name, words, {(kind,): counted[kind] for kind in kinds}, ("kind",))


Numbers = float | dict[tuple[str, ...], Any]


def _gauge(name: str, words: str, value: Numbers, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, words, labels=labels), value)


def _counter(name: str, words: str, value: Numbers, labels: tuple[str, ...] = ()) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, words, labels=labels), value)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, value: Numbers) -> Metric:
    if not isinstance(value, dict):
        value = {(): value}
    for labels, number in value.items():
        family.add_metric(labels, number)
    return family


def _histogram(name: str, words: str, tally: Tally) -> Metric:
    return HistogramMetricFamily(
        PREFIX + name, words, buckets=_buckets(tally), sum_value=tally.total
    )


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    return [
        ("+Inf" if math.isinf(bound) else str(float(bound)), count)
        for bound, count in tally.cumulative()
    ]
