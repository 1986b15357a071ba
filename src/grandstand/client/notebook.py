"""What a notebook shows of sessions and their curves: small pieces of HTML without scripts.

Everything is escaped, colours are those of the page around, and nothing from the network is
needed: where the server does not answer within two seconds, there is no curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from grandstand.client.transport import Transport, call
from grandstand.errors import GrandstandError

if TYPE_CHECKING:
    from grandstand.model.session import Session as Info

LOOK_SECONDS: Final = 2.0
CURVE_POINTS: Final = 200
SHOWN_ROWS: Final = 5
WIDTH: Final = 320
HEIGHT: Final = 48
CURVES: Final = ("average_reward", "current_reward")
"""The curve that is shown: the first of these that was reported."""
FIGURES: Final = (
    ("current_reward", "reward"),
    ("average_reward", "average"),
    ("best_reward", "best"),
    ("loss_value", "loss"),
)
_CARD: Final = (
    "display:inline-block;border:1px solid #8884;border-radius:6px;padding:10px 14px;"
    "font-family:sans-serif;font-size:13px"
)


def number(value: Any) -> str:
    """A figure for people: four digits, "—" where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "—" if value is None else str(value)
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}" if isinstance(value, int) else str(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e9:
        return f"{value:.3e}"
    return f"{value:,.{1 if size >= 100 else 2 if size >= 1 else 4}f}"


def line_of(info: Info) -> str:
    """A session in a line: id, status, episode, average reward."""
    latest = info.latest or {}
    parts = [f"{info.session_id}: {info.status.value}", progress(info)]
    for name, word in FIGURES[:2]:
        if latest.get(name) is not None:
            parts.append(f"{word} {number(latest[name])}")
    return ", ".join(parts)


def progress(info: Info) -> str:
    """How far it is: "episode 7 of 100"."""
    total = f" of {info.total_episodes:,}" if info.total_episodes else ""
    return f"episode {info.current_episode:,}{total}"


def sparkline(values: Sequence[float], width: int = WIDTH, height: int = HEIGHT) -> str:
    """A curve as SVG; broken where a value is not finite, empty without two finite ones."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    # Halved, so that even the widest range has a finite extent.
    low, high = min(finite) / 2, max(finite) / 2
    extent = (high - low) or 1.0
    across = (width - 4) / (len(values) - 1)
    strokes: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if not math.isfinite(value):
            strokes.append([])
            continue
        y = height - 2 - (value / 2 - low) / extent * (height - 4)
        strokes[-1].append(f"{2 + i * across:.1f},{y:.1f}")
    lines = "".join(
        f'<polyline points="{" ".join(stroke)}"/>' for stroke in strokes if len(stroke) > 1
    )
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'fill="none" stroke="currentColor" stroke-width="1.5">{lines}</svg>'
    )


def look(transport: Transport, session_id: str) -> tuple[str, list[float]]:
    """A curve of the session to show, by name; none where the server does not answer."""
    query = urlencode({"metrics": ",".join(CURVES), "max_points": CURVE_POINTS})
    own = transport.twin()
    try:
        path = f"/api/training/sessions/{quote(session_id, safe='')}/series?{query}"
        series = call(own, "GET", path, timeout=LOOK_SECONDS)["series"]
    except GrandstandError:
        return "", []  # the card is shown without a curve
    finally:
        own.close()
    for name in CURVES:
        means = series.get(name, {}).get("mean") or []
        if len(means) > 1:
            return name, [math.nan if mean is None else float(mean) for mean in means]
    return "", []


def info_html(info: Info, url: str | None, transport: Transport | None) -> str:
    """A session as a card."""
    latest = info.latest or {}
    rows = [("algorithm", info.algorithm), ("", progress(info))]
    rows += [(word, number(latest[name])) for name, word in FIGURES if latest.get(name) is not None]
    if info.stop_reason and info.stop_reason != info.status.value:
        rows.append(("because", info.stop_reason))
    curve = (
        look(transport, info.session_id) if transport is not None and info.last_seq else ("", [])
    )
    return card(info.name, info.status.value, rows, curve, url)


def card(
    name: str,
    status: str,
    rows: Sequence[tuple[str, str]],
    curve: tuple[str, Sequence[float]] = ("", ()),
    url: str | None = None,
) -> str:
    """A card: name and status, words with figures, a curve, a link to the page."""
    facts = " · ".join(
        f"{escape(word)} <b>{escape(told)}</b>" if word else escape(told) for word, told in rows
    )
    drawn = sparkline(curve[1])
    if drawn:
        drawn = f'<div title="{escape(curve[0])}" style="margin-top:6px">{drawn}</div>'
    return (
        f'<div style="{_CARD}"><div><b>{escape(name)}</b> '
        f'<span style="opacity:.7">{escape(status)}</span></div>'
        f'<div style="margin-top:4px">{facts}</div>{drawn}{link(url)}</div>'
    )


def link(url: str | None) -> str:
    """A link to a session's page; nothing where its address is no web address."""
    if url is None or not url.startswith(("http://", "https://")):
        return ""
    return f'<div style="margin-top:4px"><a href="{escape(url)}" target="_blank">watch</a></div>'


def page_html(infos: Sequence[tuple[Info, str | None]], total: int) -> str:
    """Sessions as a table."""
    heads = ("name", "status", "algorithm", "episode", "average", "best")
    body = []
    for info, url in infos:
        latest = info.latest or {}
        name = escape(info.name)
        if link(url):
            name = f'<a href="{escape(url or "")}" target="_blank">{name}</a>'
        cells = [
            escape(info.status.value),
            escape(info.algorithm),
            escape(progress(info).removeprefix("episode ")),
            escape(number(latest.get("average_reward"))),
            escape(number(latest.get("best_reward"))),
        ]
        body.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in (name, *cells)) + "</tr>")
    head = "".join(f"<th>{word}</th>" for word in heads)
    rest = f"<div>{len(infos)} of {total} sessions</div>" if total > len(infos) else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>{rest}"


def history_html(session_id: str, x: str, names: Sequence[str], columns: Mapping[str, Any]) -> str:
    """Columns as a table: a row for each metric, with its curve, span and newest value."""
    rows = []
    for name in names:
        values = [value for value in columns[name].tolist() if value == value]
        finite = [value for value in values if math.isfinite(value)]
        step = max(1, len(values) // CURVE_POINTS)
        figures = (
            f"{len(values):,}",
            number(min(finite, default=None)),
            number(max(finite, default=None)),
            number(values[-1] if values else None),
        )
        cells = "".join(f"<td>{escape(figure)}</td>" for figure in figures)
        curve = sparkline(values[::step], 160, 32)
        rows.append(f"<tr><td>{escape(name)}</td><td>{curve}</td>{cells}</tr>")
    head = "".join(f"<th>{w}</th>" for w in ("metric", "curve", "points", "least", "most", "last"))
    title = f"<b>{escape(session_id)}</b> over {escape(x)}, {len(columns[x]):,} rows"
    return (
        f"<div>{title}</div><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
