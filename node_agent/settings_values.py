"""What a setting may be: each function takes its name and what a file, a variable or a flag gave.

All raise SettingsInvalid, with the name and what is allowed.
"""

import math
import shlex
from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from node_agent.errors import SettingsInvalid
from node_agent.health.rules import HealthRules, Hold
from node_agent.probe.custom.declaration import CustomCheck, parse_checks

_MAX_ENGINE_ARGUMENTS = 64
_Choice = TypeVar("_Choice", bound=Enum)
_MIN_INTERVAL_SECONDS = 0.1
_MAX_INTERVAL_SECONDS = 60.0
_MAX_WATCHED = 64
_RULES = HealthRules()


def choice(kind: type[_Choice], name: str, value: Any) -> _Choice:
    """Return one of an enum's values."""
    try:
        return kind(str(value).lower())
    except ValueError as error:
        known = ", ".join(str(choice.value) for choice in kind)
        raise SettingsInvalid(f"{name} is {value!r}; it must be one of {known}.") from error


def arguments(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of arguments, or of words as a shell splits them."""
    try:
        parts = shlex.split(value) if isinstance(value, str) else [str(part) for part in value]
    except (ValueError, TypeError) as error:
        raise SettingsInvalid(f"{name} is {value!r}; it must be a list of arguments.") from error
    if len(parts) > _MAX_ENGINE_ARGUMENTS:
        raise SettingsInvalid(f"{name} holds {len(parts)} arguments; {_MAX_ENGINE_ARGUMENTS} are allowed.")
    return tuple(parts)


def boolean(name: str, value: Any) -> bool:
    """Return a truth."""
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        return known[str(value).lower()]
    except KeyError as error:
        raise SettingsInvalid(f"{name} is {value!r}; it must be true or false.") from error


def seconds(name: str, value: Any) -> float:
    """Return an interval."""
    try:
        seconds = float(value)
    except (TypeError, ValueError) as error:
        raise SettingsInvalid(f"{name} is {value!r}; it must be a number of seconds.") from error
    if not _MIN_INTERVAL_SECONDS <= seconds <= _MAX_INTERVAL_SECONDS:
        raise SettingsInvalid(
            f"{name} is {seconds}; it must lie between {_MIN_INTERVAL_SECONDS} and {_MAX_INTERVAL_SECONDS}."
        )
    return seconds


def text(name: str, value: Any) -> str:
    """Return text."""
    if not isinstance(value, str):
        raise SettingsInvalid(f"{name} must be text, not {value!r}.")
    return value


def absolute_or_empty(name: str, value: Any) -> str:
    """Return an absolute path as text, or nothing."""
    found = text(name, value)
    if found and not found.startswith("/"):
        raise SettingsInvalid(f"{name} is {found!r}; it must be an absolute path, or empty to switch it off.")
    return found


def path(name: str, value: Any) -> Path:
    """Return a path."""
    if not isinstance(value, (str, Path)) or not str(value):
        raise SettingsInvalid(f"{name} is {value!r}; it must be a path.")
    return Path(value).expanduser().absolute()


def checked(parse: Callable[[str], object]) -> Callable[[str, Any], str]:
    """Return a conversion for text that must be empty or readable by `parse`."""

    def convert(name: str, value: Any) -> str:
        found = text(name, value)
        try:
            if found:
                parse(found)
        except ValueError as error:
            raise SettingsInvalid(f"{name}: {error}") from error
        return found

    return convert


def words(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of words; a variable holds them with spaces between."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and word for word in words):
        raise SettingsInvalid(f"{name} is {value!r}; it must be a list of words.")
    if len(words) > _MAX_WATCHED:
        raise SettingsInvalid(f"{name} holds {len(words)} entries; {_MAX_WATCHED} are allowed.")
    return tuple(words)


def mount_points(name: str, value: Any) -> tuple[str, ...]:
    """Return absolute paths."""
    for path in (found := words(name, value)):
        absolute_or_empty(name, path)
    return found


def checks(_: str, value: Any) -> tuple[CustomCheck, ...]:
    """Return the site's own checks."""
    try:
        return parse_checks(value)
    except ValueError as error:
        raise SettingsInvalid(str(error)) from error


def health(name: str, value: Any) -> HealthRules:
    """Return thresholds of health."""
    if not isinstance(value, dict):
        raise SettingsInvalid(f"{name} must be a table: write [{name}] before its keys.")
    defaults = {rule.name: getattr(_RULES, rule.name) for rule in fields(HealthRules)}
    unknown = sorted(value.keys() - defaults.keys())
    if unknown:
        raise SettingsInvalid(f"[{name}]: unknown key {', '.join(unknown)}. Known are: {', '.join(defaults)}.")
    return HealthRules(**{key: _threshold(f"{name}.{key}", found, defaults[key]) for key, found in value.items()})


def _threshold(name: str, value: Any, default: Any) -> Any:
    """Return a threshold of the kind that its default is. Any: a number, or a Hold."""
    if isinstance(default, Hold):
        keys = [key.name for key in fields(Hold)]
        if not isinstance(value, dict) or sorted(value) != sorted(keys):
            raise SettingsInvalid(f"{name} is {value!r}; it must be a table of {' and '.join(keys)}.")
        return Hold(**{key: _threshold(f"{name}.{key}", value[key], 0.0) for key in keys})
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not 0 <= value < math.inf:
        raise SettingsInvalid(f"{name} is {value!r}; it must be a {'whole ' if whole else ''}number, 0 or more.")
    return value if whole else float(value)
