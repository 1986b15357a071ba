"""Helpers for async training code and for systems that have spectators of their own."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from grandstand.client.async_client import AsyncClient, AsyncSession
from grandstand.client.client import Target
from grandstand.client.session import EndStatus
from grandstand.clock import Clock, SystemClock
from grandstand.errors import NotFound

WINDOW = 100
"""Episodes that averages and the win rate look back over."""


@runtime_checkable
class Startable(Protocol):
    """A server object that can serve on the running event loop."""

    running: bool

    async def start(self) -> str:
        """Serve; twice is harmless."""


Server: TypeAlias = Target | AsyncClient
"""A server object, a URL, or a client that is connected already."""


class TrainingEngineIntegration:
    """Reports trainings by the names the training code gives them.

    Args:
        server: where to; a server object that is not running is started on first use, on the
            running event loop (whoever made it closes it: ``await server.aclose()``).
        token: when it asks for one.
    """

    def __init__(self, server: Server = None, *, token: str | None = None) -> None:
        self._server = server
        self._token = token
        self._client: AsyncClient | None = None
        self._sessions: dict[str, AsyncSession] = {}

    async def client(self) -> AsyncClient:
        """The client it speaks through, connected."""
        if self._client is None:
            server = self._server
            if isinstance(server, AsyncClient):
                self._client = server
            else:
                if isinstance(server, Startable) and not server.running:
                    await server.start()
                self._client = AsyncClient(server, self._token)
        return self._client

    async def register_training_session(
        self,
        training_id: str,
        model_generation: int = 1,
        algorithm: str = "unknown",
        total_episodes: int | None = None,
        **options: Any,
    ) -> str:
        """Open a session for a training; returns its session id.

        Args:
            training_id: the training code's own name for it.
            model_generation: from 0.
            algorithm: such as "DQN".
            total_episodes: how many are planned.
            options: as for `grandstand.open_session`: name, tags, config, resume, room_code …

        Raises:
            Conflict: there is a session of that name (``resume=True`` goes on with it).
        """
        client = await self.client()
        session = await client.open_session(
            training_id,
            algorithm=algorithm,
            total_episodes=total_episodes,
            model_generation=model_generation,
            **options,
        )
        self._sessions[training_id] = session
        return session.session_id

    def session(self, training_id: str) -> AsyncSession:
        """The session of a registered training.

        Raises:
            NotFound: it is not registered here.
        """
        try:
            return self._sessions[training_id]
        except KeyError:
            raise NotFound(
                f"no training {training_id} is registered here",
                code="training_not_registered",
                detail="Await register_training_session(training_id=…) first.",
            ) from None

    async def update_training_metrics(
        self, training_id: str, episode: int, step: int | None = None, **metrics: Any
    ) -> None:
        """Report an episode's metrics; returns at once, the sending happens beside."""
        self.session(training_id).log(metrics, episode=episode, step=step)

    async def update_bot_decision(
        self,
        training_id: str,
        action_probabilities: Mapping[str, float] | None = None,
        **decision: Any,
    ) -> None:
        """Report what the agent weighed and chose; see `Session.decision`."""
        self.session(training_id).decision(action_probabilities, **decision)

    async def update_performance_graph(
        self,
        training_id: str,
        graph_id: str,
        data_points: Mapping[str, Sequence[Any]] | None = None,
        **graph: Any,
    ) -> None:
        """Append points to a graph; see `Session.graph`."""
        self.session(training_id).graph(graph_id, data_points, **graph)

    async def finish_training_session(
        self, training_id: str, status: EndStatus = "completed", reason: str | None = None
    ) -> bool:
        """Say how a training ended, once everything it reported is stored.

        Returns:
            Whether the server knows.
        """
        session = self.session(training_id)
        del self._sessions[training_id]
        return await session.finish(status, reason)

    async def aclose(self) -> None:
        """Finish what is open as stopped and let go of the connection."""
        for training_id in list(self._sessions):
            await self.finish_training_session(training_id, "stopped", "the integration closed")
        if self._client is not None and self._client is not self._server:
            await self._client.aclose()


@dataclass
class _Tally:
    """What a collector remembers of one training."""

    began: float
    episodes: int = 0
    best: float | None = None
    rewards: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    wins: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))


class MetricsCollector:
    """Counts episodes and keeps the running figures, so that training code need not.

    Args:
        integration: reports for it.
        clock: for the time elapsed.
    """

    def __init__(self, integration: TrainingEngineIntegration, clock: Clock | None = None) -> None:
        self._integration = integration
        self._clock = clock or SystemClock()
        self._tallies: dict[str, _Tally] = {}

    async def record_episode_end(
        self,
        training_id: str,
        reward: float,
        episode_length: int | None = None,
        won: bool | None = None,
        total_episodes: int | None = None,
        **metrics: Any,
    ) -> dict[str, Any]:
        """Report a finished episode, with average, best and win rate.

        Args:
            training_id: a registered training.
            reward: the episode's return.
            episode_length: its steps.
            won: whether the agent won; None where there is no winning.
            total_episodes: how many are planned.
            metrics: further ones, such as loss_value or epsilon.

        Returns:
            What was reported. `average_reward` is the mean of the last 100 episodes, `win_rate`
            the per cent won of the last 100 that could be won, `training_time_elapsed` seconds
            since the first episode was recorded.
        """
        now = self._clock.monotonic()
        tally = self._tallies.setdefault(training_id, _Tally(now))
        reward = float(reward)
        tally.episodes += 1
        tally.rewards.append(reward)
        tally.best = reward if tally.best is None else max(tally.best, reward)
        told: dict[str, Any] = {
            "episode": tally.episodes,
            "current_reward": reward,
            "average_reward": sum(tally.rewards) / len(tally.rewards),
            "best_reward": tally.best,
            "training_time_elapsed": now - tally.began,
        }
        if won is not None:
            tally.wins.append(bool(won))
            told["win_rate"] = 100.0 * sum(tally.wins) / len(tally.wins)
        if episode_length is not None:
            told["episode_length"] = episode_length
        if total_episodes is not None:
            told["total_episodes"] = total_episodes
        told |= metrics
        await self._integration.update_training_metrics(training_id, **told)
        return told

    def reset(self, training_id: str) -> None:
        """Forget a training's figures."""
        self._tallies.pop(training_id, None)


