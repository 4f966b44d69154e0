"""Records of the log as they are hashed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orquanta.ledger.chain import canonical_json

ERASED = "audit.erased"
"""The action of a record that says that words of other records were erased."""
ARCHIVED = "audit.archived"
"""The action of a record that says up to which record the log was archived, and so begins after it."""
DISCONTINUED = "audit.discontinued"
"""The action of a record that says that the log is no continuation of what was signed before it."""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """A record as it lies in a log. Everything in it is in doubt until it is verified.

    `private` is the JSON document of the words kept apart and `private_key` (32 bytes) the key of its hash; both are
    None once erased. `shown` are the fields as they are shown to people, which must agree with the canonical bytes.
    """

    id: int
    previous_hash: bytes
    hash: bytes
    canonical: str
    private: str | None
    private_key: bytes | None
    shown: Mapping[str, object] | None = None


def canonical_record(record_id: int, created_at: str, fields: Mapping[str, object], private_hash: str) -> str:
    """Return the canonical text of a record. Empty fields are left out; `created_at` is ISO 8601 in UTC."""
    document: dict[str, object] = {name: value for name, value in fields.items() if value not in ("", 0, None, {})}
    document |= {"v": _VERSION, "id": record_id, "at": created_at, "private": private_hash}
    return canonical_json(document)


def read_canonical(text: str) -> dict[str, Any]:  # Any: JSON of a record that may be forged
    """Return the fields of a record. Raises ValueError if the text is not a record's."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict) or not isinstance(document.get("id"), int):
        raise ValueError("not a record")  # noqa: TRY004 - bad text, whatever its types
    return document
