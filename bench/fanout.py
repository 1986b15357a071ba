"""Live fan-out: one room, N spectators, ~600-byte messages, every row (`max_hz=0`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench import bodies, client
from bench.bars import Bar, Run, figure, medians, say
from bench.client import Load, report
from bench.servers import Server, grandstand, peer

SECTION = "Live fan-out"
NUMBERS = (200, 1000)
MESSAGES_PER_SECOND = 100
SOCKETIO = "/socket.io/?EIO=4&transport=websocket"


@contextmanager
def room(spectators: int, *, rate: float, batch: int = 1, **more: Any) -> Iterator[Load]:
    """Our server with a session, its spectators and its reporters.

    Args:
        rate: requests a second, 0 for as many as are answered (two connections then).
        batch: records a request.
    """
    with grandstand() as server:
        session = server.session()
        with at_work(server, session, spectators, rate=rate, batch=batch, **more) as load:
            yield load


@contextmanager
def at_work(
    server: Server,
    session: str,
    spectators: int,
    *,
    rate: float,
    batch: int = 1,
    socketio: bool = False,
    **more: Any,
) -> Iterator[Load]:
    """Spectators and reporters at a session of a server that runs already."""
    stamped = "training_time_elapsed" if socketio else "current_reward"
    base = f"/api/training/sessions/{session}"
    connections = 8 if rate else 2
    if batch == 1:
        singles = bodies.write_singles(server.folder / "singles", stamped=stamped, live=True)
        group = report(f"{base}/metrics", singles, connections=connections, rate=rate)
    else:
        batches = bodies.write_batches(server.folder / "batches", batch, stamped=stamped, live=True)
        group = report(f"{base}/records", batches, connections=connections, rate=rate)
    if socketio:
        more |= {"watch": SOCKETIO, "socketio": session, "stamp": '"elapsed_time":'}
    else:
        more |= {"watch": f"/ws/{session}?max_hz=0"}
    with Load(server, spectators=spectators, reports=[group], **more) as load:
        yield load


@contextmanager
def peer_room(name: str, spectators: int, *, rate: float, socketio: bool = False) -> Iterator[Load]:
    """The same at a peer."""
    stamped = "training_time_elapsed" if socketio else "current_reward"
    with peer(name) as server:
        singles = bodies.write_singles(server.folder / "singles", stamped=stamped, live=True)
        group = report("/metrics", singles, connections=8 if rate else 2, rate=rate)
        with Load(
            server,
            spectators=spectators,
            watch=SOCKETIO if socketio else "/ws",
            socketio="peer" if socketio else None,
            stamp='"elapsed_time":' if socketio else '"current_reward":',
            reports=[group],
        ) as load:
            yield load


def lost(told: dict[str, Any]) -> int:
    """Messages that spectators should have and have not."""
    who = told["spectators"]
    return int(who["gaps"] + who["missing"])


def per_delivery(told: dict[str, Any]) -> float:
    """Server CPU of a delivery in microseconds, the whole way of the record included."""
    return float(told["server_cpu_drained"] * 1e6 / max(1, told["spectators"]["messages"]))


def measure(run: Run) -> None:
    """One write per delivery, 100 messages a second, the adaptive flush, and a plain loop."""
    for spectators in NUMBERS:
        ours, floor_us = _one_write(run, spectators)
        _steady(run, spectators, floor_us)
        _adaptive(run, spectators)
        _plain(run, spectators, ours)


def _one_write(run: Run, spectators: int) -> tuple[float, float]:
    """CPU of a delivery that is a write of its own, and of the floor at the same pace, in µs.

    The hub gathers what comes faster than every few milliseconds, so this is no matter of flat out;
    and a reader that went to sleep between two messages is dearer to write to, for everybody.
    """
    pace, seconds = 20_000 / spectators, run.pick(2, 10)
    own, floors, writes = [], [], []
    with room(0, rate=pace) as unwatched, room(spectators, rate=pace) as watched:
        unwatched.go(1)
        watched.go(1)
        for _ in range(run.repeats):
            alone, told = unwatched.go(seconds), watched.go(seconds)
            floors.append(client.floor(spectators, run.pick(1, 5), pace=pace)["cpu_us"])
            records = told["reporters"][0]["done"] / alone["reporters"][0]["done"]
            cpu = told["server_cpu_drained"] - records * alone["server_cpu_drained"]
            made = told["writes"] - records * alone["writes"]
            own.append(cpu * 1e6 / made)
            writes.append(made / told["spectators"]["messages"])
    floor_us, ours = medians(floors), medians(own)
    record = alone["server_cpu_drained"] * 1e6 / alone["reporters"][0]["done"]
    share = [floor / us for floor, us in zip(floors, own, strict=True)]
    said = (
        f"CPU for CPU at {pace:.0f} msg/s; {medians(writes):.2f} writes a message, "
        f"{told['spectators']['bytes'] / told['spectators']['messages']:.0f} bytes each"
    )
    run.add(
        Bar(
            SECTION,
            f"one write per delivery, N = {spectators}: share of the floor",
            "≥ 0.75",
            share,
            "",
            f"floor {figure(floor_us)} µs a send",
            medians(share),
            medians(share) >= 0.75,
            said,
        )
    )
    run.add(
        Bar(
            SECTION,
            f"one write per delivery, N = {spectators}: server CPU",
            "≤ 5 µs",
            own,
            "µs",
            f"floor {figure(floor_us)} µs",
            ours / floor_us,
            ours <= 5,
            f"less the record's own way in, {figure(record)} µs when nobody watches",
        )
    )
    return ours, floor_us


def _steady(run: Run, spectators: int, floor_us: float) -> None:
    seconds = run.pick(2, 10)
    with room(spectators, rate=MESSAGES_PER_SECOND) as load:
        load.go(1)
        steady = [load.go(seconds) for _ in range(run.repeats)]
    name = f"{spectators} × {MESSAGES_PER_SECOND} msg/s"
    losses = [float(lost(t)) for t in steady]
    run.add(Bar(SECTION, f"{name}: lost", "0", losses, "messages", met=max(losses) == 0))
    p50 = [t["spectators"]["delay"]["p50"] / 1000 for t in steady]
    p99 = [t["spectators"]["delay"]["p99"] / 1000 for t in steady]
    core = [100 * t["server_cpu"] / t["seconds"] for t in steady]
    most_p99, most_core = (6, 15) if spectators == 200 else (30, 60)
    if spectators == 200:
        run.add(Bar(SECTION, f"{name}: p50", "≤ 2 ms", p50, "ms", met=medians(p50) <= 2))
    met = medians(p99) <= most_p99
    run.add(Bar(SECTION, f"{name}: p99", f"≤ {most_p99} ms", p99, "ms", met=met))
    floor_core = floor_us * spectators * MESSAGES_PER_SECOND / 1e4
    run.add(
        Bar(
            SECTION,
            f"{name}: server",
            f"≤ {most_core} % of a core",
            core,
            "%",
            f"the floor's sends {figure(floor_core)} %",
            medians(core) / floor_core,
            medians(core) <= most_core,
        )
    )


def _adaptive(run: Run, spectators: int) -> None:
    seconds = run.pick(3, 10)
    told, floors = [], []
    with room(spectators, rate=0, batch=100, drain=20) as load:
        load.go(1)
        for _ in range(run.repeats):
            told.append(load.go(seconds))
            floors.append(client.floor(spectators, run.pick(1, 3))["per_second"])
    floor_rate = medians(floors)
    rates = [t["spectators"]["messages"] / t["took"] for t in told]
    asked = 10 if spectators == 200 else 2
    ratio = medians(rates) / floor_rate
    client_share = medians([100 * t["client_cpu"] / t["seconds"] for t in told])
    run.add(
        Bar(
            SECTION,
            f"adaptive flush, N = {spectators}: deliveries",
            f"≥ {asked} × the floor",
            rates,
            "/s",
            f"floor {figure(floor_rate)}/s",
            ratio,
            ratio >= asked,
            f"batches of 100 on two connections; {sum(map(lost, told))} lost; "
            f"load client {client_share:.0f} % of its core",
        )
    )


def _plain(run: Run, spectators: int, ours: float) -> None:
    seconds = run.pick(2, 10)
    with peer_room("plain_fanout", spectators, rate=MESSAGES_PER_SECOND) as load:
        load.go(1)
        steady = load.go(seconds)
    with peer_room("plain_fanout", spectators, rate=0) as load:
        load.go(1)
        flat = load.go(seconds)
    us = per_delivery(steady)
    say(f"  (plain loop flat out: {figure(flat['spectators']['messages'] / flat['took'])}/s)")
    delay = steady["spectators"]["delay"] or {"p99": 0}
    run.add(
        Bar(
            SECTION,
            f"peer, N = {spectators}: plain FastAPI loop, CPU a delivery",
            "–",
            [us],
            "µs",
            f"ours {figure(ours)} µs",
            us / ours,
            None,
            f"flat out {figure(flat['spectators']['messages'] / flat['took'])}/s; at "
            f"{MESSAGES_PER_SECOND} msg/s lost {lost(steady)} of "
            f"{steady['reporters'][0]['done'] * spectators}, p99 {delay['p99'] / 1000:.1f} ms",
        )
    )
