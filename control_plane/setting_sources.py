"""Where settings come from: a file and the environment, read and checked by name, and what is told of a wrong one."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from control_plane.errors import InvalidArgument
from control_plane.setting_display import MASK, is_many, is_secret, shown

ENVIRONMENT_PREFIX: Final = "ORQUANTA_"
_DAEMON_PREFIX: Final = "ORQUANTA_NODE_"
"""The daemon's own variables, which may stand beside the control plane's."""

_MAX_FILE_BYTES: Final = 1024 * 1024
_CLOSE: Final = 0.8  # how alike an unknown ORQUANTA_ variable must be to a setting to be taken for a typing error


class Origin(Enum):
    """Where a value came from; a later one of this list wins."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SettingSource:
    """One setting as `config show` prints it. `value` is masked where it is secret."""

    name: str
    value: str
    origin: Origin
    place: str
    """What to change: the flag, the variable, or the file; empty for a default."""


class SettingsError(InvalidArgument):
    """A setting cannot be used; the message has a line for each."""

    default_reason = "SETTINGS_INVALID"


def read_file(file: Path, names: Iterable[str]) -> dict[str, Any]:  # Any: TOML values
    """Return what a file sets. Raises SettingsError."""
    known = tuple(names)
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise SettingsError(f"{file} is larger than {_MAX_FILE_BYTES} bytes; is it a settings file?")
        content = tomllib.loads(file.read_text())
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}; fix --config or its mode") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
    faults = [f"{file}: {key} is not a setting{_did_you_mean(key, known)}" for key in content if key not in known]
    if faults:
        raise SettingsError("\n".join(faults))
    return content


def read_environment(
    environ: Mapping[str, str], fields: Mapping[str, FieldInfo]
) -> dict[str, Any]:  # Any: text, or names split at commas
    """Return what variables set; one whose name is nearly a setting's is taken for a mistake. Raises SettingsError."""
    found: dict[str, Any] = {}  # Any: as above
    faults = []
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or not text:
            continue  # an empty variable is an unset one
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name in fields and variable == variable_of(name):
            found[name] = many(text) if is_many(fields[name]) else text
        elif variable.startswith(_DAEMON_PREFIX):
            continue
        elif difflib.get_close_matches(name, tuple(fields), 1, _CLOSE):
            # Other variables with this prefix belong to the command line client.
            faults.append(
                f"{variable} in the environment is not a setting{_did_you_mean(name, tuple(fields), as_variable=True)}"
            )
    if faults:
        raise SettingsError("\n".join(faults))
    return found


def explain(
    error: ValidationError,
    fields: Mapping[str, FieldInfo],
    values: Mapping[str, Any],  # Any: as written in the sources
    origins: Mapping[str, tuple[Origin, str]],
) -> list[str]:
    """Return one line for each fault: the setting, where its value came from, and what is allowed."""
    lines = []
    for fault in error.errors(include_url=False):
        allowed = fault["msg"].removeprefix("Value error, ")
        allowed = allowed[:1].lower() + allowed[1:]
        if not fault["loc"]:
            lines.append(allowed)
            continue
        name = str(fault["loc"][0])
        origin, place = origins.get(name, (Origin.DEFAULT, ""))
        if len(fault["loc"]) > 1:  # a part of it; what is written there may be secret
            part = ".".join(str(step) for step in fault["loc"][1:])
            lines.append(f"{name}.{part} ({place or origin.value}): {allowed}")
            continue
        secret = is_secret(fields[name])
        value = MASK if secret else shown(values.get(name))
        lines.append(f"{name} = {value!r} ({place or origin.value}): {allowed}")
    return lines


def _did_you_mean(key: str, names: Sequence[str], *, as_variable: bool = False) -> str:
    close = difflib.get_close_matches(key.lower().replace("-", "_"), names, 1)
    if not close:
        return "; `orquanta-server config show` lists them all"
    return f"; did you mean {variable_of(close[0]) if as_variable else close[0]}?"


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """Return the variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def many(text: str) -> tuple[str, ...]:
    """Return the values of a list that is written with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
