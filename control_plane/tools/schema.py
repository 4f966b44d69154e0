"""JSON Schema of tools' arguments and results: self-contained, closed, and small enough for every model's grammar."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

Schema = dict[str, Any]  # Any: JSON Schema of any shape

_DROPPED: Final = frozenset({"title", "format", "default"})


def schema_of(model: type[BaseModel], *, result: bool = False) -> Schema:
    """Return the closed schema of a model: no references, no titles, no formats; what may be left out is nullable."""
    whole = model.model_json_schema(mode="serialization" if result else "validation")
    definitions = whole.pop("$defs", {})
    closed: Schema = _inlined(whole, definitions)
    return closed


def strict(schema: Mapping[str, Any]) -> Schema:  # Any: JSON Schema
    """Return the schema with every property required, as strict modes of hosted models want it.

    What may be left out stays nullable, so null says the same as leaving it out.
    """
    required: Schema = _required(dict(schema))
    return required


def _inlined(node: Any, definitions: Mapping[str, Any], *, properties: bool = False) -> Any:  # Any: JSON Schema
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = dict(definitions[node["$ref"].removeprefix("#/$defs/")])
        target.update({key: value for key, value in node.items() if key != "$ref"})
        return _inlined(target, definitions)
    found = {
        key: _inlined(value, definitions, properties=key == "properties" and not properties)
        for key, value in node.items()
        if properties or key not in _DROPPED
    }
    if not properties and node.get("type") == "object" and "properties" in node:
        found["additionalProperties"] = False
    if not properties and "const" in found:
        found["enum"] = [found.pop("const")]
    return found


def _required(node: Any) -> Any:  # Any: JSON Schema
    if isinstance(node, list):
        return [_required(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _required(value) for key, value in node.items()}
    if node.get("type") == "object" and isinstance(node.get("properties"), dict):
        found["required"] = sorted(node["properties"])
    return found
