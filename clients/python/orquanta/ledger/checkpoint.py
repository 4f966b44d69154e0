"""Checkpoints: signed statements of how the log stood, small enough to be kept elsewhere."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

from orquanta.ledger.chain import GENESIS


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log of `origin` had `size` records and this Merkle root (32 bytes) at this time (aware UTC).

    `signature` (64 bytes) is Ed25519 over the note; `public_key` (32 bytes) says by whose key, and is to be trusted
    only if it was learnt elsewhere.
    """

    origin: str
    size: int
    root: bytes
    signed_at: datetime
    signature: bytes
    public_key: bytes

    @property
    def note(self) -> str:
        """The signed text: origin, size, root in base64 and the time, one a line."""
        return note(self.origin, self.size, self.root, self.signed_at)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a log begins that no longer has its oldest records: what was known of them when they went.

    `frontier` are the roots of the Merkle tree's perfect subtrees up to there, largest first.
    """

    after_id: int = 0
    previous_hash: bytes = GENESIS
    frontier: tuple[bytes, ...] = ()


def note(origin: str, size: int, root: bytes, signed_at: datetime) -> str:
    """Return the text that is signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n{signed_at.isoformat()}\n"


def origin_of(public_key: bytes) -> str:
    """Return the name of the log that this key signs."""
    return f"orquanta/{hashlib.sha256(public_key).hexdigest()[:16]}"
