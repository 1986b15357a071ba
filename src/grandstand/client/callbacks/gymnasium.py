"""Gymnasium: wrappers that report the episodes of one environment, or of many side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, SupportsFloat, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray

from grandstand.client.callbacks.camera import Camera
from grandstand.client.callbacks.episodes import Episodes
from grandstand.client.callbacks.orders import hold, listen
from grandstand.client.callbacks.sample import Part, Sample
from grandstand.client.session import Session
from grandstand.insight.spaces import action_names

DECISIONS_PER_SECOND = 4.0
Probabilities: TypeAlias = Callable[[Any], "Mapping[str, float] | Sequence[float] | NDArray[Any]"]
"""From an observation: the probability of each action, by name or in the order of the actions."""
SUCCESS = ("is_success", "success")
"""Where environments say in their info that the goal was reached."""


class _Stand:
    """What both wrappers tell of environment 0 and of finished episodes.

    Args:
        session: where to.
        space: of one environment's actions.
        probabilities: what the policy gives each action, asked a few times a second.
        actions: names of the actions; by default their numbers.
        render: gives a picture of environment 0; None for no frames.
        frame_hz: frames a second at most.
        mode: the environment's render mode.
    """

    def __init__(
        self,
        session: Session,
        space: gym.Space[Any],
        *,
        probabilities: Probabilities | None,
        actions: Sequence[str],
        render: Callable[[], Any] | None,
        frame_hz: float,
        mode: str | None,
    ) -> None:
        self.session = session
        listen(session)
        self.episodes = Episodes(session)
        self.counting = Part("episodes")
        self.camera = Camera(render, frame_hz, mode)
        self.step = 0
        self.decisions = Sample("decisions", DECISIONS_PER_SECOND if probabilities else 0.0)
        self._probabilities = probabilities
        self._names = tuple(actions) or action_names(space)
        self._first = int(space.start) if isinstance(space, gym.spaces.Discrete) else None

    def decide(self, observation: Any, action: Any, episode_step: int) -> None:
        """Report what the policy makes of an observation, if that is due.

        Args:
            observation: what environment 0's agent saw.
            action: what it chose.
            episode_step: steps of the running episode, this one included.
        """
        if self._probabilities is None or perf_counter() < self.decisions.next:
            return
        with self.decisions:
            told = self._probabilities(observation)
            shares: Mapping[str, Any]
            if isinstance(told, Mapping):
                shares = told
            else:
                listed = np.asarray(told, dtype=np.float64).ravel().tolist()
                shares = dict(zip(self._names, listed, strict=True))
            selected = (
                str(np.asarray(action).tolist())
                if self._first is None
                else self._names[int(action) - self._first]
            )
            self.session.decision(
                {name: float(share) for name, share in shares.items()},
                selected_action=selected,
                confidence_score=float(max(shares.values())),
                episode=self.episodes.running,
                step=self.step + 1,
                extra={"episode_step": episode_step},
            )

    def look(self, returns: Sequence[float] | NDArray[np.float64]) -> None:
        """Show environment 0, if that is due.

        Args:
            returns: of the running episodes so far, environment 0's first.
        """
        if perf_counter() < self.camera.next:
            return
        with self.camera:
            self.camera.show(
                self.session,
                episode=self.episodes.running,
                step=self.step,
                ret=float(returns[0]),
            )

    def obey(self) -> None:
        """Stay here while people want the training paused."""
        if self.session.wanted == "paused":
            began = perf_counter()
            hold(self.session)
            self.episodes.pause(perf_counter() - began)


class GrandstandWrapper(gym.Wrapper[Any, Any, Any, Any]):
    """Reports the episodes of an environment::

        with grandstand.open_session("my_run", algorithm="mine") as session:
            env = GrandstandWrapper(gym.make("CartPole-v1"), session)

    What the environment gives and takes is not changed. An episode counts when it ends; one that is
    given up by an early `reset` does not. While people want the training paused, `step` waits; a
    loop that obeys a stop looks at `should_stop`.

    Args:
        env: the environment.
        session: where to; it is not ended here.
        policy_probabilities: from an observation, the probability of each action (by name, or in
            their order); asked a few times a second and shown as a decision.
        actions: names of the actions, for people; by default their numbers.
        frames: whether the environment is shown at play; it must have been made with
            ``render_mode="rgb_array"``.
        frame_hz: frames a second at most, 10 or less; fewer where they would take more than five
            per cent of the time.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        session: Session,
        *,
        policy_probabilities: Probabilities | None = None,
        actions: Sequence[str] = (),
        frames: bool = False,
        frame_hz: float = 5.0,
    ) -> None:
        super().__init__(env)
        self.session = session
        self._stand = _Stand(
            session,
            env.action_space,
            probabilities=policy_probabilities,
            actions=actions,
            render=env.render if frames else None,
            frame_hz=frame_hz,
            mode=env.render_mode,
        )
        self._seen: Any = None
        self._ret = 0.0
        self._length = 0

    def should_stop(self) -> bool:
        """Whether people asked the training to stop."""
        return self.session.should_stop()

    @property
    def episodes_done(self) -> int:
        """Episodes reported so far."""
        return self._stand.episodes.count

    def decision(
        self, action_probabilities: Mapping[str, float] | None = None, **told: Any
    ) -> None:
        """`Session.decision`, with the running episode and the step filled in."""
        usual = {"episode": self._stand.episodes.running, "step": self._stand.step}
        self.session.decision(action_probabilities, **{**usual, **told})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; see `gymnasium.Env.reset`."""
        self._seen, info = self.env.reset(seed=seed, options=options)
        self._ret, self._length = 0.0, 0
        return self._seen, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Act; see `gymnasium.Env.step`."""
        stand = self._stand
        stand.obey()
        stand.decide(self._seen, action, self._length + 1)
        self._seen, reward, terminated, truncated, info = self.env.step(action)
        stand.step += 1
        self._length += 1
        if stand.counting.works:
            with stand.counting:
                self._ret += float(reward)
                stand.look([self._ret])
                if terminated or truncated:
                    stand.episodes.add(
                        self._ret,
                        self._length,
                        step=stand.step,
                        success=_success(info),
                        more={"terminated": bool(terminated), "truncated": bool(truncated)},
                    )
        return self._seen, reward, terminated, truncated, info


