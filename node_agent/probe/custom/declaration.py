"""Custom checks as the configuration declares them."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

MAXIMUM_CHECKS: Final = 32
_MAXIMUM_ARGUMENTS: Final = 64
_MAXIMUM_ARGUMENT: Final = 4_096
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_KEYS: Final = ("name", "command", "timeout_seconds", "period_seconds")
_TIMEOUT_SECONDS: Final = 10.0
_PERIOD_SECONDS: Final = 60.0
_TIMEOUT_RANGE: Final = (0.1, 600.0)
_PERIOD_RANGE: Final = (1.0, 86_400.0)


@dataclass(frozen=True, slots=True)
class CustomCheck:
    """An executable that the daemon runs from time to time, and that says by JSON how something stands."""

    name: str
    """Letters, digits, `.`, `_`, `-`; at most 63; unique on the host."""
    command: tuple[str, ...]
    """The absolute path of the executable and its arguments."""
    timeout_seconds: float = _TIMEOUT_SECONDS
    period_seconds: float = _PERIOD_SECONDS
    """From the end of one run to the start of the next."""


def parse_checks(value: object) -> tuple[CustomCheck, ...]:
    """Return the checks of the configuration's `[[checks]]`, a list of tables.

    Raises:
        ValueError: names the check and the key that is wrong, and what it must be.
    """
    if not isinstance(value, (list, tuple)):
        raise ValueError("checks must be a list of tables: write [[checks]] before each check.")  # noqa: TRY004 - one kind of error for whatever is wrong in the file
    if len(value) > MAXIMUM_CHECKS:
        raise ValueError(f"checks holds {len(value)} checks; at most {MAXIMUM_CHECKS} are allowed.")
    checks: list[CustomCheck] = []
    for number, entry in enumerate(value, start=1):
        check = _parse_check(number, entry)
        if any(check.name == other.name for other in checks):
            raise ValueError(f"checks: the name {check.name!r} is given twice; each check needs a name of its own.")
        checks.append(check)
    return tuple(checks)


def _parse_check(number: int, entry: object) -> CustomCheck:
    where = f"checks, entry {number}"
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: must be a table, not {entry!r}.")  # noqa: TRY004 - one kind of error for whatever is wrong in the file
    # Any: what TOML gave; each value is checked below.
    table: dict[str, Any] = entry
    unknown = sorted(str(key) for key in table.keys() - set(_KEYS))
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}. Known are: {', '.join(_KEYS)}.")
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{where}: name is {name!r}; it must begin with a letter or digit and hold only letters, digits, "
            "'.', '_' and '-', at most 63 of them."
        )
    where = f"checks, {name!r}"
    timeout_seconds = _seconds(where, "timeout_seconds", table.get("timeout_seconds", _TIMEOUT_SECONDS), _TIMEOUT_RANGE)
    period_seconds = _seconds(where, "period_seconds", table.get("period_seconds", _PERIOD_SECONDS), _PERIOD_RANGE)
    return CustomCheck(name, _command(where, table.get("command")), timeout_seconds, period_seconds)


def _command(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(word, str) for word in value):
        raise ValueError(f"{where}: command is {value!r}; it must be a list: the executable, then its arguments.")
    words = tuple(str(word) for word in value)
    if not words[0].startswith("/") or ".." in PurePosixPath(words[0]).parts:
        raise ValueError(f"{where}: the executable is {words[0]!r}; it must be an absolute path without '..'.")
    if len(words) > _MAXIMUM_ARGUMENTS or any(len(word) > _MAXIMUM_ARGUMENT or "\0" in word for word in words):
        raise ValueError(
            f"{where}: command is too long; {_MAXIMUM_ARGUMENTS} arguments of {_MAXIMUM_ARGUMENT} characters, none of "
            "them NUL, are allowed."
        )
    return words


def _seconds(where: str, key: str, value: object, bounds: tuple[float, float]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where}: {key} is {value!r}; it must be a number of seconds.")  # noqa: TRY004 - one kind of error for whatever is wrong in the file
    least, most = bounds
    if not least <= value <= most:
        raise ValueError(f"{where}: {key} is {value}; it must lie between {least:g} and {most:g}.")
    return float(value)
