"""The calls most scripts make of wandb, reporting to Grandstand::

    from grandstand.compat import wandb  # was: import wandb

`init`, `log`, `finish`, `config`, `summary` and `run` do what their users expect, `Histogram` and
`Image` too. Other media, tables, artifacts, sweeps and the like are accepted and left out, and that
is said once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from grandstand.client.client import Client
from grandstand.client.encoding import listed, scalar
from grandstand.client.media import DEFAULT_BINS
from grandstand.client.session import Session
from grandstand.compat.saying import say_once
from grandstand.compat.tensorboard import turned
from grandstand.model.media import MAX_BINS

OFFLINE = frozenset({"offline", "dryrun"})
_LEFT_OUT = frozenset(
    {
        "Artifact",
        "Audio",
        "Html",
        "Molecule",
        "Object3D",
        "Plotly",
        "Table",
        "Video",
        "alert",
        "define_metric",
        "log_artifact",
        "log_code",
        "login",
        "mark_preempting",
        "restore",
        "save",
        "setup",
        "unwatch",
        "use_artifact",
        "watch",
    }
)


class Held(MutableMapping[str, Any]):
    """Values by name, as items and as attributes."""

    def __init__(self) -> None:
        object.__setattr__(self, "_values", {})

    def update(self, *args: Any, allow_val_change: bool = False, **more: Any) -> None:
        """Set several values."""
        for name, value in dict(*args, **more).items():
            self[name] = value

    def setdefaults(self, values: Mapping[str, Any]) -> None:
        """Set those that are not set."""
        for name, value in values.items():
            self.setdefault(name, value)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[str(name)] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} in it") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Histogram:
    """How numbers are spread: `sequence`, or the counts and edges of one that is made already."""

    def __init__(
        self, sequence: Any = None, np_histogram: Any = None, num_bins: int = DEFAULT_BINS
    ) -> None:
        self.values = tuple(np_histogram) if np_histogram is not None else sequence
        self.bins = min(num_bins, MAX_BINS)


class Image:
    """A picture: an array (height, width, channels), a tensor (channels, height, width), an image
    of Pillow, a file's path or its bytes."""

    def __init__(
        self, data_or_path: Any, mode: str | None = None, caption: str | None = None, **_: Any
    ) -> None:
        self.image: Any
        if isinstance(data_or_path, (str, os.PathLike)):
            self.image = Path(data_or_path).read_bytes()
        elif isinstance(data_or_path, bytes):
            self.image = data_or_path
        else:  # a tensor's channels come first
            self.image = turned(data_or_path, "CHW" if hasattr(data_or_path, "detach") else "HWC")
        self.caption = caption


_MEDIA = (Histogram, Image)


class Run:
    """One run; `wandb.run` while it lasts.

    Attributes:
        session: where it is reported.
        config: its hyperparameters; what is set after `init` is told with the next `log`.
        summary: the last value of everything logged, and what the script sets itself.
    """

    def __init__(self, session: Session, project: str | None, config: Mapping[str, Any]) -> None:
        self.session = session
        self.project = project
        self.config, self.summary = Held(), Held()
        self.config.update(config)
        self.step = 0
        self._told = dict(self.config)
        self._waiting: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """The session's id."""
        return self.session.session_id

    @property
    def name(self) -> str:
        """The session's own name."""
        return self.session.training_session_id

    @property
    def url(self) -> str | None:
        """The page on which it is watched."""
        return self.session.url

    def log(
        self,
        data: Mapping[str, Any],
        step: int | None = None,
        commit: bool | None = None,
        **_: Any,
    ) -> None:
        """Report values by name. Without `step` every call is a step of its own; with
        ``commit=False`` it is gathered for the next call."""
        self._waiting |= _flat(data)
        if step is not None:
            self.step = step
        if commit is False:
            return
        told, self._waiting = self._waiting, {}
        media = {name: value for name, value in told.items() if isinstance(value, _MEDIA)}
        values = {name: value for name, value in told.items() if name not in media}
        if values:
            self.session.log(values, step=self.step)
        for name, value in media.items():
            if isinstance(value, Histogram):
                self.session.histogram(name, value.values, step=self.step, bins=value.bins)
            else:
                self.session.image(name, value.image, step=self.step, caption=value.caption)
        self.summary.update(values)
        self._tell_config()
        if step is None:
            self.step += 1

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End it: completed, or failed where `exit_code` is not 0."""
        if self._waiting:
            self.log({})
        self._tell_config()
        final = {name: value for name, value in self.summary.items() if _plain(value)}
        status = "failed" if exit_code else "completed"
        reason = f"exit code {exit_code}" if exit_code else None
        self.session.finish(status, reason, final_metrics=final)  # type: ignore[arg-type]
        _forget(self)

    def _tell_config(self) -> None:
        now = dict(self.config)
        if now != self._told:
            changed = {k: v for k, v in now.items() if k not in self._told or self._told[k] != v}
            self.session.event("configuration", config=listed(changed))
            self._told = now

    def __getattr__(self, name: str) -> Any:
        return _left_out(name, "a run")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.session.__exit__(kind, error, trace)
        _forget(self)


run: Run | None = None
"""The run that lasts, None before `init` and after `finish`."""
config = Held()
"""The run's hyperparameters."""
summary = Held()
"""The run's summary."""


