"""What reporters send: the metrics a training really has, with floats nobody rounded."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

STAMP = "#" * 16
COUNT = "@" * 12
FIELDS = 16
RECORD_BYTES = 371
LIVE_BYTES = 500
"""With the envelope around it a message has about 600 bytes."""


def metrics(random_: random.Random, episode: int) -> dict[str, Any]:
    """One record of 16 fields; reward and loss with every digit Python gives them."""
    progress = episode % 50_000 / 50_000
    return {
        "episode": episode,
        "step": episode * 120 + random_.randrange(120),
        "total_episodes": 50_000,
        "current_reward": random_.gauss(1200 * progress, 90),
        "average_reward": round(1200 * progress + random_.gauss(0, 4), 3),
        "best_reward": round(1310 + random_.random(), 2),
        "episode_length": random_.randrange(80, 180),
        "win_rate": round(100 * min(1.0, progress + random_.random() / 20), 1),
        "loss_value": random_.uniform(0.01, 0.09),
        "learning_rate": round(0.0003 * (1 - progress / 2), 6),
        "epsilon": round(max(0.05, 1 - progress), 3),
        "training_time_elapsed": round(episode * 0.0123 + random_.random(), 1),
        "actions_per_second": random_.randrange(300_000, 400_000),
        "memory_usage_mb": random_.randrange(410, 420),
        "extra": {"kl": round(random_.expovariate(100), 3), "entropy": random_.uniform(0.2, 1.4)},
    }


def record(random_: random.Random, episode: int, *, stamped: str = "", live: bool = False) -> str:
    """The same as JSON text, exactly `RECORD_BYTES` long.

    Args:
        stamped: this field is the moment of sending (see bench/load/load.h).
        live: `LIVE_BYTES` long instead, with four more figures.
    """
    data = metrics(random_, episode)
    if live:
        more = ("losses/manager", "losses/worker", "advantage_std", "explained_variance")
        data["extra"] = {name: round(random_.random(), 9) for name in more} | data["extra"]
    text = json.dumps(data, separators=(",", ":"))
    if stamped:
        old = json.dumps(data[stamped])
        text = text.replace(f'"{stamped}":{old}', f'"{stamped}":{STAMP}', 1)
    # Some floats have fewer digits than others; entropy, the last field, makes up for it.
    text = text[: text.rindex(":") + 1] + "0."
    spare = (LIVE_BYTES if live else RECORD_BYTES) - len(text) - 2
    return text + str(random_.randrange(10 ** (spare - 1), 10**spare)) + "}}"


def write_singles(
    path: Path, count: int = 512, *, stamped: str = "", live: bool = False, seed: int = 1
) -> Path:
    """A file of single records, one a line."""
    random_ = random.Random(seed)
    lines = [record(random_, 10_000 + i, stamped=stamped, live=live) for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_batches(
    path: Path,
    size: int = 100,
    count: int = 64,
    *,
    stamped: str = "",
    live: bool = False,
    seed: int = 2,
) -> Path:
    """A file of batches for `POST …/records`, each with a batch id of its own when it is sent."""
    random_ = random.Random(seed)
    lines = []
    for i in range(count):
        records = ",".join(
            f'{{"type":"training_metrics","data":{record(random_, 10_000 + n, live=live)}}}'
            for n in range(i * size, (i + 1) * size)
        )
        if stamped:  # one stamp a body: on its last record
            head, tail = records.rsplit(f'"{stamped}":', 1)
            records = f'{head}"{stamped}":{STAMP}{tail[tail.index(",") :]}'
        lines.append(f'{{"batch_id":"bench-{COUNT}","records":[{records}]}}')
    path.write_text("\n".join(lines) + "\n")
    return path


def write_frames(path: Path, count: int = 2048, *, seed: int = 3) -> Path:
    """A file of frames for `/ws/{id}/ingest`, one record each."""
    random_ = random.Random(seed)
    lines = [
        f'{{"type":"training_metrics","data":{record(random_, 10_000 + i)}}}' for i in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path
