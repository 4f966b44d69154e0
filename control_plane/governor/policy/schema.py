"""The types of a rule's variables, read off the classes in `inputs.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, get_args, get_origin, get_type_hints

from control_plane.governor.policy.inputs import PolicyInput


@dataclass(frozen=True, slots=True)
class Plain:
    """A value without parts: "string", "int", "double", "bool" or "timestamp"."""

    name: str


@dataclass(frozen=True, slots=True)
class Anything:
    """A value of which nothing is known beforehand, such as an action's arguments."""


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list."""

    element: "Type"


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map with keys that nobody knows beforehand."""

    value: "Type"


@dataclass(frozen=True, slots=True)
class Record:
    """A value with named fields."""

    fields: Mapping[str, "Type"]


Type = Plain | Anything | ListOf | MapOf | Record

STRING: Final = Plain("string")
_PLAIN: Final[Mapping[Any, Plain]] = {  # Any: types
    str: STRING,
    int: Plain("int"),
    float: Plain("double"),
    bool: Plain("bool"),
    datetime: Plain("timestamp"),
}


def _type(hint: Any) -> Type:  # Any: a type hint
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return ListOf(_type(arguments[0]))
    if origin is Mapping:
        return Anything() if arguments[1] is Any else MapOf(_type(arguments[1]))
    raise TypeError(f"rules cannot look at a {hint}")


def _record(kind: type) -> Record:
    hints = get_type_hints(kind)
    return Record({one.name: _type(hints[one.name]) for one in fields(kind)})


@cache
def variables() -> Record:
    """Return the variables of a rule."""
    return _record(PolicyInput)


def name_of(kind: Type) -> str:
    """Return a type's name for a person."""
    match kind:
        case Plain(name):
            return name
        case ListOf(element):
            return f"list of {name_of(element)}"
        case MapOf(value):
            return f"map of {name_of(value)}"
        case Record():
            return "record"
        case Anything():
            return "any"
