"""Passwords: hashed with argon2id, slowly on purpose, where nobody else has to wait for it.

A hash takes some 95 ms of CPU and 64 MiB (argon2-cffi's defaults, the low-memory profile of
RFC 9106, section 4). So there is one thread for all of them, with a short line before it: whoever
finds it full is asked to come back, and the server stays quick for everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from grandstand.errors import TooMany, ValidationFailed

T = TypeVar("T")
SHORTEST = 8
"""Characters, as NIST SP 800-63B (3.1.1.2) has it for passwords beside nothing else."""
LONGEST = 1024
MOST_WAITING = 16
COME_BACK_SECONDS = 2.0


class Passwords:
    """Makes and checks hashes."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grandstand-hash")
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """The hash to keep of a new password.

        Raises:
            TooMany: too many wait already.
        """
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether `password` is the one that `kept` was made of; as long for a `kept` of None.

        Raises:
            TooMany: too many wait already.
        """

        def check() -> bool:
            if kept is None and self._nobodys is None:
                self._nobodys = self._hasher.hash("nobody's")
            try:
                return self._hasher.verify(kept or self._nobodys or "", password) and bool(kept)
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(check)

    def outdated(self, kept: str) -> bool:
        """Whether a hash was made with weaker parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise TooMany(
                "too many passwords are being checked",
                code="passwords_busy",
                detail="Come back in a moment.",
                retry_after_seconds=COME_BACK_SECONDS,
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


def check_password(password: str, field: str = "password") -> None:
    """Hold that a new password is long enough to be one.

    Raises:
        ValidationFailed: naming the bound.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise ValidationFailed(
            f"{field}: {SHORTEST} to {LONGEST} characters",
            details={"field": field, "min_length": SHORTEST, "max_length": LONGEST},
        )
