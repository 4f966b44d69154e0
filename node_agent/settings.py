"""What the daemon is told: defaults, then a TOML file, then ORQUANTA_NODE_* variables, then flags.

The only module of the daemon that reads the environment.
"""

import os
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from node_agent.errors import SettingsInvalid

_PREFIX = "ORQUANTA_NODE_"
_SYSTEM_FILE = Path("/etc/orquanta/node.toml")
_SYSTEM_STATE = Path("/var/lib/orquanta-node")
_MAX_ENGINE_ARGUMENTS = 64
_Choice = TypeVar("_Choice", bound=Enum)
_MIN_INTERVAL_SECONDS = 0.1
_MAX_INTERVAL_SECONDS = 60.0


class Engine(Enum):
    """What runs jobs that name an image."""

    AUTO = "auto"
    PODMAN = "podman"
    DOCKER = "docker"
    NONE = "none"


class LogLevel(Enum):
    """How much the daemon tells."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; each field is a TOML key and, in capitals, an environment variable."""

    state_dir: Path
    """Identity, jobs and their logs; one daemon per directory."""
    virtual_gpus: str = ""
    """For example "8xH100"; the host's own GPUs if empty."""
    container_engine: Engine = Engine.AUTO
    engine_args: tuple[str, ...] = ()
    """Arguments that come before the engine's own command, such as `--root DIR`."""
    engine_run_args: tuple[str, ...] = ()
    """Arguments that come after the engine's `run`, such as `--ulimit nofile=1024:1024`."""
    container_network: str = "host"
    """The network of containers, as the engine names it; gangs over several hosts need "host"."""
    run_as: str = ""
    """USER or USER:GROUP of jobs that name no image, if the daemon is root; its own account if empty."""
    address: str = ""
    """Where other members of a gang reach this host; found from the route to the control plane if empty."""
    log_level: LogLevel = LogLevel.INFO
    log_json: bool = False
    stop_jobs: bool = False
    """Stop the jobs too when the daemon is asked to stop."""
    telemetry_interval_seconds: float = 1.0


def load(flags: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Settings:
    """Put the settings together. `flags` holds what the command line named, by field; None counts as unnamed.

    Any: flags come from argparse, which has no types. Raises SettingsInvalid.
    """
    environment = os.environ if environment is None else environment
    given = {name: value for name, value in flags.items() if value is not None}
    file = given.pop("config", None) or environment.get(f"{_PREFIX}CONFIG")
    values: dict[str, Any] = {"state_dir": default_state_dir(environment)}
    values |= _from_file(Path(file) if file else _SYSTEM_FILE, required=file is not None)
    values |= _from_environment(environment)
    values |= given
    converted: dict[str, Any] = {name: _CONVERT[name](name, value) for name, value in values.items()}
    return Settings(**converted)


def default_state_dir(environment: Mapping[str, str]) -> Path:
    """Return the state directory of root, or of a user."""
    if os.geteuid() == 0:
        return _SYSTEM_STATE
    home = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME", "/")) / ".local" / "state"
    return Path(home) / "orquanta-node"


def join_token() -> str:
    """Return the join token from ORQUANTA_NODE_TOKEN, which keeps it off the command line; empty if unset."""
    return os.environ.get(f"{_PREFIX}TOKEN", "")


def notify_socket() -> str:
    """Return where systemd wants to hear that the daemon is ready; empty if it does not."""
    return os.environ.get("NOTIFY_SOCKET", "")


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Settings))


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        if required:
            raise SettingsInvalid(f"The configuration file {path} does not exist.") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"The configuration file {path} cannot be read: {error}.") from error
    unknown = sorted(values.keys() - set(_names()))
    if unknown:
        raise SettingsInvalid(
            f"{path}: unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}. "
            f"Known are: {', '.join(_names())}."
        )
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name in _names():
        value = environment.get(_PREFIX + name.upper())
        if value:
            found[name] = value
    return found


def _choice(kind: type[_Choice], name: str, value: Any) -> _Choice:
    try:
        return kind(str(value).lower())
    except ValueError as error:
        known = ", ".join(str(choice.value) for choice in kind)
        raise SettingsInvalid(f"{name} is {value!r}; it must be one of {known}.") from error


def _arguments(name: str, value: Any) -> tuple[str, ...]:
    try:
        parts = shlex.split(value) if isinstance(value, str) else [str(part) for part in value]
    except (ValueError, TypeError) as error:
        raise SettingsInvalid(f"{name} is {value!r}; it must be a list of arguments.") from error
    if len(parts) > _MAX_ENGINE_ARGUMENTS:
        raise SettingsInvalid(f"{name} holds {len(parts)} arguments; {_MAX_ENGINE_ARGUMENTS} are allowed.")
    return tuple(parts)


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        return known[str(value).lower()]
    except KeyError as error:
        raise SettingsInvalid(f"{name} is {value!r}; it must be true or false.") from error


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError) as error:
        raise SettingsInvalid(f"{name} is {value!r}; it must be a number of seconds.") from error
    if not _MIN_INTERVAL_SECONDS <= seconds <= _MAX_INTERVAL_SECONDS:
        raise SettingsInvalid(
            f"{name} is {seconds}; it must lie between {_MIN_INTERVAL_SECONDS} and {_MAX_INTERVAL_SECONDS}."
        )
    return seconds


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise SettingsInvalid(f"{name} must be text, not {value!r}.")
    return value


# Any: the value is whatever TOML, a variable or argparse gave.
_CONVERT: Mapping[str, Callable[[str, Any], object]] = {
    "state_dir": lambda _, value: Path(str(value)).expanduser().absolute(),
    "virtual_gpus": _text,
    "container_engine": lambda name, value: _choice(Engine, name, value),
    "engine_args": _arguments,
    "engine_run_args": _arguments,
    "container_network": _text,
    "run_as": _text,
    "address": _text,
    "log_level": lambda name, value: _choice(LogLevel, name, value),
    "log_json": _boolean,
    "stop_jobs": _boolean,
    "telemetry_interval_seconds": _seconds,
}
