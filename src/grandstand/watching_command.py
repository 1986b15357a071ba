"""`grandstand watch` and `grandstand sessions`: looking at trainings from the terminal."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Generator, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from grandstand.client.client import Client
from grandstand.client.notebook import number
from grandstand.client.watch import Event
from grandstand.clock import SystemClock
from grandstand.model.telemetry import CONNECTION, DECISION, METRICS, RECORD_MESSAGES, STATUS

if TYPE_CHECKING:
    from grandstand.client.info import SessionInfo

CURVE_POINTS = 60
NEWS = 5
ACTIONS = 8
BAR = 24
LIVE_HZ = 10.0
BLOCKS = "▁▂▃▄▅▆▇█"


def watch(server: str | None, session_id: str, *, plain: bool, as_json: bool) -> None:
    """Follow a session until it has ended, or Ctrl-C.

    Args:
        server: its address; None for the usual one.
        session_id: which session.
        plain: a line for each record instead of a picture.
        as_json: likewise, as JSON.

    Raises:
        GrandstandError: no such session, or no server.
    """
    with Client(server, mode="online") as client:
        watch_from(_Seat(client, session_id), plain=plain, as_json=as_json)


class Watchable(Protocol):
    """Somewhere to watch one session from."""

    def watch(
        self, *, types: Iterable[str] | None = None, max_hz: float = 0.0
    ) -> Generator[Event, None, None]:
        """Its events."""

    def session(self) -> SessionInfo:
        """The session as it is now."""


class _Seat:
    """Anybody's, by the session's id."""

    def __init__(self, client: Client, session_id: str) -> None:
        self._client = client
        self._session_id = session_id

    def watch(
        self, *, types: Iterable[str] | None = None, max_hz: float = 0.0
    ) -> Generator[Event, None, None]:
        return self._client.watch(self._session_id, types=types, max_hz=max_hz)

    def session(self) -> SessionInfo:
        return self._client.session(self._session_id)


def watch_from(place: Watchable, *, plain: bool, as_json: bool) -> None:
    """See `watch`."""
    with contextlib.suppress(KeyboardInterrupt):
        if plain or as_json:
            for event in place.watch():
                print(json_line(event) if as_json else line(event), flush=True)
            return
        picture = Picture(place.session())
        types = (*RECORD_MESSAGES, CONNECTION)
        console = Console(highlight=False)
        with (
            contextlib.closing(place.watch(types=types, max_hz=LIVE_HZ)) as events,
            Live(picture.drawn(), console=console, auto_refresh=False) as live,
        ):
            for event in events:
                picture.hear(event)
                live.update(picture.drawn(), refresh=True)


def sessions(server: str | None, *, everything: bool, as_json: bool) -> None:
    """List sessions, newest first."""
    with Client(server, mode="online") as client:
        page = client.sessions(status="all" if everything else None, limit=100)
    if as_json:
        print(msgspec.json.encode(page.sessions).decode())
        return
    table = Table(box=None, pad_edge=False)
    for head in ("id", "status", "name", "algorithm", "episode", "average", "age"):
        table.add_column(head)
    now = SystemClock().now()
    for info in page.sessions:
        total = f"/{info.total_episodes}" if info.total_episodes else ""
        table.add_row(
            Text(info.session_id),
            info.status.value,
            Text(info.name),
            Text(info.algorithm),
            f"{info.current_episode}{total}",
            number((info.latest or {}).get("average_reward")),
            age(info.created_at, now),
        )
    console = Console(highlight=False)
    console.print(table if page.sessions else "No sessions.")
    if page.total > len(page.sessions):
        console.print(f"{len(page.sessions)} of {page.total} sessions")


def age(then: datetime, now: datetime) -> str:
    """A span in one unit: 12s, 5m, 3h, 2d."""
    seconds = max((now - then).total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def json_line(event: Event) -> str:
    """A record as a line of JSON; NaN and the infinities as strings, as on the wire."""
    return msgspec.json.encode(_wire(msgspec.to_builtins(event))).decode()


def _wire(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {name: _wire(inner) for name, inner in value.items()}
    return [_wire(inner) for inner in value] if isinstance(value, list) else value


def line(event: Event) -> str:
    """A record as a line for people and pipes: seq, time, type, then what it says."""
    data = {k: v for k, v in event.data.items() if k != "timestamp" and v is not None}
    extra = data.pop("extra", None)
    if isinstance(extra, dict):
        data |= extra
    told = " ".join(f"{name}={value}" for name, value in data.items())
    seq = "-" if event.seq is None else event.seq
    return f"{seq} {event.at:%H:%M:%S} {event.type} {told}".replace("\n", " ")


def spark(values: list[float]) -> str:
    """A curve of one line; a blank where a value is not finite."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(BLOCKS) - 1
    return "".join(
        BLOCKS[min(int((v - low) / span * top + 0.5), top)] if math.isfinite(v) else " "
        for v in values
    )


