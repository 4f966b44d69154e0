"""The Merkle tree over the records' hashes, as RFC 6962 section 2.1 defines it, kept as its right edge only."""

import hashlib
from collections.abc import Iterable
from typing import Self

_LEAF = b"\x00"
_NODE = b"\x01"
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(_LEAF + data).digest()


class Frontier:
    """A growing tree: its size and the roots of its perfect subtrees, largest first; at most 64 hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    @classmethod
    def restore(cls, size: int, subtrees: Iterable[bytes]) -> Self:
        """Return the tree that had this size and these subtrees. Raises ValueError if they do not fit together."""
        frontier = cls()
        frontier.size = size
        frontier._subtrees = list(subtrees)
        if size < 0 or len(frontier._subtrees) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has not {len(frontier._subtrees)} perfect subtrees")
        return frontier

    @property
    def subtrees(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, largest first."""
        return tuple(self._subtrees)

    def append(self, data: bytes) -> None:
        """Add a leaf with this content."""
        node = leaf_hash(data)
        size = self.size
        while size & 1:
            node = hashlib.sha256(_NODE + self._subtrees.pop() + node).digest()
            size >>= 1
        self._subtrees.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root, 32 bytes."""
        if not self._subtrees:
            return EMPTY_ROOT
        node = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            node = hashlib.sha256(_NODE + left + node).digest()
        return node
