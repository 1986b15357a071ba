"""Rooms from the SDK and the command line, against a whole server with real sockets."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import grandstand
from grandstand.client.async_client import AsyncClient
from grandstand.client.watch import Event
from grandstand.errors import Conflict, Forbidden, Gone, NotFound, Unauthenticated
from grandstand.server import ServerConfig, TrainingMetricsServer
from grandstand.server.integration import SpectatorManagerIntegration

from .conftest import House, MakeHouse, until
from .test_watch_command import grandstand as command


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TrainingMetricsServer]:
    config = ServerConfig("127.0.0.1", 0, data_storage_path=tmp_path)
    async with TrainingMetricsServer(config) as server:
        yield server


@pytest.mark.parametrize("remote", [False, True])
async def test_the_documents_example(server: TrainingMetricsServer, remote: bool) -> None:
    metrics_server: Any = server.url if remote else server
    spectator_manager = None
    # As the document has it.
    integration = SpectatorManagerIntegration(metrics_server, spectator_manager)
    session_info = await integration.create_integrated_session(
        training_session_id="training_001",
        model_generation=2,
        algorithm="PPO",
        total_episodes=1000,
        max_spectators=20,
        password_protected=True,
    )
    code, password = session_info["room_code"], session_info["room_password"]
    assert len(code) == 6
    assert len(password) == 12
    assert session_info["join_url"] == f"{server.url}/join/{code}"
    assert session_info["max_spectators"] == 20
    session_id = session_info["session_id"]
    async with grandstand.connect_async(server) as client:
        with pytest.raises(Unauthenticated, match="watched in a room"):
            await client.session(session_id)
        place = await client.join_room(code, "Ann", password=password)
        # Whoever reports goes on without a token.
        await integration.training.update_training_metrics(
            "training_001", episode=1, current_reward=2.5
        )
        assert await integration.training.session("training_001").flush()
        assert (await place.session()).latest["current_reward"] == 2.5  # type: ignore[index]
        curve = await place.history("current_reward")
        assert list(curve["current_reward"]) == [2.5]
        assert [s.name for s in await integration.list_spectators(session_id)] == ["Ann"]
        await integration.close_integrated_session(session_id)
        assert (await client.session(session_id)).status == "completed"
        assert await client.rooms() == []
    with pytest.raises(NotFound):
        await integration.list_spectators(session_id)
    await integration.training.aclose()


async def test_a_session_whose_room_cannot_be_opened_is_ended(
    server: TrainingMetricsServer,
) -> None:
    async with grandstand.connect_async(server) as client:
        integration = SpectatorManagerIntegration(client)
        with pytest.raises(grandstand.GrandstandError, match="max_spectators"):
            await integration.create_integrated_session("t", max_spectators=0)
        assert (await client.session("t")).status == "stopped"
        await client.open_session("shy", algorithm="DQN", enable_spectators=False)
        with pytest.raises(Conflict, match="no spectators"):
            await client.create_room("shy")
        await integration.training.aclose()


class Watcher:
    """Watches from a thread, as a script does."""

    def __init__(self, place: Any, **options: Any) -> None:
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self._place = place
        self._options = options
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self) -> None:
        try:
            for event in self._place.watch(**self._options):
                self.events.append(event)
        except grandstand.GrandstandError as error:
            self.error = error

    async def saw(self, episode: int) -> None:
        async def seen() -> bool:
            return any(e.data.get("episode") == episode for e in self.events)

        await until(seen)

    async def ended(self) -> BaseException | None:
        await asyncio.to_thread(self.thread.join, 15)
        assert not self.thread.is_alive()
        return self.error


async def test_hosting_and_watching(serving: House) -> None:
    await serving.open_session()
    host = grandstand.connect(serving.url)
    opened = await asyncio.to_thread(
        host.create_room, "run", access="password", password="open sesame", name="Show"
    )
    code = opened.room_code
    assert opened.room_password == "open sesame"
    guest = grandstand.connect(serving.url)
    (listed,) = await asyncio.to_thread(guest.rooms)
    assert (listed.name, listed.session_id) == ("Show", None)
    assert (await asyncio.to_thread(host.room, code.lower())).session_id == "run"
    with pytest.raises(Unauthenticated) as caught:
        await asyncio.to_thread(guest.join_room, code, "Ann")
    assert caught.value.code == "password_needed"

    def join(name: str) -> Any:
        return guest.join_room(f"{code[:3]}-{code[3:]}", name, password="open sesame")

    ann, bo = [await asyncio.to_thread(join, name) for name in ("Ann", "Bo")]
    watchers = [Watcher(ann, since=0), Watcher(bo, since=0)]
    await serving.log("run", 1)
    for watcher in watchers:
        await watcher.saw(1)
    assert [s.watching for s in await asyncio.to_thread(host.seats, code)] == [True, True]
    await asyncio.to_thread(host.kick, code, "bo")
    assert isinstance(await watchers[1].ended(), Forbidden)
    with pytest.raises(NotFound) as unknown:
        await asyncio.to_thread(host.kick, code, "zoe")
    assert unknown.value.detail == "There are: Ann."
    room, password = await asyncio.to_thread(lambda: host.change_room(code, access="private"))
    assert (room.access, password) == ("private", None)
    invited = await asyncio.to_thread(host.invite, code)
    assert invited.join_url.startswith(f"{serving.url}/join/{code}#invitation=")
    cy = await asyncio.to_thread(lambda: guest.join_room(code, "Cy", invitation=invited.invitation))
    await asyncio.to_thread(cy.leave)
    with pytest.raises(Forbidden):
        await asyncio.to_thread(cy.renew)
    await asyncio.to_thread(host.close_room, code)
    assert isinstance(await watchers[0].ended(), Gone)
    for client in (host, guest):
        client.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_watching_outlasts_its_token(make_house: MakeHouse, kind: str) -> None:
    house = await make_house(
        serving=True, security__watch_token_minutes=0.02, security__token_leeway_seconds=0
    )
    await house.open_session()
    async with AsyncClient(house.url) as client:
        opened = await client.create_room("run", access="password")
        place = await client.join_room(opened.room_code, "Ann", password=opened.room_password)
        types = ("training_metrics", "training_status", "connection_status")
        events: list[Event] = []

        async def watch() -> None:
            async for event in place.watch(types=types):
                events.append(event)

        watcher = Watcher(place.sync, types=types) if kind == "sync" else None
        if watcher is not None:
            events = watcher.events
        task = asyncio.create_task(watch()) if watcher is None else None
        first = place.token

        async def renewed() -> bool:
            return sum(e.data.get("event") == "authorized" for e in events) >= 3

        await until(renewed)
        assert place.token != first
        with pytest.raises(Unauthenticated):
            await asyncio.to_thread(client.sync.bearing(first).session, "run")
        # The seat is lost behind its back: it takes another.
        seat = place.seat_id
        leave = f"/api/rooms/{opened.room_code}/leave"
        await asyncio.to_thread(client.sync.bearing(place.token).request, "POST", leave, {})

        async def seated_again() -> bool:
            return place.seat_id != seat and any(
                e.data.get("event") == "snapshot" for e in events[2:]
            )

        await until(seated_again)
        await house.log("run", 7)

        async def seen() -> bool:
            return any(e.data.get("episode") == 7 for e in events)

        await until(seen)
        await client.close_room(opened.room_code)
        if watcher is not None:
            assert isinstance(await watcher.ended(), Gone)
        elif task is not None:
            with pytest.raises(Gone):
                await asyncio.wait_for(task, 15)


async def test_from_the_command_line(serving: House) -> None:
    url = serving.url
    await serving.open_session("shown")
    code, told = await command(url, "rooms", "open", "shown", "--access", "private", "--name", "S")
    assert code == 0, told
    found = dict(re.findall(r"^(code|join at|host token) +(\S+)$", told, re.MULTILINE))
    room, host = found["code"], found["host token"]
    invitation = found["join at"].partition("#invitation=")[2]
    assert (await command(url, "rooms", "list"))[1] == "There are none.\n"
    listed = (await command(url, "rooms", "list", "--token", host))[1]
    assert listed == f"{room}  private  0/50 seats  S  shown\n"

    watch = ("rooms", "watch", room, "--name", "Ann", "--invitation", invitation, "--plain")
    watching = asyncio.create_task(command(url, *watch))
    seats = ""

    async def sits() -> bool:
        nonlocal seats
        seats = (await command(url, "rooms", "seats", room, "--token", host))[1]
        return seats.startswith("Ann  watches  since ")

    await until(sits)
    await serving.log("shown", 5)
    assert (await command(url, "rooms", "kick", room, "bo", "--token", host))[0] != 0
    assert (await command(url, "rooms", "kick", room, "ann", "--token", host))[0] == 0
    status, out = await watching
    assert status == 2
    assert "episode=5" in out
    assert "removed from this room" in out
    link = (await command(url, "rooms", "invite", room, "--token", host))[1]
    assert link.startswith(f"{url}/join/{room}#invitation=")
    assert (await command(url, "rooms", "close", room))[0] == 2  # without the host token
    folder = str(serving.assembly.settings.data_storage_path)
    again = (await command(url, "rooms", "host", room, "--data-dir", folder))[1].strip()
    assert again != host
    assert (await command(url, "rooms", "close", room, "--token", again)) == (
        0,
        f"room {room} is closed\n",
    )


async def test_rooms_can_be_switched_off(make_house: MakeHouse) -> None:
    house = await make_house(integration__enable_spectator_integration=False)
    await house.open_session()
    told = await house.ok("POST", "/api/training/sessions/run/room", 409, json={})
    assert told["error"] == "rooms_disabled"
