"""Two servers on one PostgreSQL and one Redis: what happens at one is seen at the other."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
import socketio
from socketio.exceptions import ConnectionError as Refused

from grandstand.bus.redis import RedisBus
from grandstand.model.session import new_id

from .conftest import BOUND_SECONDS, SESSIONS, House, MakeHouse

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


Pair = Sequence[House]


@pytest.fixture
async def make_pair(postgres_url: str, own_redis: Any, make_house: MakeHouse) -> Any:
    async def make(**settings: Any) -> Pair:
        name = f"test-{new_id()}"
        made = [
            await make_house(
                serving=True,
                database__url=postgres_url,
                redis__url=own_redis.url,
                redis__name=name,
                **settings,
            )
            for _ in range(2)
        ]
        await connected(made)
        return made

    return make


@pytest.fixture
async def houses(make_pair: Any) -> Pair:
    made: Pair = await make_pair()
    return made


async def connected(houses: Pair, yes: bool = True) -> None:
    async def all_are() -> bool:
        return all(_bus(house).connected.is_set() is yes for house in houses)

    await House.until(all_are)


def _bus(house: House) -> RedisBus:
    assert isinstance(house.assembly.bus, RedisBus)
    return house.assembly.bus


async def test_a_watcher_at_one_sees_what_is_reported_to_both(houses: Pair) -> None:
    one, other = houses
    await one.open_session()
    async with (
        other.watch("run", "?max_hz=0&since=0") as spectator,
        other.watch("run") as thinned,
    ):
        told = await asyncio.gather(
            *(house.log("run", *range(i * 100, i * 100 + 50)) for i, house in enumerate(houses))
        )
        last = max(told)
        assert last == 101
        messages = await spectator.records(last)
        assert [m["seq"] for m in messages] == list(range(1, last + 1))
        found = await thinned.records(last)
        House.contiguous(found, found[0]["data"].get("skipped_from", found[0]["seq"]) - 1)


async def test_without_redis_live_goes_on_from_the_database(houses: Pair, own_redis: Any) -> None:
    one, other = houses
    await one.open_session()
    async with other.watch("run", "?max_hz=0&since=0") as spectator:
        await one.log("run", 1)
        await spectator.records(2)
        own_redis.stop()
        try:
            await connected(houses, False)
            await one.log("run", 2, 3)
            House.contiguous(await spectator.records(4), 2)
        finally:
            own_redis.start()
        await connected(houses)
        await one.log("run", 4, 5)
        House.contiguous(await spectator.records(6), 4)


async def test_an_order_given_at_one_answers_the_worker_held_at_the_other(
    houses: Pair,
) -> None:
    one, other = houses
    worker = await one.managed()
    path = f"{SESSIONS}/{worker.session_id}"
    body = {"wanted": "running", "wait_seconds": 20}
    before = (await other.ok("GET", path))["last_seen_at"]
    held = asyncio.create_task(
        one.http.post(f"{path}/heartbeat", json=body, headers=worker.headers)
    )

    async def heard() -> bool:
        return bool((await other.ok("GET", path))["last_seen_at"] != before)

    await House.until(heard)
    assert not held.done()
    await other.ok("POST", f"{path}/pause")
    answer = await asyncio.wait_for(held, BOUND_SECONDS)
    assert answer.json()["wanted"] == "paused"


async def test_a_deleted_session_closes_sockets_at_both(houses: Pair) -> None:
    one, other = houses
    await one.open_session()
    async with other.watch("run") as spectator:
        await spectator.next()
        await one.ok("DELETE", f"{SESSIONS}/run", 204, params={"force": "true"})
        assert (await spectator.closed())[0] == 4410


async def test_a_session_deleted_while_redis_is_away_is_seen_in_the_store(
    houses: Pair, own_redis: Any
) -> None:
    one, other = houses
    for name in ("gone", "again"):
        await one.open_session(name)
        await one.log(name, 1, 2, 3)
    async with other.watch("gone") as gone, other.watch("again", "?max_hz=0&since=0") as again:
        await gone.next()
        await again.records(4)
        own_redis.stop()
        try:
            await connected(houses, False)
            for name in ("gone", "again"):
                await one.ok("DELETE", f"{SESSIONS}/{name}", 204, params={"force": "true"})
            await one.open_session("again")  # its seqs begin anew: nobody may take them for old
            assert (await gone.closed())[0] == 4410
            assert (await again.closed())[0] == 4410
            async with other.watch("again", "?max_hz=0&since=0") as anew:
                await one.log("again", 1)
                House.contiguous(await anew.records(2), 0)
        finally:
            own_redis.start()
    await connected(houses)


async def test_a_poll_that_meets_another_server_is_told_why(houses: Pair) -> None:
    one, other = houses
    ask = "/socket.io/?EIO=4&transport=polling"
    opened = json.loads((await one.http.get(ask)).text[1:])
    for method in ("GET", "POST"):
        answer = await other.http.request(method, f"{ask}&sid={opened['sid']}")
        assert (answer.status_code, answer.json()["error"]) == (400, "connection_elsewhere")
        assert "sticky" in answer.json()["detail"]

    # With several processes at one port nothing could make it sticky.
    other.assembly.settings._processes = 2
    answer = await other.http.get(ask)
    assert (answer.status_code, answer.json()["error"]) == (400, "websocket_only")
    assert 'transports: ["websocket"]' in answer.json()["detail"]
    client = socketio.AsyncClient(reconnection=False)
    with pytest.raises(Refused, match="400"):
        await client.connect(other.url)
    await client.connect(other.url, transports=["websocket"])
    await client.disconnect()


async def test_spectators_are_counted_at_both_and_end_with_their_instance(
    houses: Pair,
) -> None:
    one, other = houses
    await one.open_session()

    async def counted(house: House, many: int) -> None:
        async def is_so() -> bool:
            return bool((await house.ok("GET", f"{SESSIONS}/run"))["spectator_count"] == many)

        await House.until(is_so)

    async with one.watch("run"):
        await counted(other, 1)
        async with other.watch("run") as spectator:
            for house in houses:
                await counted(house, 2)
            told = await spectator.event("presence")
            assert told["spectator_count"] == 2
        await counted(one, 1)
    await counted(other, 0)


async def test_who_loses_their_right_at_one_is_put_out_at_the_other(houses: Pair) -> None:
    one, other = houses
    await one.open_session()
    made = await one.ok("POST", f"{SESSIONS}/run/room", 201, json={"access": "public"})
    code = made["room"]["room_code"]

    async def known() -> bool:
        return (await other.http.get(f"/api/rooms/{code}")).status_code == 200

    await House.until(known)
    joined = await other.ok("POST", f"/api/rooms/{code}/join", json={"user_name": "Ada"})
    async with other.watch("run", f"?token={joined['token']}") as spectator:
        await spectator.next()
        await one.ok("DELETE", f"/api/rooms/{code}", 204)
        assert (await spectator.closed())[0] == 4410


async def guess(house: House, password: str) -> int:
    """A try to sign in, all from one address, and what became of it."""
    transport = httpx.ASGITransport(app=house.app, client=("203.0.113.7", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        body = {"name": "root", "password": password}
        return (await http.post("/api/auth/login", json=body)).status_code


async def test_wrong_passwords_are_counted_over_both_and_by_each_without_redis(
    make_pair: Any, own_redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = await make_pair(
        security__enable_auth=True,
        security__jwt_secret_key="s" * 48,
        limits__wrong_passwords="5/hour",
    )
    await one.assembly.accounts.add_user("root", "correct horse", ["admin"])
    codes = [await guess(house, "wrong") for _ in range(3) for house in (one, other)]
    assert codes == [401] * 5 + [429]
    assert await guess(one, "correct horse") == 429

    with caplog.at_level(logging.INFO, "grandstand.limits"):
        own_redis.stop()
        try:
            # Each knows what it saw itself: three and two of them.
            codes = [await guess(house, "wrong") for house in (one, one, one, other, other)]
            assert codes == [401, 401, 429, 401, 401]
        finally:
            own_redis.start()
        await connected([one, other])

        # This Redis comes back without a memory, and what each counted still holds.
        async def back() -> bool:
            assert await guess(one, "wrong") == 429
            await guess(other, "wrong")
            return "counted over all servers again" in caplog.text

        await House.until(back)
        assert await guess(other, "wrong") == 429
    said = [r.getMessage() for r in caplog.records if r.name == "grandstand.limits"]
    assert len([m for m in said if "does not count" in m]) == 2  # one line of each


async def test_what_a_credential_may_send_is_counted_over_both(make_pair: Any) -> None:
    one, other = await make_pair(performance__enable_rate_limiting=True, limits__requests="4/hour")
    answers = [await house.http.get(SESSIONS) for house in (one, other) * 3]
    assert [a.status_code for a in answers] == [200] * 4 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 3600
