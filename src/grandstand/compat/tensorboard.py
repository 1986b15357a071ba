"""A `SummaryWriter` that reports to Grandstand instead of writing event files::

    from grandstand.compat.tensorboard import SummaryWriter  # was: torch.utils.tensorboard

Scalars become curves under their tags. Where a tag is what this field calls an episode's return or
length (`client/tensorboard/groups.ALSO`), the documented field is told too, and returns are counted
as episodes, as `grandstand tail` does with event files. Texts, histograms and images are the
session's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grandstand.client.client import open_session
from grandstand.client.media import DEFAULT_BINS, array_of
from grandstand.client.session import Session
from grandstand.client.tensorboard.follow import EPISODE, HYPERPARAMETERS, hyperparameters
from grandstand.client.tensorboard.groups import ALSO
from grandstand.compat.saying import say_once
from grandstand.model.media import MAX_BINS


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
        """Report a text; a table of hyperparameters as what it holds."""
        if tag in HYPERPARAMETERS and (found := hyperparameters(text_string)):
            self.session.event("configuration", config=found)
            return
        self.session.text(
            tag, text_string, step=global_step, episode=self._episodes, at=_moment(walltime)
        )

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
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """Report a histogram, of `bins` bins where that is a number, else of 64."""
        most = max_bins or MAX_BINS
        self.session.histogram(
            tag,
            values,
            step=global_step,
            episode=self._episodes,
            bins=min(bins if isinstance(bins, int) else DEFAULT_BINS, most, MAX_BINS),
            at=_moment(walltime),
        )

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Report an image.

        Args:
            tag: its name.
            img_tensor: an array or tensor of bytes, or of floats from 0 to 1.
            global_step: steps so far.
            walltime: when, in seconds since 1970; now if not given.
            dataformats: which axis is what: CHW, HWC or HW.
        """
        self.session.image(
            tag,
            turned(img_tensor, dataformats),
            step=global_step,
            episode=self._episodes,
            at=_moment(walltime),
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("add_"):
            raise AttributeError(f"SummaryWriter has no attribute {name!r}")

        def leave_out(*args: Any, **kwargs: Any) -> None:
            say_once(name, f"SummaryWriter.{name} is not reported")

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


def turned(image: Any, axes: str) -> Any:
    """An array or tensor with the axes in the order height, width, channels.

    Args:
        axes: those it has, such as CHW; where they are others than it has, it stays as it is.
    """
    import numpy as np

    picture = np.asarray(array_of(image))
    order = [axes.upper().find(axis) for axis in "HWC"[: picture.ndim]]
    return picture.transpose(order) if sorted(order) == list(range(picture.ndim)) else picture


def _moment(walltime: float | None) -> datetime | None:
    return None if walltime is None else datetime.fromtimestamp(walltime, UTC)