class Picture:
    """What is known of a session, and how it looks."""

    def __init__(self, info: SessionInfo) -> None:
        self._info = info
        self._status = info.status.value
        self._episode = info.current_episode
        self._latest: dict[str, Any] = dict(info.latest or {})
        self._curve: deque[float] = deque(maxlen=CURVE_POINTS)
        self._decision: dict[str, Any] = {}
        self._news: deque[str] = deque(maxlen=NEWS)

    def hear(self, event: Event) -> None:
        """Take in an event."""
        data = event.data
        if event.type == METRICS:
            self._latest |= {name: value for name, value in data.items() if value is not None}
            self._episode = max(self._episode, int(data.get("episode") or 0))
            value = data.get("average_reward", data.get("current_reward"))
            if isinstance(value, (int, float)):
                self._curve.append(float(value))
        elif event.type == DECISION:
            self._decision = data
        elif data.get("event") == "snapshot":
            self._status = str(data["session"]["status"])
        elif event.type == STATUS and event.seq is not None:
            if data.get("event") == "status":
                self._status = str(data["status"])
            told = data.get("status") or data.get("message") or ""
            self._news.append(f"{event.at:%H:%M:%S} {data.get('event')} {told}".rstrip())

    def drawn(self) -> Panel:
        """The picture as it is now."""
        total = self._info.total_episodes
        of = f" of {total:,}" if total else ""
        words = [f"episode {self._episode:,}{of}", f"step {number(self._latest.get('step'))}"]
        words += [
            f"{word} {number(self._latest.get(name))}"
            for name, word in (
                ("current_reward", "reward"),
                ("average_reward", "average"),
                ("best_reward", "best"),
                ("actions_per_second", "actions/s"),
            )
        ]
        parts: list[Any] = [Text(" · ".join(words))]
        if total:
            parts.insert(0, ProgressBar(total=total, completed=min(self._episode, total)))
        if curve := spark(list(self._curve)):
            parts.append(Text(curve, style="cyan"))
        parts += self._bars()
        parts += [Text(news, style="dim") for news in self._news]
        title = Text(f"{self._info.name} · {self._status}")
        return Panel(Group(*parts), title=title)

    def _bars(self) -> list[Text]:
        """The last decision: a bar for each action, the chosen one marked."""
        shares = self._decision.get("action_probabilities") or {}
        chosen = str(self._decision.get("selected_action"))
        bars = []
        for action, share in list(shares.items())[:ACTIONS]:
            known = isinstance(share, (int, float)) and math.isfinite(share)
            bar = "█" * round(BAR * min(max(share, 0.0), 1.0)) if known else ""
            mark = "▶" if action == chosen else " "
            style = "bold green" if action == chosen else ""
            bars.append(Text(f"{mark} {action:<12.12} {bar:<{BAR}} {number(share)}", style=style))
        return bars
