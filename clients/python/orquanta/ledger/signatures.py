"""Signatures of checkpoints: Ed25519, RFC 8032. Alone in the ledger it needs the package cryptography."""

from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from orquanta.ledger.checkpoint import Checkpoint, note, origin_of


def is_signed_by(checkpoint: Checkpoint, public_key: bytes) -> bool:
    """Tell whether this key (32 bytes) signed exactly this checkpoint."""
    if checkpoint.public_key != public_key:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(checkpoint.signature, checkpoint.note.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


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
