"""Typed results as JSON: snake_case keys, money as text in US dollars, times as RFC 3339 in UTC."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

Document = None | bool | int | float | str | list["Document"] | dict[str, "Document"]


def to_document(value: object) -> Document:
    """What `json.dumps` takes. Raises TypeError for a type that no result has."""
    match value:
        case None | bool():
            return value
        case Enum():
            return to_document(value.value)
        case int() | float() | str():
            return value
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Mapping():
            return {str(key): to_document(item) for key, item in value.items()}
        case Sequence() if not isinstance(value, bytes):
            return [to_document(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_document(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form here")


def dump(value: object, *, indent: int | None = None) -> str:
    """JSON text of a result."""
    return json.dumps(to_document(value), indent=indent, ensure_ascii=False)
