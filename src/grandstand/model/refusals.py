"""What is wrong with a body, said in words that name the field."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from grandstand.errors import ValidationFailed

LOOK_BYTES: Final = 1 << 22
"""How much may be read again to find out which name of a dictionary is meant."""

_AT = re.compile(r" - at `\$(.*)`$")
_KEY = re.compile(r" - at `key` in `\$(.*)`$")
_KNOWN = (
    (re.compile(r"Object contains unknown field `(.*)`"), "there is no such field"),
    (re.compile(r"Object missing required field `(.*)`"), "is missing"),
)
_STEP = re.compile(r"\[(\d+)\]|\.([^.\[]+)")
_ENUM = re.compile(r"Invalid enum value (.*)")
_NUMBER = 'a number, "NaN", "Infinity" or "-Infinity"'
SOME: Final = "[...]"
"""What stands in a path for a name that the decoder does not tell."""


def refusal(
    error: msgspec.ValidationError, where: str, body: bytes, decoder: msgspec.json.Decoder[Any]
) -> ValidationFailed:
    """The refusal of `body`, which `decoder` did not take.

    Args:
        where: what stands before the names of its fields.

    Returns:
        an error whose `details` have ``field`` (a path such as ``records[3].data.episode``; None
        when it is the body itself) and ``problem``.
    """
    told = str(error)
    path, problem = "", told
    if found := _KEY.search(told):
        path, problem = found.group(1), f"a name in it: {_lower(told[: found.start()])}"
    elif found := _AT.search(told):
        path, problem = found.group(1), _lower(told[: found.start()])
        path = _named(path, told, body, decoder)
    else:
        problem = _lower(told)
    for pattern, words in _KNOWN:
        if field := pattern.fullmatch(problem[:1].upper() + problem[1:]):
            path, problem = f"{path}.{field.group(1)}", words
    if value := _ENUM.fullmatch(problem[:1].upper() + problem[1:]):
        wanted = "one of the record types" if path.endswith(".type") else _NUMBER
        problem = f"expected {wanted}, got {value.group(1)}"
    problem = problem.replace("float | str", "number")
    field_path = where + (path if where else path.lstrip("."))
    return ValidationFailed(
        f"{field_path}: {problem}" if field_path else f"{problem[:1].upper()}{problem[1:]}",
        details={"field": field_path or None, "problem": problem},
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _named(path: str, told: str, body: bytes, decoder: msgspec.json.Decoder[Any]) -> str:
    """`path` with its dictionaries' names in it, where the decoder left them out.

    It does not say which of a dictionary's names it was at, so they are tried one by one.
    """
    made, *parts = path.split(SOME)
    if not parts:
        return path
    try:
        box = [msgspec.json.decode(body)]
    except msgspec.DecodeError:  # a bare NaN further on
        return path
    holder, last = _walk(box, 0, made)
    for i, part in enumerate(parts):
        names = holder[last]
        if not isinstance(names, dict) or len(names) * len(body) > LOOK_BYTES:
            return SOME.join((made, *parts[i:]))
        for name, value in names.items():
            holder[last] = {name: value}
            if _says(told, box[0], decoder):
                break
        else:
            return path
        made = f"{made}.{name}{part}"
        holder, last = _walk(holder[last], name, part)
    return made


def _says(told: str, value: Any, decoder: msgspec.json.Decoder[Any]) -> bool:
    try:
        decoder.decode(msgspec.json.encode(value))
    except msgspec.ValidationError as error:
        return str(error) == told
    return False


def _walk(holder: Any, last: Any, path: str) -> tuple[Any, Any]:
    """What holds the value at `path` below ``holder[last]``, and where in it."""
    for index, name in _STEP.findall(path):
        holder, last = holder[last], int(index) if index else name
    return holder, last