class SpectatorManager(Protocol):
    """A system with rooms of its own. Its methods may be async or not."""

    def create_room(
        self, session_id: str, **options: Any
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Make a room for a session; returns at least `room_code`, and `room_password` if any."""

    def close_room(self, room_code: str) -> object:
        """Close it."""

    def list_spectators(self, room_code: str) -> Sequence[Any] | Awaitable[Sequence[Any]]:
        """Who is in it."""


class SpectatorManagerIntegration:
    """Sessions that come with a room.

    Args:
        server: as for `TrainingEngineIntegration`.
        spectator_manager: makes the rooms; None: the server does.
        token: when the server asks for one; for rooms of its own it must be allowed to operate.
    """

    def __init__(
        self,
        server: Server = None,
        spectator_manager: SpectatorManager | None = None,
        *,
        token: str | None = None,
    ) -> None:
        self.training = TrainingEngineIntegration(server, token=token)
        """Reports into the sessions made here, by their `training_session_id`."""
        self._manager = spectator_manager
        self._rooms: dict[str, str] = {}

    async def create_integrated_session(
        self,
        training_session_id: str,
        model_generation: int = 1,
        algorithm: str = "unknown",
        total_episodes: int | None = None,
        **room_options: Any,
    ) -> dict[str, Any]:
        """Make a session, and a room for it.

        Args:
            training_session_id: the training code's own name for it.
            model_generation: from 0.
            algorithm: such as "PPO".
            total_episodes: how many are planned.
            room_options: max_spectators, password_protected and whatever else the spectator system
                takes; for the server's own rooms what `Client.create_room` does.

        Returns:
            session_id, training_session_id, room_code, room_password (None without one) and
            whatever else there is to say of the room; of the server's own, host_token and join_url.

        Raises:
            Conflict: there is a session of that name, or it is to have no room; whichever of the
                two was made is ended again.
        """
        about = (training_session_id, model_generation, algorithm, total_episodes)
        if self._manager is None:
            room, session_id = await self._own_room(*about, room_options)
        else:
            room, session_id = await self._managed_room(self._manager, *about, room_options)
        self._rooms[session_id] = str(room["room_code"])
        return {
            **room,
            "room_code": str(room["room_code"]),
            "room_password": room.get("room_password"),
            "session_id": session_id,
            "training_session_id": training_session_id,
        }

    async def _own_room(
        self,
        training_id: str,
        generation: int,
        algorithm: str,
        episodes: int | None,
        options: Mapping[str, Any],
    ) -> tuple[dict[str, Any], str]:
        """A session, and a room of the server's in which it is watched."""
        asked = dict(options)
        if asked.pop("password_protected", False):
            asked.setdefault("access", "password")
        training = self.training
        session_id = await training.register_training_session(
            training_id, generation, algorithm, episodes
        )
        try:
            client = await training.client()
            opened = await client.create_room(session_id, **asked)
        except BaseException:
            await training.finish_training_session(
                training_id, "stopped", "its room could not be opened"
            )
            raise
        room = {
            "room_code": opened.room_code,
            "room_password": opened.room_password,
            "host_token": opened.host_token,
            "join_url": opened.join_url,
            "max_spectators": opened.room.max_spectators,
        }
        return room, session_id

    async def _managed_room(
        self,
        manager: SpectatorManager,
        training_id: str,
        generation: int,
        algorithm: str,
        episodes: int | None,
        options: Mapping[str, Any],
    ) -> tuple[dict[str, Any], str]:
        """A room in somebody else's spectator system, and a session that names it."""
        room = dict(await _maybe(manager.create_room(training_id, **options)))
        code = str(room["room_code"])
        try:
            session_id = await self.training.register_training_session(
                training_id, generation, algorithm, episodes, room_code=code
            )
        except BaseException:
            await _maybe(manager.close_room(code))
            raise
        return room, session_id

    async def list_spectators(self, session_id: str) -> list[Any]:
        """Who is in a session's room; of the server's own rooms, their `SeatInfo`.

        Raises:
            NotFound: the session was not made here.
        """
        code = self._room(session_id)
        if self._manager is not None:
            return list(await _maybe(self._manager.list_spectators(code)))
        client = await self.training.client()
        return [seat for seat in await client.seats(code) if seat.removed_at is None]

    async def close_integrated_session(
        self, session_id: str, status: EndStatus = "completed", reason: str | None = None
    ) -> None:
        """Finish the session and close its room.

        Raises:
            NotFound: the session was not made here.
        """
        code = self._room(session_id)
        own = [t for t, s in self.training._sessions.items() if s.session_id == session_id]
        for training_id in own:
            await self.training.finish_training_session(training_id, status, reason)
        del self._rooms[session_id]
        if self._manager is not None:
            await _maybe(self._manager.close_room(code))
        else:
            await (await self.training.client()).close_room(code)

    def _room(self, session_id: str) -> str:
        try:
            return self._rooms[session_id]
        except KeyError:
            raise NotFound(
                f"session {session_id} has no room made here", code="room_not_found"
            ) from None


async def _maybe(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result
