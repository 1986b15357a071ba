"""What is told of a crash, and what is not."""

from __future__ import annotations

import pytest

from grandstand.client.failure import LAST_CHARACTERS, describe, redacted


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter22",
        "API_KEY: 'hunter22'",
        "Authorization: Bearer hunter22",
        "postgresql://me:hunter22@db/x",
        '{"jwt_secret_key": "hunter22"}',
        "GRANDSTAND_TOKEN=hunter22 python -m x",
    ],
)
def test_secrets_do_not_leave(text: str) -> None:
    assert "hunter22" not in redacted(text, {})
    assert "***" in redacted(text, {})


def test_secrets_of_the_environment_do_not_leave_in_any_form() -> None:
    env = {"DB_PASSWORD": "correct horse", "HOME": "/home/me", "X_TOKEN": "short"}
    told = redacted("it said correct horse in /home/me, short", env)
    assert told == "it said *** in /home/me, short"


def test_ordinary_text_is_left_alone() -> None:
    text = "loss is 0.5 at step 3: see https://example.org/a?b=c"
    assert redacted(text, {}) == text


def test_the_end_of_a_long_traceback_is_kept() -> None:
    try:
        raise ValueError("x" * 3 * LAST_CHARACTERS)
    except ValueError as error:
        told = describe(error, [("versions", {"python": "3"})])
    assert told["type"] == "ValueError"
    assert len(told["traceback"]) == LAST_CHARACTERS
    assert len(told["message"]) <= 2000
    assert told["versions"] == {"python": "3"}
