"""The vectors of one embedder in memory, searched whole by numpy: 50,000 of 512 dimensions take 100 MB and some ms."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from control_plane.memory.contract import Vectors
from control_plane.model.memory import MemoryKind

_FIRST: Final = 256


@dataclass(frozen=True, slots=True)
class Filter:
    """What may be found. `numbers`, where given, are the only ones; times are microseconds since 1970."""

    tenants: Collection[str]
    kinds: Collection[MemoryKind]
    after: int
    numbers: Collection[int] | None = None


class VectorIndex:
    """Rows are numbers of memories. Not for several threads at once."""

    def __init__(self, dimensions: int) -> None:
        self._slots: dict[int, int] = {}
        self._codes: dict[str, int] = {}
        self._vectors: Vectors = np.zeros((_FIRST, dimensions), dtype=np.float32)
        self._numbers: NDArray[np.int64] = np.zeros(_FIRST, dtype=np.int64)
        self._facts: NDArray[np.int64] = np.zeros((_FIRST, 3), dtype=np.int64)  # tenant, kind, expiry

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, number: int, tenant: str, kind: MemoryKind, expires: int, vector: Vectors) -> None:
        """Add or replace a row. Shapes: (dimensions,)."""
        slot = self._slots.setdefault(number, len(self._slots))
        if slot >= len(self._numbers):
            self._grow()
        self._vectors[slot] = vector
        self._numbers[slot] = number
        self._facts[slot] = (self._code(tenant), self._code(kind.value), expires)

    def drop(self, number: int) -> None:
        """Remove a row if it is there; the last one takes its place."""
        slot = self._slots.pop(number, None)
        last = len(self._slots)
        if slot is None or slot == last:
            return
        self._vectors[slot] = self._vectors[last]
        self._numbers[slot] = self._numbers[last]
        self._facts[slot] = self._facts[last]
        self._slots[int(self._numbers[slot])] = slot

    def nearest(self, vector: Vectors, wanted: Filter, *, limit: int, floor: float) -> list[tuple[int, float]]:
        """Return numbers and cosines of at least `floor`, nearest first. Shapes: (dimensions,)."""
        size = len(self._slots)
        if not size or not np.any(vector):
            return []
        facts = self._facts[:size]
        fits = np.isin(facts[:, 0], [self._codes.get(one, -1) for one in wanted.tenants])
        if wanted.kinds:
            fits &= np.isin(facts[:, 1], [self._codes.get(one.value, -1) for one in wanted.kinds])
        fits &= facts[:, 2] > wanted.after
        if wanted.numbers is not None:
            fits &= np.isin(self._numbers[:size], np.fromiter(wanted.numbers, dtype=np.int64))
        chosen = np.flatnonzero(fits)
        if not len(chosen):
            return []
        # To copy most rows costs more than to multiply them all.
        few = len(chosen) * 4 < size
        cosines = self._vectors[chosen] @ vector if few else (self._vectors[:size] @ vector)[chosen]
        best = np.argsort(-cosines, kind="stable")[:limit]
        return [(int(self._numbers[chosen[one]]), float(cosines[one])) for one in best if cosines[one] >= floor]

    def _code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    def _grow(self) -> None:
        self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._numbers = np.concatenate([self._numbers, np.zeros_like(self._numbers)])
        self._facts = np.concatenate([self._facts, np.zeros_like(self._facts)])
