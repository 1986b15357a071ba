"""A `SummaryWriter` that reports to Grandstand instead of writing event files::

    from grandstand.compat.tensorboard import SummaryWriter  # was: torch.utils.tensorboard

Scalars become curves under their tags. Where a tag is what this field calls an episode's return or
length (`client/tensorboard/follow.ALSO`), the documented field is told too, and returns are counted
as episodes, as `grandstand tail` does with event files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grandstand.client.client import open_session
from grandstand.client.session import Session
from grandstand.client.tensorboard.follow import ALSO, EPISODE, HYPERPARAMETERS, hyperparameters
from grandstand.compat.saying import say_once

QUANTILES = (5, 50, 95)
LONGEST_TEXT = 10_000


class SummaryWriter:
    """Stands in for ``torch.utils.tensorboard.SummaryWriter`` and tensorboardX's.

    Nothing is written to `log_dir`; its name becomes the session's. The server is found as by
    `grandstand.open_session`; while it is away, what is reported waits on disk.

    Args:
        log_dir: the last part of it names the session; `runs/…` by default, as the original has it.
        comment: put behind that name.
        purge_step, max_queue, flush_secs, filename_suffix: taken and not needed.
        algorithm: what the session is said to train with.
        options: url, token, tags and the others of `grandstand.open_session`.

    Attributes:
        session: where everything goes.

    Raises:
        Conflict, Unauthenticated, Forbidden: the server refuses the session.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
        *,
        algorithm: str = "unknown",
        **options: Any,
    ) -> None:
        self.log_dir = str(log_dir) if log_dir is not None else f"runs/run{comment}"
        name = Path(self.log_dir).name + (comment if log_dir is not None else "")
        own_id = name if log_dir is not None else None
        self.session: Session = open_session(
            own_id, algorithm=algorithm, name=name or None, **options
        )
        self._episodes = 0

    def get_logdir(self) -> str:
        """The folder it was given, in which nothing is."""
        return self.log_dir

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """Report one value."""
        values = {tag: scalar_value}
        if tag in ALSO:
            values[ALSO[tag]] = scalar_value
        if tag == EPISODE:
            self._episodes += 1
        self.session.log(values, step=global_step, episode=self._episodes)

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Report values of one group, as ``main_tag/name``."""
        values = {f"{main_tag}/{name}": value for name, value in tag_scalar_dict.items()}
        self.session.log(values, step=global_step, episode=self._episodes)

    def add_text(
        self,
        tag: str,
        text_string: str,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Report a text: a table of hyperparameters as what it holds, others as an event."""
        if tag in HYPERPARAMETERS and (found := hyperparameters(text_string)):
            self.session.event("configuration", config=found)
            return
        message = text_string[:LONGEST_TEXT]
        self.session.event("text", name=tag, message=message, step=global_step)

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        hparam_domain_discrete: Any = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Report hyperparameters, and the metrics that came of them."""
        self.session.event("configuration", config=dict(hparam_dict))
        self.session.log(dict(metric_dict), step=global_step, episode=self._episodes)

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: str = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """Report what a distribution comes to: mean, spread and three quantiles."""
        self.session.log(
            {f"{tag}/{name}": value for name, value in summary_of(values).items()},
            step=global_step,
            episode=self._episodes,
        )
        say_once(
            "histogram",
            "histograms are reported as mean, std, min, max and the 5th, 50th and 95th percentile",
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("add_"):
            raise AttributeError(f"SummaryWriter has no attribute {name!r}")

        def leave_out(*args: Any, **kwargs: Any) -> None:
            say_once(name, f"SummaryWriter.{name} is not reported: scalars, texts, histograms are")

        return leave_out

    def flush(self) -> None:
        """Wait until everything is stored, or lies on disk while the server is away."""
        self.session.flush(10.0)

    def close(self) -> None:
        """Finish the session."""
        self.session.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.session.__exit__(kind, error, trace)


def summary_of(values: Any) -> dict[str, float]:
    """Mean, standard deviation, extremes and quantiles of numbers of any shape; empty of none."""
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().cpu()
    numbers = np.asarray(values, np.float64).ravel()
    if not len(numbers):
        return {}
    found = {
        "mean": float(numbers.mean()),
        "std": float(numbers.std()),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
    }
    for share, value in zip(QUANTILES, np.percentile(numbers, QUANTILES), strict=True):
        found[f"p{share}"] = float(value)
    return found