def init(
    project: str | None = None,
    *,
    entity: str | None = None,
    name: str | None = None,
    id: str | None = None,
    config: Mapping[str, Any] | Any = None,
    tags: Any = (),
    notes: str | None = None,
    group: str | None = None,
    mode: str | None = None,
    resume: Any = None,
    reinit: Any = None,
    url: str | None = None,
    token: str | None = None,
    **_: Any,
) -> Run:
    """Begin a run; an earlier one of this process is finished first.

    Args:
        project: becomes a tag, as does `group`.
        entity: taken and not needed.
        name: for people.
        id: the session's own id; with `resume`, of the one to go on with.
        config: hyperparameters: a mapping, or an object with attributes (argparse).
        tags: words to find it by.
        notes: told as a text.
        mode: "online", "offline" or "disabled"; else ``WANDB_MODE``, else ``GRANDSTAND_MODE``.
        resume: anything but None, False and "never" goes on with the run of that id.
        reinit: taken and not needed.
        url, token: of the server, as `grandstand.open_session` has them.

    Raises:
        Conflict, Unauthenticated, Forbidden: the server refuses the session.
    """
    global run
    if run is not None:
        run.finish()
    told = _mapping(config)
    said = (mode or os.environ.get("WANDB_MODE") or "").lower() or None
    chosen = "offline" if said in OFFLINE else said
    words = [str(tag) for tag in (tags or ())]
    words += [word for word in (project, group) if word and word not in words]
    with Client(url, token, mode=chosen) as client:
        session = client.open_session(
            id,
            algorithm=str(told.get("algorithm") or told.get("algo") or "unknown"),
            name=name,
            tags=words,
            config=told,
            resume=resume not in (None, False, "never"),
        )
    run = Run(session, project, told)
    _look_at(run)
    if notes:
        session.text("notes", notes)
    return run


def log(
    data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, **more: Any
) -> None:
    """Report values of the run that lasts.

    Raises:
        RuntimeError: `init` was not called.
    """
    if run is None:
        raise RuntimeError("call wandb.init() before wandb.log()")
    run.log(data, step, commit, **more)


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """End the run that lasts, if one does."""
    if run is not None:
        run.finish(exit_code, quiet)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _left_out(name, "grandstand.compat.wandb")


def _left_out(name: str, whose: str) -> Any:
    """Something that takes anything and does nothing, for what is known of wandb.

    Raises:
        AttributeError: nothing of that name is known.
    """
    if name not in _LEFT_OUT:
        raise AttributeError(
            f"{whose} has no {name!r}; there are init, log, finish, config, summary, run, "
            "Histogram, Image"
        )

    def leave_out(*args: Any, **kwargs: Any) -> None:
        say_once(f"wandb {name}", f"wandb.{name} is left out")

    return leave_out


def _look_at(now: Run | None) -> None:
    """Make `wandb.config` and `wandb.summary` those of a run."""
    object.__setattr__(config, "_values", now.config._values if now else {})
    object.__setattr__(summary, "_values", now.summary._values if now else {})


def _forget(ended: Run) -> None:
    global run
    if run is ended:
        run = None
        _look_at(None)


def _mapping(config: Any) -> dict[str, Any]:
    if config is None:
        return {}
    return dict(config) if isinstance(config, Mapping) else dict(vars(config))


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by name, groups by slashes, a list of images by their numbers."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{name}/")
        elif isinstance(value, (list, tuple)) and any(isinstance(one, _MEDIA) for one in value):
            found |= _flat({str(i): one for i, one in enumerate(value)}, f"{name}/")
        elif value is not None:
            found[name] = value
    return found


def _plain(value: Any) -> bool:
    try:
        scalar(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True
