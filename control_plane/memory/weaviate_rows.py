"""How a memory lies in Weaviate: what can be filtered and searched, and the whole of it as one document."""

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from weaviate.classes.config import DataType, Property, Tokenization
from weaviate.classes.query import Filter
from weaviate.util import generate_uuid5

from control_plane.errors import Unavailable
from control_plane.memory.local_rows import micros, words_of
from control_plane.memory.sameness import same_key
from control_plane.model.memory import Memory, MemoryQuery

COLLECTION: Final = "OrquantaMemoryV1"
"""One for each version of the properties below."""
_FLEET: Final = "fleet"
_NOBODY: Final = "-"
"""Stands for an empty text: those are in no index."""
_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_MEMORY: Final = TypeAdapter(Memory)


def properties() -> list[Property]:
    """Return what the collection holds of a memory."""
    names = ("memory_id", "kind", "gpu_type", "embedder")
    exact = [
        Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD, index_searchable=False)
        for name in names
    ]
    numbers = [
        Property(name=name, data_type=DataType.INT, index_range_filters=True)
        for name in ("created_at", "expires_at", "used_at")
    ]
    return [
        *exact,
        *numbers,
        Property(
            name="symptoms", data_type=DataType.TEXT_ARRAY, tokenization=Tokenization.FIELD, index_searchable=False
        ),
        Property(name="words", data_type=DataType.TEXT, tokenization=Tokenization.WORD),
        Property(name="document", data_type=DataType.TEXT, index_filterable=False, index_searchable=False),
    ]


def tenant_name(tenant: str) -> str:
    """Return the name of a tenant, in characters that Weaviate allows."""
    if not tenant:
        return _FLEET
    if _TENANT.fullmatch(tenant):
        return f"u-{tenant}"
    return f"h-{hashlib.sha256(tenant.encode()).hexdigest()[:48]}"


def vector_name(embedder: str) -> str:
    """Return the name of an embedder's vectors: each has its own, so that they cannot be mixed."""
    return f"v_{hashlib.sha256(embedder.encode()).hexdigest()[:16]}"


def uuid_of(memory: Memory) -> str:
    """Return the id of what says the same."""
    return str(generate_uuid5(same_key(memory)))


def properties_of(memory: Memory, embedder: str) -> dict[str, Any]:  # Any: JSON
    """Return the properties of a memory whose vector is of this embedder, "" if it has none."""
    return {
        "memory_id": memory.id,
        "kind": memory.kind.value,
        "gpu_type": memory.gpu_type or _NOBODY,
        "embedder": embedder or _NOBODY,
        "created_at": micros(memory.created_at),
        "expires_at": micros(memory.expires_at),
        "used_at": micros(memory.last_used_at or memory.created_at),
        "symptoms": list(memory.symptoms),
        "words": words_of(memory),
        "document": json.dumps(asdict(memory), default=str),
    }


def memory_of(found: Any) -> Memory:  # Any: an object as the client gives it
    """Return the memory of an object. Raises Unavailable if it is none."""
    try:
        return _MEMORY.validate_json(found.properties["document"])
    except (ValidationError, KeyError, TypeError) as error:
        raise Unavailable(f"object {found.uuid} of {COLLECTION} is no memory; delete it") from error


def filters_of(query: MemoryQuery, now: int) -> Any:  # Any: the client's own type
    """Return what has to hold of everything that is found."""
    wanted: Any = Filter.by_property("expires_at").greater_than(now)  # Any: the client's own type
    if query.kinds:
        wanted &= Filter.by_property("kind").contains_any([kind.value for kind in query.kinds])
    if query.symptoms:
        wanted &= Filter.by_property("symptoms").contains_any([one or _NOBODY for one in query.symptoms])
    if query.gpu_type:
        wanted &= Filter.by_property("gpu_type").contains_any([_NOBODY, query.gpu_type])
    return wanted
