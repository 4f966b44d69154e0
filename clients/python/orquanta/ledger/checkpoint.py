"""Checkpoints: signed statements of how the log stood, small enough to be kept elsewhere."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


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

    def is_signed_by(self, public_key: bytes) -> bool:
        """Tell whether this key signed exactly this checkpoint."""
        if self.public_key != public_key:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self.note.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


def note(origin: str, size: int, root: bytes, signed_at: datetime) -> str:
    """Return the text that is signed."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n{signed_at.isoformat()}\n"


def origin_of(public_key: bytes) -> str:
    """Return the name of the log that this key signs."""
    return f"orquanta/{hashlib.sha256(public_key).hexdigest()[:16]}"


class Signer:
    """Signs checkpoints. `seed` is 32 random bytes that nobody else has."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.origin = origin_of(self.public_key)

    def sign(self, size: int, root: bytes, signed_at: datetime) -> Checkpoint:
        """Return the signed checkpoint."""
        signature = self._key.sign(note(self.origin, size, root, signed_at).encode())
        return Checkpoint(self.origin, size, root, signed_at, signature, self.public_key)
