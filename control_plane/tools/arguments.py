"""Reads the arguments of a call: bounded JSON that fits the tool's model, or what is wrong with it."""

import json
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from control_plane.errors import InvalidArgument

ARGUMENTS_BYTES_MAX: Final = 64 * 1024
DEPTH_MAX: Final = 8
_PROBLEMS_TOLD: Final = 5
_SHOWN: Final = 60  # characters of a bad value that an error repeats


class Input(BaseModel):
    """Arguments of a tool: no unknown names, no conversions, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


InputT = TypeVar("InputT", bound=Input)


def parse(model: type[InputT], text: str) -> InputT:
    """Return the arguments that `text` holds; an empty text means none.

    Raises:
        InvalidArgument: ARGUMENTS_INVALID; it is no such JSON object, and the message says what would be right.
    """
    load_object(text)
    try:
        return model.model_validate_json(text.strip() or "{}")
    except ValidationError as error:
        raise _refused("; ".join(_problem(one) for one in error.errors(include_url=False)[:_PROBLEMS_TOLD])) from None


def load_object(text: str) -> dict[str, Any]:  # Any: JSON of any shape
    """Return the JSON object that `text` holds.

    Raises:
        InvalidArgument: ARGUMENTS_INVALID; it is too long, too deep, not JSON, or names something twice.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > ARGUMENTS_BYTES_MAX:
        raise _refused(f"they have {size} bytes; at most {ARGUMENTS_BYTES_MAX} are read")
    try:
        loaded = json.loads(text.strip() or "{}", object_pairs_hook=_object, parse_constant=_no_constant)
    except InvalidArgument:
        raise
    except (ValueError, RecursionError) as error:
        raise _refused(f"they are not JSON ({str(error)[:_SHOWN]})") from None
    if not isinstance(loaded, dict):
        raise _refused('they must be one JSON object, for example {"limit": 10}')
    if _depth(loaded) > DEPTH_MAX:
        raise _refused(f"they are nested more than {DEPTH_MAX} deep")
    return loaded


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON of any shape
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _refused(f"{_shown(twice)} is given twice")
    return found


def _no_constant(name: str) -> Any:  # Any: json's hook
    raise _refused(f"{name} is not a number of JSON")


def _depth(value: Any) -> int:  # Any: JSON of any shape
    """Levels of nesting; what json has loaded is nested less deep than Python's own limit."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        here, level = waiting.pop()
        if isinstance(here, dict | list):
            deepest = max(deepest, level)
            waiting.extend((item, level + 1) for item in (here.values() if isinstance(here, dict) else here))
    return deepest


def _problem(error: Any) -> str:  # Any: pydantic's own dict of an error
    where = ".".join(str(part) for part in error["loc"]) or "arguments"
    return f"{_shown(where)}: {error['msg'][:200]}"


def _refused(text: str) -> InvalidArgument:
    return InvalidArgument(f"the arguments cannot be used: {text}", reason="ARGUMENTS_INVALID")


def _shown(text: str) -> str:
    """Hostile input, shortened and escaped for an error message."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
