"""Live fan-out, the rest: Socket.IO, one who never reads, a thousand who come back, idle."""

from __future__ import annotations

import time
from typing import Any

from bench import bodies
from bench.bars import Bar, Run, figure, medians
from bench.client import Load, report
from bench.fanout import SECTION, SOCKETIO, at_work, lost, peer_room, per_delivery
from bench.machine import memory_bytes
from bench.servers import Server, grandstand

EVERY_ROW: dict[str, Any] = {"GRANDSTAND_PERFORMANCE__LIVE_MAX_HZ": "0"}
"""Socket.IO clients cannot ask for a rate; so that they get every message, the default is none."""


def measure_socketio(run: Run) -> None:
    """A Socket.IO room beside a room of plain WebSockets, and beside `emit` of the library."""
    spectators, seconds = 200, run.pick(3, 10)
    flat: dict[str, list[float]] = {"plain": [], "ours": [], "stock": []}
    us: dict[str, list[float]] = {"plain": [], "ours": [], "stock": []}
    losses = 0
    for _ in range(run.repeats):
        for name, socketio in (("plain", False), ("ours", True)):
            with grandstand(**EVERY_ROW) as server:
                session = server.session()
                steady: dict[str, Any] = {"rate": 100, "socketio": socketio}
                with at_work(server, session, spectators, **steady) as load:
                    load.go(0.5)
                    us[name].append(per_delivery(load.go(seconds)))
                full: dict[str, Any] = {"rate": 0, "batch": 100, "drain": 20, "socketio": socketio}
                with at_work(server, session, spectators, **full) as load:
                    load.go(0.5)
                    told = load.go(seconds)
                    losses += lost(told)
                    flat[name].append(told["spectators"]["messages"] / told["took"])
        for pace in (100, 0):
            with peer_room("stock_socketio", spectators, rate=pace, socketio=True) as load:
                load.go(0.5)
                told = load.go(seconds)
                if pace:
                    us["stock"].append(per_delivery(told))
                else:
                    flat["stock"].append(told["spectators"]["messages"] / told["took"])
    rate = {name: medians(found) for name, found in flat.items()}
    cost = {name: medians(found) for name, found in us.items()}
    run.add(
        Bar(
            SECTION,
            f"Socket.IO room against plain WebSockets, N = {spectators}",
            "≥ 0.85 ×",
            flat["ours"],
            "deliveries/s",
            f"plain {figure(rate['plain'])}/s",
            rate["ours"] / rate["plain"],
            rate["ours"] >= 0.85 * rate["plain"],
            f"adaptive flush, batches of 100, {losses} lost; at 100 msg/s {figure(cost['ours'])} "
            f"µs CPU a delivery, plain {figure(cost['plain'])} µs, receiving and storing included",
        )
    )
    run.add(
        Bar(
            SECTION,
            f"Socket.IO room against stock emit, N = {spectators}",
            "≥ 5 ×",
            flat["ours"],
            "deliveries/s",
            f"python-socketio {figure(rate['stock'])}/s",
            rate["ours"] / rate["stock"],
            rate["ours"] >= 5 * rate["stock"],
            f"at 100 msg/s the peer, which stores nothing: {figure(cost['stock'])} µs a delivery",
        )
    )


def measure_deaf(run: Run) -> None:
    """Two hundred who read, one who never does."""
    spectators, seconds = 200, run.pick(20, 30)
    with_deaf: list[dict[str, Any]] = []
    without: list[dict[str, Any]] = []
    closed_after: list[float] = []
    codes, held = [], []
    for _ in range(run.pick(1, run.repeats)):
        with grandstand() as server:
            session = server.session()
            with at_work(server, session, spectators, rate=100) as load:
                load.go(1)
                load.begin(seconds)
                _left(server, session, 0, seconds)  # asks as often as it will be asked below
                without.append(load.end())
            with at_work(server, session, spectators + 1, rate=100, deaf=1, drain=5) as load:
                begun = time.monotonic()
                load.begin(seconds)
                gone = _left(server, session, spectators, seconds)
                closed_after.append(gone - begun)
                load.hear_now()  # the close frame lies behind what it has not read
                told = load.end()
                with_deaf.append(told)
                (deaf,) = (c for c in told["spectators"]["closed"] if c["deaf"])
                codes.append(deaf["code"])
                held.append((deaf["heard"] - deaf["queued"]) / 2**20)
    p99 = [t["spectators"]["delay"]["p99"] / 1000 for t in with_deaf]
    before = medians([t["spectators"]["delay"]["p99"] / 1000 for t in without])
    losses = [float(lost(t)) for t in with_deaf]
    name = "one of 201 never reads"
    run.add(Bar(SECTION, f"{name}: the others lost", "0", losses, "messages", met=max(losses) == 0))
    run.add(
        Bar(
            SECTION,
            f"{name}: the others' p99",
            "< 1.25 ×",
            p99,
            "ms",
            f"{figure(before)} ms without it",
            medians(p99) / before,
            medians(p99) < 1.25 * before,
        )
    )
    met = max(held) <= 1
    run.add(
        Bar(
            SECTION,
            f"{name}: held for it",
            "≤ 1 MiB",
            held,
            "MiB",
            met=met,
            note="kernel's send buffer included",
        )
    )
    run.add(
        Bar(
            SECTION,
            f"{name}: closed with 4508",
            "≤ 15 s",
            closed_after,
            "s",
            met=max(closed_after) <= 15 and set(codes) == {4508},
            note=f"from the first message it did not read; code {', '.join(map(str, set(codes)))}",
        )
    )


