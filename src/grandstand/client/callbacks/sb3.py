"""Stable-Baselines3: a callback that reports a training and lets people steer it, and a writer for
its logger."""

from __future__ import annotations

import atexit
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor, is_vecenv_wrapped

from grandstand.client.address import Mode
from grandstand.client.callbacks.camera import Camera
from grandstand.client.callbacks.episodes import Episodes
from grandstand.client.callbacks.orders import STOPPED, hold, listen
from grandstand.client.callbacks.sample import Part, Sample
from grandstand.client.callbacks.sb3_settings import environment_of, settings_of
from grandstand.client.client import Client, open_session
from grandstand.client.session import Session
from grandstand.insight.sb3 import Moment, decided
from grandstand.insight.spaces import action_names as names_of

DECISIONS_PER_SECOND = 4.0
OURS = "grandstand"
"""Excludes a value from what `GrandstandOutputFormat` writes, as others' names do from theirs."""
KNOWN = {
    "train/loss": "loss_value",
    "train/learning_rate": "learning_rate",
    "rollout/exploration_rate": "epsilon",
    "time/fps": "actions_per_second",
}
"""The logger's names that are also fields of a metrics record."""
MONITOR_KEYS = frozenset({"r", "l", "t"})


class GrandstandOutputFormat(KVWriter):
    """Sends what Stable-Baselines3's logger writes to a session, beside its other outputs.

    Scalars arrive under the logger's names, at the step the logger gives; texts, pictures and
    histograms are left out. ``logger.record(…, exclude="grandstand")`` keeps a value out.

    Args:
        session: where to.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Report the scalars among `key_values`; called by the logger."""
        told: dict[str, Any] = {}
        for name, value in key_values.items():
            if not isinstance(value, (bool, int, float, np.number, np.bool_)):
                continue
            if OURS in (key_excluded.get(name) or ()):
                continue
            told[name] = value
            if name in KNOWN:
                told[KNOWN[name]] = value
        if told:
            self.session.log(told, step=step)

    def close(self) -> None:
        """Nothing is held; the session goes on."""


