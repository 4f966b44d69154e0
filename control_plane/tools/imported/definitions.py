"""Strangers' definitions of tools, cut down to their shape: their prose may be meant for a model to obey."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from control_plane.model.tool import ToolEffect, ToolSpec
from control_plane.tools.imported.server import Definition, ForeignOut, ForeignServer
from control_plane.tools.schema import Schema, schema_of
from control_plane.tools.text import clean, token

DESCRIPTION_MAX: Final = 240
_PROPERTY_DESCRIPTION_MAX: Final = 120
_DEPTH_MAX: Final = 5
_PROPERTIES_MAX: Final = 48
_ENUM_MAX: Final = 64
_SCHEMA_BYTES_MAX: Final = 16 * 1024
_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_BOUNDS: Final = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
_RESULT_BYTES_MAX: Final = 8_192


class UnusableDefinitionError(ValueError):
    """A tool's definition is not one that can be offered; the message says why."""


def definition_hash(definition: Definition) -> str:
    """Return SHA-256, in hex, of all that a server says of a tool: any change of it is another tool."""
    whole = [definition.name, definition.description, definition.input_schema]
    return hashlib.sha256(json.dumps(whole, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def spec_of(server: ForeignServer, definition: Definition) -> ToolSpec:
    """Return a tool as callers are told of it. What it says of its own harmlessness counts for nothing.

    Raises UnusableDefinitionError.
    """
    if definition.input_schema.get("type") != "object":
        raise UnusableDefinitionError("its arguments are no object")
    schema = _schema(definition.input_schema, 1)
    if len(json.dumps(schema)) > _SCHEMA_BYTES_MAX:
        raise UnusableDefinitionError(f"its arguments take more than {_SCHEMA_BYTES_MAX} bytes to describe")
    said = clean(definition.description, most=DESCRIPTION_MAX, lines=False)
    return ToolSpec(
        name=f"{server.name}.{definition.name}",
        version=definition_hash(definition)[:12],
        description=f"[{server.name} says] {said}",
        input_schema=schema,
        output_schema=schema_of(ForeignOut, result=True),
        effect=ToolEffect.READ if definition.name in server.reads else ToolEffect.DESTRUCTIVE,
        role=server.role,
        timeout_seconds=server.timeout_seconds,
        result_bytes_max=_RESULT_BYTES_MAX,
        untrusted_result=True,
        origin=server.name,
    )


def _schema(given: Any, depth: int) -> Schema:  # Any: a stranger's JSON
    """Return what a schema says about shape. No references, no patterns: both can be made to take for ever."""
    if not isinstance(given, Mapping):
        raise UnusableDefinitionError("its schema is no JSON Schema")
    if depth > _DEPTH_MAX:
        raise UnusableDefinitionError(f"its arguments are nested more than {_DEPTH_MAX} deep")
    found: Schema = {}
    if isinstance(given.get("description"), str):
        found["description"] = clean(given["description"], most=_PROPERTY_DESCRIPTION_MAX, lines=False)
    kinds = given.get("type")
    if isinstance(kinds, str | list):
        known = [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind in _TYPES]
        if known:
            found["type"] = known[0] if len(known) == 1 else known
    if isinstance(given.get("enum"), list):
        found["enum"] = [_value(value) for value in given["enum"][:_ENUM_MAX]]
    found |= {bound: given[bound] for bound in _BOUNDS if type(given.get(bound)) in (int, float)}
    if "items" in given:
        found["items"] = _schema(given["items"], depth + 1) if isinstance(given["items"], Mapping) else {}
    if isinstance(given.get("anyOf"), list):
        found["anyOf"] = [_schema(one, depth + 1) for one in given["anyOf"][:8]]
    if isinstance(given.get("properties"), Mapping) or found.get("type") == "object":
        found |= _object(given, depth)
    return found


def _object(given: Mapping[str, Any], depth: int) -> Schema:  # Any: a stranger's JSON
    properties = given.get("properties") or {}
    if not isinstance(properties, Mapping) or len(properties) > _PROPERTIES_MAX:
        raise UnusableDefinitionError(f"it takes more than {_PROPERTIES_MAX} arguments")
    if any(not isinstance(name, str) or token(name) != name or not name for name in properties):
        raise UnusableDefinitionError("the name of an argument is not one word")
    required = given.get("required")
    return {
        "type": "object",
        "properties": {name: _schema(about, depth + 1) for name, about in properties.items()},
        "required": [name for name in required if name in properties] if isinstance(required, list) else [],
        "additionalProperties": False,
    }


def _value(value: Any) -> Any:  # Any: a stranger's JSON
    if isinstance(value, str):
        return clean(value, most=_PROPERTY_DESCRIPTION_MAX, lines=False)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise UnusableDefinitionError("a value of an argument is no plain one")
