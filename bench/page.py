"""The page: a session's charts in Chromium, while numbers come in, and how soon they are there.

Beside each figure stands what this Chromium does on this machine with a page that draws nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from bench.bars import Bar, Run, figure, say
from bench.machine import ALLOWED, cores, load_average
from bench.reading import ROWS, SESSIONS, Reader
from bench.servers import Server, grandstand

SECTION = "The page"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
METRICS = [f"{group}/{name}" for group in "abcdefg" for name in ("one", "two", "three")][:20]
"""Three a card, the most that have bands and raw values behind them: the dearest to draw."""
CARDS = 7
TALL = {"width": 1280, "height": 1500}
"""All cards of twenty metrics are in view at once."""
UPDATES_A_SECOND = 30

FRAMES = """seconds => new Promise(resolve => {
    let longest = 0, frames = 0, widest = 0, before = performance.now();
    const begun = before;
    const observer = new PerformanceObserver(list => {
        for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
    });
    observer.observe({ type: "longtask" });
    const frame = () => {
        const now = performance.now();
        widest = Math.max(widest, now - before);
        before = now;
        frames += 1;
        if (now - begun < 1000 * seconds) return requestAnimationFrame(frame);
        observer.disconnect();
        resolve({ fps: 1000 * frames / (now - begun), longest, widest });
    };
    requestAnimationFrame(frame);
})"""
"""Frames a second, the longest task (0 where none took 50 ms) and the widest gap of frames, ms."""

DRAWN = """cards => new Promise(resolve => {
    const look = () => {
        const all = [...document.querySelectorAll(".curves .holder[data-points]")];
        const seen = all.filter(one => one.getBoundingClientRect().top < innerHeight);
        const drawn = one => one.querySelector("canvas") && Number(one.dataset.points) > 0;
        if (all.length >= cards && seen.every(drawn)) resolve(performance.now());
        else requestAnimationFrame(look);
    };
    look();
})"""
"""Milliseconds from the navigation until so many cards are there and those in view are drawn."""


def fill(server: Server, metrics: list[str], points: int, *, ended: bool = False) -> str:
    """A session with so many points of each metric, noise about a curve; its id."""
    session = server.session(total_episodes=2 * points)
    reader = Reader(server)
    random_ = np.random.default_rng(points)
    rows = min(ROWS, max(1, 200_000 // len(metrics)))
    for start in range(0, points, rows):
        episodes = np.arange(start, min(points, start + rows))
        columns: dict[str, Any] = {"episode": episodes.tolist(), "extra": {}}
        for i, name in enumerate(metrics):
            curve = (i + 1) * (1 - np.exp(-episodes / points))
            columns["extra"][name] = (curve + 0.2 * random_.standard_normal(len(episodes))).tolist()
        batch = {"records": [{"type": "training_metrics", "columns": columns}]}
        reader.ask("POST", f"{SESSIONS}/{session}/records", json.dumps(batch).encode())
    if ended:
        reader.ask("POST", f"{SESSIONS}/{session}/finish", b'{"status":"completed"}')
    reader.get(f"{SESSIONS}/{session}/series?metrics={metrics[0]}")  # the blocks are written
    return session


def report(port: int, session: str, first: int, seconds: float) -> None:
    """In a process of its own: all metrics, thirty times a second, at even distances."""
    reader = Reader(port)
    begun = time.monotonic()
    for i in range(int(seconds * UPDATES_A_SECOND)):
        time.sleep(max(0.0, begun + i / UPDATES_A_SECOND - time.monotonic()))
        told = {"episode": first + i, "extra": dict.fromkeys(METRICS, 1 + 0.1 * (i % 7))}
        reader.ask("POST", f"{SESSIONS}/{session}/metrics", json.dumps(told).encode())


@contextmanager
def _chromium() -> Iterator[Browser]:
    """Headless Chromium on all cores, as it would run at home."""
    os.sched_setaffinity(0, set(ALLOWED))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            yield browser
            browser.close()
    finally:
        os.sched_setaffinity(0, {cores()[1]})


def _heap(cdp: CDPSession) -> float:
    """What the page's JavaScript holds once swept, in MB."""
    cdp.send("HeapProfiler.collectGarbage")
    return float(cdp.send("Runtime.getHeapUsage")["usedSize"]) / 2**20


