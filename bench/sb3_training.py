"""Trainings with and without the callback, in turn; run by `bench.integrations` in a process of its
own, on the client's core.

    python bench/sb3_training.py URL STEPS PAIRS

Trains PPO on CartPole with its default settings and one seed: both of a pair learn the same, number
for number. The first pair warms up and is not counted; who begins changes from pair to pair. Prints
JSON: for each pair the seconds of `learn` without and with, on the clock and of CPU (all threads);
how many records were reported; and the share of `learn` spent inside the callback, which other load
on the machine moves less.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import TypeAlias

import torch
from stable_baselines3 import PPO

from grandstand.callbacks.sb3 import GrandstandCallback

Took: TypeAlias = tuple[float, float]


class Timed(GrandstandCallback):
    """Adds up the seconds spent in it, step by step."""

    inside = 0.0

    def on_step(self) -> bool:
        began = time.perf_counter()
        going = super().on_step()
        self.inside += time.perf_counter() - began
        return going


def main() -> None:
    url, steps, pairs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    sent: list[int] = []
    shares: list[float] = []

    def plain() -> Took:
        model = _model()
        began = now()
        model.learn(steps)
        return since(began)

    def watched() -> Took:
        model = _model()
        with Timed(url=url) as callback:
            began = now()
            model.learn(steps, callback=callback)
            took = since(began)
        assert callback.session is not None
        sent.append(callback.session.sent)
        shares.append(callback.inside / took[0])
        return took

    found: list[tuple[Took, Took]] = []
    for pair in range(pairs + 1):
        if pair % 2:
            one, other = plain(), watched()
        else:
            other, one = watched(), plain()
        if pair:
            found.append((one, other))
    print(json.dumps({"pairs": found, "sent": sent[1:], "shares": shares[1:]}))


def now() -> Took:
    return time.perf_counter(), time.process_time()


def since(began: Took) -> Took:
    """Seconds on the clock, and of CPU."""
    return time.perf_counter() - began[0], time.process_time() - began[1]


def _model() -> PPO:
    gc.collect()
    return PPO("MlpPolicy", "CartPole-v1", seed=1, device="cpu")


if __name__ == "__main__":
    main()