def _left(server: Server, session: str, spectators: int, seconds: float) -> float:
    """When the server counts no more than so many."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = server.ask("GET", f"/api/training/sessions/{session}")
        if told["spectator_count"] <= spectators:
            return time.monotonic()
        time.sleep(0.2)
    return float("inf")


def measure_return(run: Run) -> None:
    """A thousand who come back at the same moment, each missing 100 messages."""
    spectators, missed = 1000, 100
    took, whole, told_so = [], [], []
    for _ in range(run.repeats):
        with grandstand() as server:
            session = server.session()
            singles = bodies.write_singles(server.folder / "singles", live=True)
            group = report(f"/api/training/sessions/{session}/metrics", singles, rate=400)
            with Load(server, reports=[group]) as load:
                last = load.go(1)["reporters"][0]["last_seq"]
            with Load(
                server,
                spectators=spectators,
                watch=f"/ws/{session}?max_hz=0",
                since=last - missed,
                window=spectators,
            ) as load:
                told = load.until(last, 60)
            who = told["spectators"]
            took.append(told["took"])
            whole.append(float(who["whole"]))
            told_so.append(who["not_recovered"])
            if who["whole"] + who["not_recovered"] < spectators or who["errors"]:
                raise RuntimeError(f"not everybody was served: {who}")
    run.add(
        Bar(
            SECTION,
            "1000 come back at once, each missing 100: all served",
            "≤ 3 s",
            took,
            "s",
            met=max(took) <= 3,
            note=f"{figure(medians(whole))} contiguous, {max(told_so)} told recovered: false; "
            "from the first dialling",
        )
    )


def measure_idle(run: Run) -> None:
    """What a connection costs that only watches, and how quickly many come."""
    count = run.pick(500, 1000)
    for name, socketio, most, least in (
        ("WebSockets", False, 35, 1500),
        ("Socket.IO", True, 50, 1000),
    ):
        memory, speed, cpu = [], [], []
        for _ in range(run.repeats):
            with grandstand() as server:
                session = server.session()
                path = f"/api/training/sessions/{session}/metrics"
                server.ask("POST", path, {"episode": 1, "current_reward": 0.5})
                with Load(server, spectators=20, watch=f"/ws/{session}"):
                    pass  # what is made at the first connection is no connection's cost
                time.sleep(1)
                before = memory_bytes(server.pid)
                more = {"watch": SOCKETIO, "socketio": session} if socketio else {}
                with Load(server, spectators=count, **{"watch": f"/ws/{session}", **more}) as load:
                    time.sleep(2)
                    memory.append((memory_bytes(server.pid) - before) / 1e6 * 1000 / count)
                    speed.append(count / load.opened["connect_seconds"])
                    cpu.append(load.opened["server_cpu"] * 1e6 / count)
        run.add(
            Bar(
                SECTION,
                f"idle, memory of 1000 {name}",
                f"≤ {most} MB",
                memory,
                "MB",
                met=medians(memory) <= most,
            )
        )
        run.add(
            Bar(
                SECTION,
                f"{name} greeted",
                f"≥ {least:,} /s",
                speed,
                "/s",
                met=medians(speed) >= least,
                note=f"{figure(medians(cpu))} µs CPU each; lookup, presence and snapshot"
                + (", subscribing included" if socketio else ""),
            )
        )


def measure_all(run: Run) -> None:
    """Five thousand durable POSTs a second beside 200 spectators of another session."""
    wanted, seconds = 5000, run.pick(3, 15)
    told = []
    with grandstand() as server:
        watched, noisy = server.session(), server.session()
        base = "/api/training/sessions"
        live = bodies.write_singles(server.folder / "live", stamped="current_reward", live=True)
        singles = bodies.write_singles(server.folder / "singles")
        with Load(
            server,
            spectators=200,
            watch=f"/ws/{watched}?max_hz=0",
            reports=[
                report(f"{base}/{watched}/metrics", live, rate=100),
                report(f"{base}/{noisy}/metrics", singles, connections=64, rate=wanted),
            ],
            drain=20,
        ) as load:
            load.go(1)
            told = [load.go(seconds) for _ in range(run.repeats)]
    p99 = [t["spectators"]["delay"]["p99"] / 1000 for t in told]
    posts = [t["in_time"]["reporters"][1]["done"] / t["seconds"] for t in told]
    reached = medians(posts) >= 0.99 * wanted
    run.add(
        Bar(
            SECTION,
            "all at once, 5 k durable POST/s + 200 × 100 msg/s: p99 of a delivery",
            "≤ 15 ms",
            p99,
            "ms",
            met=reached and medians(p99) <= 15,
            note=f"{figure(medians(posts))} POST/s were answered"
            + ("" if reached else ", fewer than asked")
            + f"; {sum(map(lost, told))} lost",
        )
    )
