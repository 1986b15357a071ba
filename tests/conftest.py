"""What every kind of test may lean on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent
OURS = ("GRANDSTAND_", "TRAINING_METRICS_")
SHORT = {
    "CORS_ORIGINS",
    "DATABASE_URL",
    "DATA_STORAGE_PATH",
    "GAME_SERVER_URL",
    "JWT_SECRET_KEY",
    "MAX_CONNECTIONS_PER_SESSION",
    "REDIS_URL",
    "WEB_CONCURRENCY",
}

# How slow a machine is fails no test. CI looks at the same examples every time.
settings.register_profile(
    "here",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("here")


@pytest.fixture(autouse=True, scope="session")
def plain_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Settings from the developer's shell do not reach the tests, nor the servers they start, and
    what a session leaves on disk lies in a folder of the tests."""
    taken = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(OURS) or name in SHORT
    }
    os.environ["GRANDSTAND_SPOOL"] = str(tmp_path_factory.mktemp("spool"))
    yield
    del os.environ["GRANDSTAND_SPOOL"]
    os.environ.update(taken)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A PostgreSQL server, see `tests/postgres.py`. Without one a test fails, it is not skipped."""
    from .postgres import Postgres  # loads the driver, which most tests do without

    server = Postgres(os.environ.get("TEST_DATABASE_URL"))
    yield server
    server.end()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Any]:
    """One that is ours, whatever TEST_DATABASE_URL says: it may be stopped and started."""
    from .postgres import Postgres

    server = Postgres()
    yield server
    server.end()


@pytest.fixture
def postgres_url(postgres: Any) -> Iterator[str]:
    """A database of its own in that server, with every table."""
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def redis() -> Iterator[Any]:
    """A Redis, see `tests/redis.py`. Whoever uses it takes a name of its own in it."""
    from .redis import RedisServer

    server = RedisServer(os.environ.get("TEST_REDIS_URL"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def own_redis() -> Iterator[Any]:
    """One that is ours, whatever TEST_REDIS_URL says: it may be stopped and started."""
    from .redis import RedisServer

    server = RedisServer()
    yield server
    server.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last.

    Playwright's blocking interface keeps an event loop running in its process from the first test
    that opens a browser to the end, and no async test can run after it there. `make test` hands out
    whole files in this order (`--no-loadscope-reorder`), so none does.
    """
    items.sort(key=lambda item: "browser" in item.path.relative_to(ROOT).parts)
