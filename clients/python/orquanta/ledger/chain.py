"""The hash chain: each record's hash covers its canonical bytes and the hash of the record before.

Words of people stand apart: the chain holds a keyed hash of them, so they can be erased without breaking it.
"""

import hashlib
import hmac
import json

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)
"""What stands for the hash of the record before the first."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(document: object) -> str:
    """Return the one spelling of a JSON document: keys sorted, no spaces, no NaN. Raises ValueError for NaN."""
    return _ENCODER.encode(document)


def record_hash(previous: bytes, canonical: str) -> bytes:
    """Return SHA-256(previous || canonical bytes), 32 bytes."""
    return hashlib.sha256(previous + _bytes(canonical)).digest()


def private_hash(key: bytes, document: str) -> str:
    """Return HMAC-SHA256 of the words kept apart, in hex. Without the key nobody can guess words and compare."""
    return hmac.digest(key, _bytes(document), "sha256").hex()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a forged text may hold anything, and must not stop a verification
