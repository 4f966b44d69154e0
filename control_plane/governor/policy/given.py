"""Makes an input from what a test of policies gives: what it leaves out is as if nothing were there. Pure."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from control_plane.governor.policy.effects import of_effect, size_of
from control_plane.governor.policy.inputs import PolicyInput, time_input
from control_plane.governor.policy.schema import Anything, ListOf, MapOf, Plain, Record, Type, name_of, variables
from control_plane.model.effects import effect_from_json, effect_to_json

_PLAIN: Final[Mapping[str, type]] = {"string": str, "int": int, "bool": bool}
_SHOWN: Final = 60

Document = dict[str, Any]  # Any: nested JSON


class BadGiven(ValueError):
    """What a test gives cannot be an input."""


def base(action: Document | None) -> Document:
    """Return an input of which nothing but an action document, with kind and arguments, is known. Raises BadGiven."""
    if action is None:
        return PolicyInput().document()
    try:
        effect = effect_from_json(json.dumps({"kind": action.get("kind"), "arguments": action.get("arguments")}))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise BadGiven(f"action is no action: {str(error).splitlines()[0]}") from None
    frozen = effect_to_json(effect)
    own = of_effect(effect, frozen=frozen)
    return replace(PolicyInput(), action=own, est=size_of(effect, 0.0)).document()


def merged(document: Document, given: Mapping[str, Any]) -> Document:  # Any: nested JSON
    """Return the input with what is given in its place. Raises BadGiven for a name or a type that no input has."""
    found = _record(variables(), given, document, "")
    time = given.get("time")
    if isinstance(time, Mapping) and "now" in time:
        moment = time_input(_moment(time["now"]))
        derived = {"now": moment.now.isoformat(), "hour": moment.hour, "minute": moment.minute}
        rest = {name: value for name, value in time.items() if name != "now"}
        found["time"] = {**derived, "weekday": moment.weekday, **rest}
    return found


def _record(kind: Record, given: Any, document: Document, path: str) -> Document:  # Any: nested JSON
    if not isinstance(given, Mapping):
        raise BadGiven(f"{path or 'given'} should have names and values")
    found = dict(document)
    for name, value in given.items():
        here = f"{path}.{name}" if path else str(name)
        inner = kind.fields.get(name)
        if inner is None:
            raise BadGiven(f"there is no {here[:_SHOWN]}; there are {', '.join(kind.fields)}")
        found[name] = _value(inner, value, document.get(name), here)
    return found


def _value(kind: Type, value: Any, before: Any, path: str) -> Any:  # Any: nested JSON
    match kind:
        case Record():
            return _record(kind, value, before if isinstance(before, dict) else _empty(kind), path)
        case ListOf(element):
            if not isinstance(value, list):
                raise BadGiven(f"{path} should be a list")
            return [_value(element, one, None, f"{path}[{index}]") for index, one in enumerate(value)]
        case MapOf(element):
            if not isinstance(value, Mapping):
                raise BadGiven(f"{path} should have names and values")
            return {str(name): _value(element, one, None, f"{path}.{name}") for name, one in value.items()}
        case Anything():
            return value
        case Plain():
            return _plain(kind, value, path)


def _plain(kind: Plain, value: Any, path: str) -> Any:  # Any: nested JSON
    if kind.name == "double" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind.name == "timestamp":
        return _moment(value).isoformat()
    wanted = _PLAIN.get(kind.name)
    if wanted is None or not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise BadGiven(f"{path} should be a {name_of(kind)}")
    return value


def _moment(value: Any) -> datetime:  # Any: nested JSON
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        raise BadGiven("time.now should be like 2026-01-07T13:30:00Z") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _empty(kind: Type) -> Any:  # Any: nested JSON
    match kind:
        case Record(fields):
            return {name: _empty(inner) for name, inner in fields.items()}
        case ListOf():
            return []
        case MapOf() | Anything():
            return {}
        case Plain(name):
            return {"string": "", "int": 0, "double": 0.0, "bool": False}.get(name, "1970-01-01T00:00:00+00:00")
