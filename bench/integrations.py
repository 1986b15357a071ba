"""Integrations: what reporting costs a training in somebody else's framework."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from bench.bars import Bar, Run
from bench.machine import ROOT, cores, pinned
from bench.servers import grandstand

SECTION = "Integrations"
MOST = 2.0
"""Per cent that a training may become slower."""


def sb3(run: Run) -> None:
    """PPO of Stable-Baselines3 on CartPole, with and without the callback, in turn."""
    steps, pairs = run.pick(4096, 10_240), run.pick(2, 7)
    with grandstand() as server:
        done = subprocess.run(
            [
                sys.executable, str(ROOT / "bench" / "sb3_training.py"),
                f"http://127.0.0.1:{server.port}", str(steps), str(pairs),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=pinned(cores()[1]),
        )  # fmt: skip
    told = json.loads(done.stdout)
    pairs_took = told["pairs"]
    plain = statistics.median(one[0] for one, _ in pairs_took)
    for unit, name, asked in ((0, "slower", True), (1, "more CPU", False)):
        more = [100.0 * (watched[unit] / one[unit] - 1.0) for one, watched in pairs_took]
        run.add(
            Bar(
                SECTION,
                f"SB3 PPO on CartPole, {name} with the callback",
                f"< {MOST:g} %" if asked else "–",
                more,
                "%",
                against=f"the same training without, {steps / plain:.0f} steps/s",
                met=statistics.median(more) < MOST if asked else None,
                note=f"{pairs} pairs of {steps} steps in turn, one seed, defaults, decisions on; "
                f"{told['sent'][0]} records each; server on the other core"
                if asked
                else "all threads of the training's process",
            )
        )
    run.add(
        Bar(
            SECTION,
            "SB3 PPO on CartPole, time inside the callback",
            "–",
            [100.0 * share for share in told["shares"]],
            "%",
            note="of all of `learn`; the sending thread is not in it",
        )
    )
