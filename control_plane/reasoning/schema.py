"""JSON Schema as endpoints want it, and whether data fits one. It knows the part that flat schemas of ours use."""

from collections.abc import Mapping
from typing import Any, Final

from control_plane.reasoning.contract import Schema

INTEGER_MAX: Final = 1_000_000_000
"""Bound put on integers that have none: grammars of some servers otherwise write digits without end."""
STRING_MAX: Final = 2_000
"""Bound put on texts that have none, where the endpoint takes bounds: small models write on and on otherwise."""

_DEPTH_MAX: Final = 16
# Strict modes refuse or ignore these; what they say is checked here and by the caller.
_DROPPED: Final = frozenset({"default", "format", "pattern", "title", "examples", "minLength", "maxLength", "$schema"})
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def strict(schema: Schema, *, string_bounds: bool = False) -> dict[str, Any]:  # Any: JSON Schema
    """Return the schema for strict modes.

    Every key is required, those that were not may be null, nothing is allowed besides them, every integer is bounded,
    and with `string_bounds` every text.
    """
    rules = {key: _entry(key, value, string_bounds) for key, value in schema.items() if key not in _DROPPED}
    is_open = "enum" not in rules and "const" not in rules
    if rules.get("type") == "integer" and is_open:
        rules.setdefault("minimum", -INTEGER_MAX)
        rules.setdefault("maximum", INTEGER_MAX)
    if rules.get("type") == "string" and is_open and string_bounds:
        rules["maxLength"] = schema.get("maxLength", STRING_MAX)
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        required = set(schema.get("required", ()))
        made = {name: strict(item, string_bounds=string_bounds) for name, item in properties.items()}
        rules["properties"] = {
            name: item if name in required or _allows_null(item) else {"anyOf": [item, {"type": "null"}]}
            for name, item in made.items()
        }
        rules["required"] = list(properties)
        rules["additionalProperties"] = False
    return rules


def _entry(key: str, value: Any, bounds: bool) -> Any:  # Any: JSON Schema
    if key in ("items", "additionalProperties") and isinstance(value, Mapping):
        return strict(value, string_bounds=bounds)
    if key in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [strict(item, string_bounds=bounds) for item in value]
    if key in ("$defs", "definitions") and isinstance(value, Mapping):
        return {name: strict(item, string_bounds=bounds) for name, item in value.items()}
    return value


def fitted(schema: Schema, data: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Return data without the nulls that only `strict` allowed, which stand for keys left out.

    Raises ValueError, with the place and what is allowed there, for data that does not fit the schema.
    """
    found = _check(schema, dict(data), schema, "", 0)
    if not isinstance(found, dict):
        raise ValueError("should be an object")  # noqa: TRY004 - callers catch one error
    return found


def _allows_null(schema: Schema) -> bool:
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return True
    return any(_allows_null(item) for item in (*schema.get("anyOf", ()), *schema.get("oneOf", ())))


def _check(schema: Schema, value: Any, root: Schema, place: str, depth: int) -> Any:  # Any: JSON
    if depth > _DEPTH_MAX:
        raise ValueError(f"{place or 'it'} is nested too deep")
    if "$ref" in schema:
        return _check(_resolve(str(schema["$ref"]), root), value, root, place, depth + 1)
    options = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    if options:
        return _any_of(options, value, root, place, depth)
    for part in schema.get("allOf", ()):
        value = _check(part, value, root, place, depth + 1)
    _check_type(schema, value, place)
    if "enum" in schema and value not in schema["enum"]:
        raise ValueError(f"{place or 'it'} should be one of {', '.join(map(str, schema['enum'][:20]))}")
    if "const" in schema and value != schema["const"]:
        raise ValueError(f"{place or 'it'} should be {schema['const']}")
    _check_bounds(schema, value, place)
    if isinstance(value, dict):
        return _check_object(schema, value, root, place, depth)
    if isinstance(value, list):
        return _check_list(schema, value, root, place, depth)
    return value


def _any_of(options: tuple[Schema, ...], value: Any, root: Schema, place: str, depth: int) -> Any:  # Any: JSON
    fault: ValueError | None = None
    for option in options:
        try:
            return _check(option, value, root, place, depth + 1)
        except ValueError as error:
            fault = fault or error
    raise fault or ValueError(f"{place} fits nothing that is allowed")


def _check_type(schema: Schema, value: Any, place: str) -> None:  # Any: JSON
    kinds = schema.get("type")
    if kinds is None:
        return
    names = kinds if isinstance(kinds, list) else [kinds]
    for name in names:
        is_bool = isinstance(value, bool)
        if isinstance(value, _TYPES.get(name, ())) and (not is_bool or name == "boolean"):
            return
        if name == "integer" and isinstance(value, float) and value.is_integer():
            return
    raise ValueError(f"{place or 'it'} should be of type {' or '.join(map(str, names))}")


def _check_bounds(schema: Schema, value: Any, place: str) -> None:  # Any: JSON
    if isinstance(value, str) and len(value) > schema.get("maxLength", len(value)):
        raise ValueError(f"{place or 'it'} should have at most {schema['maxLength']} characters")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    least, most = schema.get("minimum", -INTEGER_MAX), schema.get("maximum", INTEGER_MAX)
    if schema.get("type") == "number":
        least, most = schema.get("minimum", value), schema.get("maximum", value)
    if not least <= value <= most:
        raise ValueError(f"{place or 'it'} should be from {least} to {most}")


def _check_object(schema: Schema, value: dict[str, Any], root: Schema, place: str, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    missing = [name for name in required if name not in value]
    if missing:
        raise ValueError(f"{place or 'it'} lacks {', '.join(missing[:20])}")
    found: dict[str, Any] = {}  # Any: JSON
    for name, item in value.items():
        if name not in properties:
            if schema.get("additionalProperties") is False:
                raise ValueError(f"{place or 'it'} should not have {name[:40]!r}")
            extra = schema.get("additionalProperties")
            found[name] = _check(extra, item, root, f"{place}.{name}", depth + 1) if isinstance(extra, dict) else item
        elif item is not None or name in required or _allows_null(properties[name]):
            found[name] = _check(properties[name], item, root, f"{place}.{name}".lstrip("."), depth + 1)
    return found


def _check_list(schema: Schema, value: list[Any], root: Schema, place: str, depth: int) -> list[Any]:  # Any: JSON
    most = schema.get("maxItems")
    if most is not None and len(value) > most:
        raise ValueError(f"{place or 'it'} should have at most {most} items")
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return value
    return [_check(items, item, root, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]


def _resolve(reference: str, root: Schema) -> Schema:
    found: Any = root  # Any: JSON Schema
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        raise ValueError(f"the schema has no {reference}")  # noqa: TRY004 - callers catch one error
    return found