class GrandstandCallback(BaseCallback):
    """Reports a training of Stable-Baselines3 and lets people pause and stop it::

        with GrandstandCallback("my_run") as callback:
            model.learn(100_000, callback=callback)

    It tells of every finished episode, of what the logger writes, and a few times a second of what
    the agent of environment 0 weighed and chose. Nothing of what is learned changes by it: it draws
    no random number. As a context manager it ends its session: completed, stopped by people, or
    failed with the reason. Without ``with``, a session it opened is ended when `learn` ends; the
    library tells a callback nothing of an exception, so one that leaves `learn` is told when the
    process ends by it. A further `learn` goes on in the same session.

    Args:
        session: a session that is open already, or a name for the one to open; a fresh one if
            not given.
        url: the server's, see `grandstand.open_session`; this and the following for a session that
            is opened here.
        token: likewise.
        mode: likewise.
        decisions: whether they are reported.
        frames: whether environment 0 is shown at play; it must have been made with
            ``render_mode="rgb_array"``.
        frame_hz: frames a second at most, 10 or less; fewer where they would take more than five
            per cent of the time (decisions: half a per cent).
        actions: names of the actions (of a continuous action: of its numbers), for people.
        config: what to tell beside the hyperparameters, anything JSON can hold.
        verbose: see `BaseCallback`.
        options: name, tags, resume and the others of `Client.open_session`.

    Attributes:
        session: the session, once training has begun; None before.
        stopped: whether people stopped it.

    Raises:
        Conflict, ValidationFailed, Unauthenticated, Forbidden: from `learn`, before it begins,
            where the server refuses the session. (One that is away refuses nothing.)
    """

    def __init__(
        self,
        session: Session | str | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        mode: str | None = None,
        decisions: bool = True,
        frames: bool = False,
        frame_hz: float = 5.0,
        actions: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        verbose: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(verbose)
        self.session = session if isinstance(session, Session) else None
        self.stopped = False
        self._given = self.session is not None
        self._name = session if isinstance(session, str) else None
        self._opening = {**options, "url": url, "token": token, "mode": mode}
        self._config = dict(config or {})
        self._actions = tuple(actions)
        self._frame_hz = frame_hz if frames else 0.0
        self._within = False
        self._ended = False
        self._episodes: Episodes | None = None
        self._writer: GrandstandOutputFormat | None = None
        self._counting = Part("episodes")
        self._decisions = Sample("decisions", DECISIONS_PER_SECOND if decisions else 0.0)
        self._camera = Camera()
        self._returns: list[float] = []
        self._begun_at: list[int] = []
        self._monitored = False
        self._original_reward: Callable[[], Any] | None = None

    # ---- the library's calls -----------------------------------------------------------------

    def _on_training_start(self) -> None:
        session = self._open()
        if self._episodes is None:
            self._episodes = Episodes(session, count=self._earlier_episodes(session))
        self._episodes.session = session
        self.stopped = False
        listen(session)
        with self._counting:
            self._prepare()
        with Part("the logger's scalars"):
            self._join_logger(session)

    def _on_step(self) -> bool:
        session, episodes = self.session, self._episodes
        assert session is not None
        assert episodes is not None
        now = perf_counter()
        if now >= self._decisions.next:
            with self._decisions:
                self._decide(session, episodes)
        if self._counting.works:
            with self._counting:
                self._count(episodes)
        if now >= self._camera.next:
            with self._camera:
                self._camera.show(
                    session,
                    episode=episodes.running,
                    step=self.num_timesteps,
                    ret=self._returns[0],
                )
        if session.wanted == "running":
            return True
        return self._obey(session, episodes)

    def _on_training_end(self) -> None:
        self._leave_logger(last_words=True)
        if self._within:
            return
        if not self._given:
            self._finish()
        elif self.stopped and self.session is not None:
            self.session.finish("stopped", STOPPED)

    # ---- beginning and end -------------------------------------------------------------------

    def _open(self) -> Session:
        """The session to report to; a new one where there is none yet, or the last has ended."""
        settings: dict[str, Any] = {}
        with Part("hyperparameters"):
            settings = settings_of(self.model)
            settings["environment"] = environment_of(self.training_env)
        settings |= {
            "environments": self.training_env.num_envs,
            "total_timesteps": self.locals.get("total_timesteps"),
            **self._config,
        }
        algorithm = type(self.model).__name__
        if self.session is not None and (self._given or not self._ended):
            self.session.event("training_started", algorithm=algorithm, config=settings)
            return self.session
        more = dict(self._opening)
        if self.session is not None:  # ended with the last training
            self._name, more["resume"] = self.session.training_session_id, True
        self.session = open_session(self._name, algorithm=algorithm, config=settings, **more)
        self._ended = False
        if not self._within:
            atexit.register(self._at_exit)
        return self.session

    def _earlier_episodes(self, session: Session) -> int:
        """Episodes that a session had before, where one of another process is gone on with."""
        if self._given or not self._opening.get("resume"):
            return 0
        told = {name: self._opening[name] for name in ("token", "mode")}
        with Part("earlier episodes"), Client(self._opening["url"], **told) as client:
            if client.mode is Mode.ONLINE:
                return client.session(session.session_id).current_episode
        return 0

    def _finish(self) -> None:
        """End the session of a training that ended by itself, or was stopped."""
        self._ended = True
        atexit.unregister(self._at_exit)
        if self.session is not None:
            self.session.finish(
                "stopped" if self.stopped else "completed",
                STOPPED if self.stopped else None,
                final_metrics=self._episodes.summary() if self._episodes is not None else None,
            )

    def _at_exit(self) -> None:
        """Say how it ended, in a process that ends in the middle of `learn`."""
        if self.session is None:
            return
        error = getattr(sys, "last_value", None)
        if isinstance(error, BaseException) and self._is_ours(error):
            self.session.__exit__(type(error), error, error.__traceback__)
        else:
            self.session.finish("stopped", "the process ended in the middle of the training")

    def _is_ours(self, error: BaseException) -> bool:
        """Whether an exception left this model's `learn`, and not something else."""
        return any(
            frame.f_code.co_name == "learn" and frame.f_locals.get("self") is self.model
            for frame, _ in traceback.walk_tb(error.__traceback__)
        )

    def __enter__(self) -> Self:
        self._within = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._within = False
        self._leave_logger(last_words=False)
        if error is None:
            self._finish()
        elif self.session is not None:
            self._ended = True
            self.session.__exit__(kind, error, trace)

    # ---- episodes ----------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Begin to count, where the environments are reset; else go on."""
        envs = self.training_env
        if self.locals.get("reset_num_timesteps", True) or len(self._returns) != envs.num_envs:
            self._returns = [0.0] * envs.num_envs
            self._begun_at = [self.n_calls] * envs.num_envs
        self._monitored = is_vecenv_wrapped(envs, VecMonitor) or all(envs.env_is_wrapped(Monitor))
        normalised = self.model.get_vec_normalize_env()
        self._original_reward = normalised.get_original_reward if normalised is not None else None
        if not self._actions:
            self._actions = names_of(self.model.action_space)
        if self._frame_hz:
            self._camera = Camera(
                lambda: envs.env_method("render", indices=[0])[0], self._frame_hz, envs.render_mode
            )

    def _count(self, episodes: Episodes) -> None:
        """Take in a step of all environments.

        After a pass through a network, NumPy's arithmetic is no longer in the processor's caches
        and takes ten times as long as that of plain numbers, of which there are few here.
        """
        told, returns = self.locals, self._returns
        if not self._monitored or self._frame_hz:
            original = self._original_reward
            rewards = told["rewards"] if original is None else original()
            if self._monitored:
                returns[0] += float(rewards[0])
            else:
                for place, reward in enumerate(rewards.tolist()):
                    returns[place] += reward
        dones = told["dones"].tolist()
        if True in dones:
            for place, done in enumerate(dones):
                if done:
                    self._end(episodes, place, told["infos"][place])

    def _end(self, episodes: Episodes, place: int, info: Mapping[str, Any]) -> None:
        """Report what has just ended in environment `place`."""
        ended = info.get("episode")
        if ended is None and self._monitored:
            return  # a life was lost, the game goes on
        more: dict[str, Any] = {}
        if ended is None:
            ret, length = self._returns[place], self.n_calls - self._begun_at[place]
        else:
            ret, length = float(ended["r"]), int(ended["l"])
            more = {f"episode/{k}": v for k, v in ended.items() if k not in MONITOR_KEYS}
        if len(self._begun_at) > 1:
            more["environment"] = place
        success = info.get("is_success")
        self._returns[place] = 0.0
        self._begun_at[place] = self.n_calls
        episodes.add(
            ret,
            length,
            step=self.num_timesteps,
            success=None if success is None else bool(success),
            more=more,
        )

    def _decide(self, session: Session, episodes: Episodes) -> None:
        """Report what environment 0's agent has just chosen."""
        at = Moment(
            episode=episodes.running,
            step=self.num_timesteps,
            episode_step=self.n_calls - self._begun_at[0],
        )
        session.decision(**decided(self.model, self.locals, self._actions, at).told())

    # ---- steering and the logger -------------------------------------------------------------

    def _obey(self, session: Session, episodes: Episodes) -> bool:
        """Do what people wish; whether the training goes on."""
        began = perf_counter()
        self.stopped = not hold(session)
        episodes.pause(perf_counter() - began)
        return not self.stopped

    def _join_logger(self, session: Session) -> None:
        """Become one more output of the model's logger."""
        self._leave_logger(last_words=False)  # where an exception ended the last `learn`
        self._writer = GrandstandOutputFormat(session)
        self.logger.output_formats.append(self._writer)

    def _leave_logger(self, *, last_words: bool) -> None:
        """Leave the logger as it was; `last_words` of it that no dump has written are told."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        logger = self.logger
        if writer in logger.output_formats:
            logger.output_formats.remove(writer)
        if last_words:
            writer.write(logger.name_to_value, logger.name_to_excluded, self.num_timesteps)