class GrandstandVectorWrapper(VectorWrapper[Any, Any, Any, Any, Any]):
    """Reports the episodes of many environments side by side, each once::

        envs = GrandstandVectorWrapper(gym.make_vec("CartPole-v1", num_envs=8), session)

    It follows the environments' autoreset mode: with `NEXT_STEP` the step that only resets counts
    for nothing, with `SAME_STEP` the next episode has begun when the last one is told of, and with
    `DISABLED` it begins with a `reset` (of all, or of those in ``options["reset_mask"]``).
    Decisions and frames are those of environment 0. All else is as for `GrandstandWrapper`.

    Args:
        envs: the environments; without a mode in their metadata they are taken for `NEXT_STEP`.
        session: where to; it is not ended here.
        policy_probabilities: likewise, from one observation of environment 0.
        actions: likewise.
        frames: likewise, of environment 0.
        frame_hz: likewise.
    """

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        session: Session,
        *,
        policy_probabilities: Probabilities | None = None,
        actions: Sequence[str] = (),
        frames: bool = False,
        frame_hz: float = 5.0,
    ) -> None:
        super().__init__(envs)
        self.session = session
        self._stand = _Stand(
            session,
            envs.single_action_space,
            probabilities=policy_probabilities,
            actions=actions,
            render=self._picture if frames else None,
            frame_hz=frame_hz,
            mode=envs.render_mode,
        )
        mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._resets_next = mode is AutoresetMode.NEXT_STEP
        self._asked = policy_probabilities is not None
        self._seen: Any = None
        self._returns: NDArray[np.float64] = np.zeros(self.num_envs)
        self._calls = 0
        self._begun_at: NDArray[np.int64] = np.zeros(self.num_envs, np.int64)
        self._over: NDArray[np.bool_] = np.zeros(self.num_envs, np.bool_)
        self._some_over = False

    def should_stop(self) -> bool:
        """Whether people asked the training to stop."""
        return self.session.should_stop()

    @property
    def episodes_done(self) -> int:
        """Episodes reported so far, of all environments."""
        return self._stand.episodes.count

    def decision(
        self, action_probabilities: Mapping[str, float] | None = None, **told: Any
    ) -> None:
        """`Session.decision`, with the running episode and the step filled in."""
        usual = {"episode": self._stand.episodes.running, "step": self._stand.step}
        self.session.decision(action_probabilities, **{**usual, **told})

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes; see `gymnasium.vector.VectorEnv.reset`."""
        # Looked at first: environments take it out of the options.
        mask = (options or {}).get("reset_mask")
        begun = slice(None) if mask is None else np.array(mask, np.bool_)
        self._seen, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._returns[begun] = 0.0
        self._begun_at[begun] = self._calls
        self._over[begun] = False
        return self._seen, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Act in all environments; see `gymnasium.vector.VectorEnv.step`."""
        stand = self._stand
        stand.obey()
        if self._asked and not self._over[0] and perf_counter() >= stand.decisions.next:
            self._decide(actions)
        self._seen, rewards, terminated, truncated, infos = self.env.step(actions)
        stand.step += self.num_envs
        if stand.counting.works:
            with stand.counting:
                self._count(rewards, terminated, truncated, infos)
        return self._seen, rewards, terminated, truncated, infos

    def _count(self, rewards: Any, terminated: Any, truncated: Any, infos: dict[str, Any]) -> None:
        stand = self._stand
        self._calls += 1
        self._returns += rewards
        if self._some_over:  # these were only reset
            self._returns[self._over] = 0.0
            self._begun_at[self._over] = self._calls
            stand.step -= int(self._over.sum())
        ended: NDArray[np.bool_] = np.logical_or(terminated, truncated)
        some = b"\x01" in ended.tobytes()  # as `any()`, in a tenth of the time
        if self._resets_next or not (some and ended[0]):  # else it shows the next episode already
            stand.look(self._returns)
        if some:
            self._end(ended, terminated, truncated, infos)
        if self._resets_next:
            self._over, self._some_over = ended, some

    def _end(
        self, ended: NDArray[np.bool_], terminated: Any, truncated: Any, infos: dict[str, Any]
    ) -> None:
        """Report the episodes that have just ended."""
        for place in np.flatnonzero(ended).tolist():
            self._stand.episodes.add(
                float(self._returns[place]),
                int(self._calls - self._begun_at[place]),
                step=self._stand.step,
                success=_success_of(infos, place),
                more={
                    "terminated": bool(terminated[place]),
                    "truncated": bool(truncated[place]),
                    "environment": place,
                },
            )
        if not self._resets_next:
            self._returns[ended] = 0.0
            self._begun_at[ended] = self._calls

    def _decide(self, actions: Any) -> None:
        """Report what the policy makes of what environment 0 showed it."""
        observation = next(iter(iterate(self.observation_space, self._seen)))
        action = next(iter(iterate(self.action_space, actions)))
        self._stand.decide(observation, action, int(self._calls - self._begun_at[0]) + 1)

    def _picture(self) -> Any:
        """Environment 0; where the environments can be reached one by one, only that is drawn."""
        inside = getattr(self.env.unwrapped, "envs", None)
        if inside:
            return inside[0].render()
        pictures = self.env.render()
        return pictures[0] if pictures is not None else None


def _success(info: Mapping[str, Any]) -> bool | None:
    """Whether the goal was reached; None where the environment does not say."""
    for name in SUCCESS:
        if name in info:
            return bool(info[name])
    return None


def _success_of(infos: Mapping[str, Any], place: int) -> bool | None:
    """The same of one environment among many, whose infos are arrays with a mask beside each."""
    final = infos.get("final_info")
    if isinstance(final, Mapping):
        return _success_of(final, place)
    if final is not None and final[place] is not None:
        return _success(final[place])
    for name in SUCCESS:
        if name in infos:
            there = infos.get(f"_{name}")
            return bool(infos[name][place]) if there is None or there[place] else None
    return None
