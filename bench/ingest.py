"""Ingest: records that are on disk when they are acknowledged."""

from __future__ import annotations

from typing import Any

from bench import bodies
from bench.bars import Bar, Run, figure, medians
from bench.client import Load, report
from bench.postgres import postgres
from bench.servers import Server, grandstand, peer

SECTION = "Ingest"


def single(run: Run) -> None:
    """One record a POST over eight keep-alive connections, beside a route that stores nothing."""
    seconds = run.pick(2, 10)
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    with grandstand() as server, peer("plain_post") as plain:
        session = server.session()
        singles = bodies.write_singles(server.folder / "singles")
        path = f"/api/training/sessions/{session}/metrics"
        with (
            Load(server, reports=[report(path, singles)]) as load,
            Load(plain, reports=[report("/metrics", singles)]) as other,
        ):
            load.go(0.5)
            other.go(0.5)
            for _ in range(run.repeats):
                ours.append(load.go(seconds))
                theirs.append(other.go(seconds))
    rates = [_rate(t) for t in ours]
    other_rates = [_rate(t) for t in theirs]
    ratio = medians(rates) / medians(other_rates)
    delay = ours[-1]["reporters"][0]["delay"]
    run.add(
        Bar(
            SECTION,
            "single POST, 8 connections",
            "≥ 5 k records/s",
            rates,
            "records/s",
            met=medians(rates) >= 5000,
            note=f"p50 {delay['p50'] / 1000:.2f} ms, p99 {delay['p99'] / 1000:.2f} ms; "
            f"{figure(_cpu_us(ours[-1]))} µs CPU a record",
        )
    )
    run.add(
        Bar(
            SECTION,
            "single POST against a route that stores nothing",
            "≥ 1.0 ×",
            rates,
            "records/s",
            f"FastAPI + pydantic {figure(medians(other_rates))}/s",
            ratio,
            ratio >= 1,
            f"the peer: {figure(_cpu_us(theirs[-1]))} µs CPU a record",
        )
    )


def batch(run: Run) -> None:
    """A hundred records a POST."""
    with grandstand() as server:
        _batch(run, server, "batch of 100 a POST", 120_000)


def on_postgres(run: Run) -> None:
    """The same where the records go to PostgreSQL."""
    with postgres() as url, grandstand(DATABASE_URL=url) as server:
        _batch(run, server, "batch of 100 a POST, on PostgreSQL", 40_000)


def _batch(run: Run, server: Server, name: str, least: int) -> None:
    seconds = run.pick(2, 10)
    session = server.session()
    batches = bodies.write_batches(server.folder / "batches", 100)
    path = f"/api/training/sessions/{session}/records"
    with Load(server, reports=[report(path, batches)]) as load:
        load.go(0.5)
        told = [load.go(seconds) for _ in range(run.repeats)]
    rates = [100 * _rate(t) for t in told]
    delay = told[-1]["reporters"][0]["delay"]
    run.add(
        Bar(
            SECTION,
            name,
            f"≥ {least // 1000} k records/s",
            rates,
            "records/s",
            met=medians(rates) >= least,
            note=f"{figure(medians(rates) * bodies.FIELDS)} points/s; p50 "
            f"{delay['p50'] / 1000:.1f} ms, p99 {delay['p99'] / 1000:.1f} ms; "
            f"{figure(_cpu_us(told[-1]) / 100)} µs CPU a record",
        )
    )


def stream(run: Run) -> None:
    """A record a frame over one WebSocket."""
    seconds = run.pick(2, 10)
    with grandstand() as server:
        session = server.session()
        frames = bodies.write_frames(server.folder / "frames")
        with Load(server, stream=(f"/ws/{session}/ingest", frames, 1, 8192)) as load:
            load.go(0.5)
            told = [load.go(seconds) for _ in range(run.repeats)]
        last = server.ask("GET", f"/api/training/sessions/{session}")["last_seq"]
    if told[-1]["streams"]["closed"] or told[-1]["streams"]["trouble"]:
        raise RuntimeError(f"the stream: {told[-1]['streams']}")
    rates = [t["in_time"]["streams"]["acked"] / t["seconds"] for t in told]
    cpu = told[-1]["server_cpu"] * 1e6 / told[-1]["in_time"]["streams"]["acked"]
    run.add(
        Bar(
            SECTION,
            "WebSocket, one record a frame",
            "≥ 60 k records/s",
            rates,
            "records/s",
            met=medians(rates) >= 60_000,
            note=f"{figure(cpu)} µs CPU a record; {figure(last)} stored",
        )
    )


def _rate(told: dict[str, Any]) -> float:
    group = told["in_time"]["reporters"][0]
    if group["refused"]:
        raise RuntimeError(f"{group['refused']} requests were refused: {group['trouble']}")
    return float(group["done"] / told["seconds"])


def _cpu_us(told: dict[str, Any]) -> float:
    return float(told["server_cpu"] * 1e6 / told["in_time"]["reporters"][0]["done"])