def _opened(browser: Browser, server: Server, session: str, cards: int) -> tuple[Page, float]:
    """A session's page in a fresh browser context, and the seconds until its cards are drawn."""
    page = browser.new_context(viewport=TALL).new_page()  # type: ignore[arg-type]
    page.goto(f"http://127.0.0.1:{server.port}/sessions/{session}", wait_until="commit")
    return page, page.evaluate(DRAWN, cards) / 1000


def frames(run: Run) -> None:
    """Twenty series of ten thousand points, thirty updates a second."""
    seconds = run.pick(5, 20)
    fps: list[float] = []
    floor: list[float] = []
    longest: list[float] = []
    heaps: list[str] = []
    load = load_average()
    with grandstand() as server, _chromium() as browser:
        for _ in range(run.repeats):
            bare = browser.new_page()
            floor.append(bare.evaluate(FRAMES, seconds / 2)["fps"])
            bare.close()
            session = fill(server, METRICS, 10_000)
            page, _ = _opened(browser, server, session, CARDS)
            cdp = page.context.new_cdp_session(page)
            before = _heap(cdp)
            reporter = multiprocessing.get_context("spawn").Process(
                target=report, args=(server.port, session, 10_000, seconds + 3)
            )
            reporter.start()
            page.wait_for_function("() => document.querySelector('.curves .holder canvas')")
            page.wait_for_timeout(2000)  # until the reporter has begun: not a test, a warm-up
            told = page.evaluate(FRAMES, seconds)
            reporter.join()
            if reporter.exitcode:
                raise RuntimeError("the reporter failed")
            fps.append(told["fps"])
            longest.append(told["longest"])
            heaps.append(f"{before:.1f} → {_heap(cdp):.1f}")
            say(f"  ({told}, load {load_average():.1f})")
            page.context.close()
    ratio = float(np.median(fps) / np.median(floor))
    beside = f"bare page {figure(float(np.median(floor)))} frames/s"
    name = "20 series × 10,000 points, 30 updates a second"
    note = f"{seconds} s each; JS heap in MB {', '.join(heaps)}; load {load:.1f} before"
    met = float(np.median(fps)) >= 55
    run.add(
        Bar(SECTION, f"{name}: frames", "≥ 55/s", fps, "frames/s", beside, ratio, met, note),
    )
    met = float(np.median(longest)) <= 100
    note = "0: no task took 50 ms"
    run.add(Bar(SECTION, f"{name}: longest task", "≤ 100 ms", longest, "ms", met=met, note=note))


def opens(run: Run) -> None:
    """A million points, and three hundred metrics: how soon the charts are there."""
    one = run.pick(10_000, 50_000)
    cases = (
        (f"a session of 20 × {one:,} points", METRICS, one, CARDS),
        ("a session of 300 metrics × 1,000 points", _many(), 1_000, 1),
    )
    with grandstand() as server, _chromium() as browser:
        for name, metrics, points, cards in cases:
            session = fill(server, metrics, points, ended=True)
            bare = browser.new_page()
            bare.goto(f"http://127.0.0.1:{server.port}/health", wait_until="load")
            floor = bare.evaluate(
                "performance.timing.loadEventEnd - performance.timing.navigationStart"
            )
            bare.close()
            took = []
            for _ in range(run.repeats + 2):
                page, drawn = _opened(browser, server, session, cards)
                took.append(drawn)
                page.context.close()
            met = float(np.median(took)) <= 1
            beside = f"an answer of one line {floor} ms"
            note = f"nothing cached; load {load_average():.1f}"
            run.add(
                Bar(
                    SECTION,
                    f"{name}: opened until drawn",
                    "≤ 1 s",
                    took,
                    "s",
                    beside,
                    None,
                    met,
                    note,
                )
            )


def _many() -> list[str]:
    """Three hundred names, as a training of many parts has them."""
    return [f"part{i // 12:02d}/measure{i % 12}" for i in range(300)]
