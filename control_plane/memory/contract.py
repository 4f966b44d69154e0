"""What a store of memories and an embedder are; every one of them passes the same contract tests."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from control_plane.model.ids import MemoryId
from control_plane.model.memory import FoundMemory, Memory, MemoryKind, MemoryQuery

Vectors = NDArray[np.float32]
"""Shape (texts, dimensions), float32, each row of length 1 (or 0 for an empty text)."""


class Embedder(Protocol):
    """Turns texts into vectors. Vectors of two embedders are never mixed: `name` goes with each of them."""

    @property
    def name(self) -> str:
        """A name that changes whenever the vectors would, for example "hashed-ngrams-512-v1"."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    @property
    def floor(self) -> float:
        """Cosine below which two texts of these vectors have nothing to do with each other."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row for each text. Raises Unavailable if it cannot."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...


@dataclass(frozen=True, slots=True)
class MemoryStatus:
    """How memory stands. `waiting` memories are not embedded by the present embedder yet; they are found by words."""

    store: str
    embedder: str
    dimensions: int
    memories: int
    waiting: int
    error: str = ""


class MemoryStore(Protocol):
    """Keeps memories and finds them by words and by meaning together. Safe to call from many tasks."""

    async def remember(self, memory: Memory) -> Memory:
        """Keep a memory, or add to the one that says the same (tenant, kind, symptoms, cause, class, actions' tools).

        Returns what is kept now. Raises Unavailable.
        """
        ...

    async def take_in(self, memory: Memory) -> bool:
        """Keep a memory of an export as it is; false if one of its id, or that says the same, is known already.

        Raises Unavailable.
        """
        ...

    async def search(self, query: MemoryQuery, *, now: datetime) -> tuple[FoundMemory, ...]:
        """Return the nearest that have not expired, nearest first, and count them as used."""
        ...

    async def get(self, memory_id: MemoryId) -> Memory | None:
        """Return one memory, or None."""
        ...

    async def page(
        self,
        *,
        kind: MemoryKind | None,
        limit: int,
        before: tuple[datetime, MemoryId] | None,
        tenant: str | None = None,
    ) -> tuple[Memory, ...]:
        """Return memories, newest first, that come after `before` in this order.

        Where a tenant is given, only its own and the fleet's.
        """
        ...

    async def forget(self, memory_id: MemoryId) -> bool:
        """Delete one for good; false if there was none."""
        ...

    async def expire(self, now: datetime) -> int:
        """Delete what has expired; return how many there were."""
        ...

    def export(self) -> AsyncIterator[Memory]:
        """Give every memory, oldest first."""
        ...

    async def reembed(self, *, at_most: int) -> int:
        """Embed memories that wait for it; return how many were."""
        ...

    async def status(self) -> MemoryStatus:
        """Tell how memory stands. Never raises."""
        ...

    async def close(self) -> None:
        """Release what is held."""
        ...
