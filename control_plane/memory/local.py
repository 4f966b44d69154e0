"""The local store of memories: one SQLite file, searched by words and by vectors."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.memory.contract import Embedder, MemoryStatus, Vectors
from control_plane.memory.local_file import MemoryFile
from control_plane.memory.sameness import bounded, bounded_query, embedded_text
from control_plane.model.ids import MemoryId
from control_plane.model.memory import FoundMemory, Memory, MemoryKind, MemoryQuery

log = structlog.get_logger()

ROWS_PER_TENANT: Final = 50_000
_EXPORTED_AT_ONCE: Final = 100
_EMBEDDED_AT_ONCE: Final = 256

_T = TypeVar("_T")


class LocalMemory:
    """The `MemoryStore` of one file. It opens with the first call, and again after a failure.

    A tenant keeps at most `rows_per_tenant` memories; beyond, those that were neither made nor used for the longest
    time go. Without the embedder, memories are kept all the same and found by words.
    """

    def __init__(self, path: Path, embedder: Embedder, *, clock: Clock, rows_per_tenant: int = ROWS_PER_TENANT) -> None:
        self._embedder = embedder
        self._clock = clock
        self._error = ""
        self._file = MemoryFile(
            path,
            embedder=embedder.name,
            dimensions=embedder.dimensions,
            floor=embedder.floor,
            rows_per_tenant=rows_per_tenant,
        )
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memory")

    async def remember(self, memory: Memory) -> Memory:
        """Keep a memory, or add to the one that says the same. Raises Unavailable."""
        clean = bounded(memory)
        vector = await self._vector(embedded_text(clean))
        return await self._run(lambda: self._file.remember(clean, vector))

    async def take_in(self, memory: Memory) -> bool:
        """Keep a memory of an export; false if it is known. Raises Unavailable."""
        clean = bounded(memory)
        vector = await self._vector(embedded_text(clean))
        return await self._run(lambda: self._file.take_in(clean, vector))

    async def search(self, query: MemoryQuery, *, now: datetime) -> tuple[FoundMemory, ...]:
        """Return the nearest that have not expired. Raises Unavailable."""
        clean = bounded_query(query)
        vector = await self._vector(clean.text) if clean.text else None
        return await self._run(lambda: self._file.search(clean, vector, now))

    async def get(self, memory_id: MemoryId) -> Memory | None:
        """Return one memory, or None. Raises Unavailable."""
        return await self._run(lambda: self._file.get(memory_id))

    async def page(
        self,
        *,
        kind: MemoryKind | None,
        limit: int,
        before: tuple[datetime, MemoryId] | None,
        tenant: str | None = None,
    ) -> tuple[Memory, ...]:
        """Return memories, newest first, that come after `before`. Raises Unavailable."""
        return await self._run(lambda: self._file.page(kind, limit, before, tenant=tenant))

    async def forget(self, memory_id: MemoryId) -> bool:
        """Delete one for good; false if there was none. Raises Unavailable."""
        return await self._run(lambda: self._file.forget(memory_id))

    async def expire(self, now: datetime) -> int:
        """Delete what has expired, at most 500 at once. Raises Unavailable."""
        return await self._run(lambda: self._file.expire(now))

    async def export(self) -> AsyncIterator[Memory]:
        """Give every memory, oldest first. Raises Unavailable."""
        after: tuple[datetime, MemoryId] | None = None
        while True:
            page = await self._run(partial(self._file.page, None, _EXPORTED_AT_ONCE, after, oldest=True))
            for memory in page:
                yield memory
            if len(page) < _EXPORTED_AT_ONCE:
                return
            after = (page[-1].created_at, page[-1].id)

    async def reembed(self, *, at_most: int) -> int:
        """Embed memories that wait for it; return how many were. Raises Unavailable."""
        waiting = await self._run(lambda: self._file.waiting(min(at_most, _EMBEDDED_AT_ONCE)))
        if not waiting:
            return 0
        vectors = await self._embed([embedded_text(memory) for _, memory in waiting])
        embedded = [(number, memory, vector) for (number, memory), vector in zip(waiting, vectors, strict=True)]
        return await self._run(lambda: self._file.embed(embedded))

    async def status(self) -> MemoryStatus:
        """Tell how memory stands. Never raises."""
        total, waiting, error = 0, 0, ""
        try:
            total, waiting = await self._run(self._file.counts)
        except Unavailable as failed:
            error = failed.message
        embedder = self._embedder
        return MemoryStatus("local", embedder.name, embedder.dimensions, total, waiting, error or self._error)

    async def close(self) -> None:
        """Close the file, after what is under way, and the embedder."""
        await self._embedder.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], _T]) -> _T:
        def guarded() -> _T:
            with self._file.guarded(self._clock.now()):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    async def _vector(self, text: str) -> Vectors | None:
        """Return the vector of a text, None if it cannot be had: then words must do. Shapes: (dimensions,)."""
        try:
            vector: Vectors = (await self._embed([text]))[0]
        except Unavailable as error:
            log.warning("memory.not_embedded", embedder=self._embedder.name, why=error.message)
            return None
        return vector

    async def _embed(self, texts: list[str]) -> Vectors:
        try:
            vectors = await self._embedder.embed(texts)
        except Unavailable as error:
            self._error = error.message
            raise
        self._error = ""
        return vectors
