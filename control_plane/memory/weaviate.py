"""Memories in a Weaviate server (client v4): one collection, a tenant for each user, vectors of our own embedders."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.memory.contract import Embedder, MemoryStatus, Vectors
from control_plane.memory.fusion import CANDIDATES, fuse
from control_plane.memory.local_rows import micros
from control_plane.memory.sameness import bounded, bounded_query, embedded_text, is_told_already, merged
from control_plane.model.ids import MemoryId
from control_plane.model.memory import FoundMemory, Memory, MemoryKind, MemoryQuery

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the client imports
    from weaviate.classes.data import DataObject
    from weaviate.classes.query import Filter, Sort

    from control_plane.memory import weaviate_rows as rows
    from control_plane.memory.weaviate_connection import WeaviateConnection, WeaviateServer, guarded
    from control_plane.memory.weaviate_search import Near, nearness, newest, ranked, scores

log = structlog.get_logger()

_ROWS_PER_TENANT: Final = 50_000
_EXPORTED_AT_ONCE: Final = 100
_EMBEDDED_AT_ONCE: Final = 256
_TIES_MAX: Final = 1_000


class WeaviateMemory:
    """The `MemoryStore` of a Weaviate server. It connects with the first call, and again after a failure.

    What one control plane writes, it writes one after another: reading and adding to what is there is not atomic on
    the server. Calls that name no tenant ask each tenant in turn.
    """

    def __init__(self, server: WeaviateServer, embedder: Embedder, *, clock: Clock) -> None:
        self._embedder = embedder
        self._clock = clock
        self._vector_name = rows.vector_name(embedder.name)
        self._connection = WeaviateConnection(server, vector_name=self._vector_name)
        self._writing = asyncio.Lock()
        self._error = ""

    async def remember(self, memory: Memory) -> Memory:
        """Keep a memory, or add to the one that says the same. Raises Unavailable."""
        clean = bounded(memory)
        vector = await self._vector(embedded_text(clean))
        async with self._writing:
            with guarded():
                tenant = await self._connection.tenant(rows.tenant_name(clean.tenant), make=True)
                found = await tenant.query.fetch_object_by_id(rows.uuid_of(clean))
                if found is None:
                    await self._insert(tenant, clean, vector)
                    return clean
                kept = rows.memory_of(found)
                if is_told_already(kept, clean):
                    return kept
                now_kept = merged(kept, clean)
                await self._put(tenant, [(now_kept, vector)])
                return now_kept

    async def take_in(self, memory: Memory) -> bool:
        """Keep a memory of an export; false if it is known. Raises Unavailable."""
        clean = bounded(memory)
        vector = await self._vector(embedded_text(clean))
        async with self._writing:
            with guarded():
                tenant = await self._connection.tenant(rows.tenant_name(clean.tenant), make=True)
                if await tenant.query.fetch_object_by_id(rows.uuid_of(clean)) is not None:
                    return False
                if await self._find(clean.id) is not None:
                    return False
                await self._insert(tenant, clean, vector)
                return True

    async def search(self, query: MemoryQuery, *, now: datetime) -> tuple[FoundMemory, ...]:
        """Return the nearest that have not expired. Raises Unavailable."""
        clean = bounded_query(query)
        limit = max(1, min(clean.limit, CANDIDATES))
        vector = await self._vector(clean.text) if clean.text else None
        near = None if vector is None else Near(vector, self._vector_name, 1 - self._embedder.floor)
        with guarded():
            found: dict[str, tuple[Any, Any]] = {}  # Any: tenant and object as the client gives them
            cosines: dict[str, float] = {}
            rankings: list[tuple[list[tuple[float, str]], float]] = []
            for name in dict.fromkeys((rows.tenant_name(""), rows.tenant_name(clean.tenant))):
                tenant = await self._connection.tenant(name)
                if tenant is None:
                    continue
                of_tenant = await ranked(tenant, clean, near, micros(now))
                rankings += [([], weight) for _, weight in of_tenant[len(rankings) :]]
                for (ranking, _), (objects, _) in zip(rankings, of_tenant, strict=True):
                    for rank, one in enumerate(objects):
                        found[str(one.uuid)] = (tenant, one)
                        if one.metadata.distance is not None:
                            cosines[str(one.uuid)] = 1 - float(one.metadata.distance)
                        ranking.append((nearness(one, rank), str(one.uuid)))
            weighted = [([key for _, key in sorted(ranking, key=_score)], weight) for ranking, weight in rankings]
            keys = [key for key, _ in (fuse(weighted) if clean.text else newest(found))[:limit]]
            fits = scores(clean.text, [(found[key][1], cosines.get(key, 0.0)) for key in keys], vector)
            return tuple([await self._used(*found[key], score, now) for key, score in zip(keys, fits, strict=True)])

    async def get(self, memory_id: MemoryId) -> Memory | None:
        """Return one memory, or None. Raises Unavailable."""
        with guarded():
            found = await self._find(memory_id)
            return None if found is None else rows.memory_of(found[1])

    async def page(
        self,
        *,
        kind: MemoryKind | None,
        limit: int,
        before: tuple[datetime, MemoryId] | None,
        tenant: str | None = None,
    ) -> tuple[Memory, ...]:
        """Return memories, newest first, that come after `before`. Raises Unavailable."""
        return await self._page(kind, limit, before, oldest=False, tenant=tenant)

    async def forget(self, memory_id: MemoryId) -> bool:
        """Delete one for good; false if there was none. Raises Unavailable."""
        async with self._writing:
            with guarded():
                found = await self._find(memory_id)
                return found is not None and bool(await found[0].data.delete_by_id(found[1].uuid))

    async def expire(self, now: datetime) -> int:
        """Delete what has expired. Raises Unavailable."""
        gone = 0
        async with self._writing:
            with guarded():
                ended = Filter.by_property("expires_at").less_or_equal(micros(now))
                for tenant in await self._connection.every():
                    gone += (await tenant.data.delete_many(where=ended)).successful
        return gone

    async def export(self) -> AsyncIterator[Memory]:
        """Give every memory, oldest first. Raises Unavailable."""
        after: tuple[datetime, MemoryId] | None = None
        while True:
            page = await self._page(None, _EXPORTED_AT_ONCE, after, oldest=True)
            for memory in page:
                yield memory
            if len(page) < _EXPORTED_AT_ONCE:
                return
            after = (page[-1].created_at, page[-1].id)

    async def reembed(self, *, at_most: int) -> int:
        """Embed memories that wait for it; return how many were. Raises Unavailable."""
        left = min(at_most, _EMBEDDED_AT_ONCE)
        async with self._writing:
            with guarded():
                for tenant in await self._connection.every():
                    waiting = (await tenant.query.fetch_objects(filters=self._waits, limit=left)).objects
                    if waiting:
                        memories = [rows.memory_of(one) for one in waiting]
                        vectors = await self._embed([embedded_text(one) for one in memories])
                        await self._put(tenant, list(zip(memories, vectors, strict=True)))
                        left -= len(waiting)
                    if left <= 0:
                        break
        return min(at_most, _EMBEDDED_AT_ONCE) - left

    async def status(self) -> MemoryStatus:
        """Tell how memory stands. Never raises."""
        total = waiting = 0
        error = ""
        try:
            with guarded():
                for tenant in await self._connection.every():
                    total += (await tenant.aggregate.over_all(total_count=True)).total_count or 0
                    waits = await tenant.aggregate.over_all(total_count=True, filters=self._waits)
                    waiting += waits.total_count or 0
        except Unavailable as failed:
            error = failed.message
        embedder = self._embedder
        return MemoryStatus("weaviate", embedder.name, embedder.dimensions, total, waiting, error or self._error)

    async def close(self) -> None:
        """Close the connection, and the embedder."""
        await self._embedder.close()
        await self._connection.close()

    @property
    def _waits(self) -> Any:  # Any: the client's own type
        return Filter.by_property("embedder").not_equal(self._embedder.name)

    async def _find(self, memory_id: MemoryId) -> tuple[Any, Any] | None:  # Any: tenant and object
        wanted = Filter.by_property("memory_id").equal(memory_id)
        for tenant in await self._connection.every():
            for one in (await tenant.query.fetch_objects(filters=wanted, limit=1)).objects:
                return tenant, one
        return None

    async def _used(self, tenant: Any, found: Any, score: float, now: datetime) -> FoundMemory:  # Any: as above
        memory = rows.memory_of(found)
        used = replace(memory, uses=memory.uses + 1, last_used_at=now)
        told = rows.properties_of(used, "")
        await tenant.data.update(uuid=found.uuid, properties={name: told[name] for name in ("document", "used_at")})
        return FoundMemory(used, score)

    async def _insert(self, tenant: Any, memory: Memory, vector: Vectors | None) -> None:  # Any: as above
        kept = (await tenant.aggregate.over_all(total_count=True)).total_count or 0
        if kept >= _ROWS_PER_TENANT:
            oldest = Sort.by_property("used_at", ascending=True)
            for one in (await tenant.query.fetch_objects(sort=oldest, limit=kept - _ROWS_PER_TENANT + 1)).objects:
                await tenant.data.delete_by_id(one.uuid)
        await self._put(tenant, [(memory, vector)])

    async def _put(self, tenant: Any, memories: Sequence[tuple[Memory, Vectors | None]]) -> None:  # Any: as above
        """Write in one batch; an object of the same id is replaced. Raises Unavailable if any was refused."""
        objects = [
            DataObject(
                uuid=rows.uuid_of(memory),
                properties=rows.properties_of(memory, "" if vector is None else self._embedder.name),
                vector={} if vector is None else {self._vector_name: vector.tolist()},
            )
            for memory, vector in memories
        ]
        answer = await tenant.data.insert_many(objects)
        if answer.has_errors:
            (first, *_) = answer.errors.values()
            raise Unavailable(
                f"Weaviate refused {len(answer.errors)} of {len(objects)} memories: {first.message[:200]}"
            )

    async def _page(
        self,
        kind: MemoryKind | None,
        limit: int,
        after: tuple[datetime, MemoryId] | None,
        *,
        oldest: bool,
        tenant: str | None = None,
    ) -> tuple[Memory, ...]:
        order = Sort.by_property("created_at", ascending=oldest).by_property("memory_id", ascending=oldest)
        kinds = None if kind is None else Filter.by_property("kind").equal(kind.value)
        found: list[Memory] = []
        with guarded():
            for one in await self._connection.every(tenant):
                for wanted, at_most in _places(after, limit, oldest=oldest):
                    both = wanted if kinds is None else kinds if wanted is None else wanted & kinds
                    objects = (await one.query.fetch_objects(filters=both, sort=order, limit=at_most)).objects
                    found += [rows.memory_of(told) for told in objects]
        found.sort(key=lambda one: (one.created_at, one.id), reverse=not oldest)
        if after is not None:
            found = [
                one
                for one in found
                if ((one.created_at, one.id) > after if oldest else (one.created_at, one.id) < after)
            ]
        return tuple(found[:limit])

    async def _vector(self, text: str) -> Vectors | None:
        """Return the vector of a text, None if it cannot be had: then words must do. Shapes: (dimensions,)."""
        try:
            vector: Vectors = (await self._embed([text]))[0]
        except Unavailable as error:
            log.warning("memory.not_embedded", embedder=self._embedder.name, why=error.message)
            return None
        return vector if vector.any() else None

    async def _embed(self, texts: list[str]) -> Vectors:
        try:
            vectors = await self._embedder.embed(texts)
        except Unavailable as error:
            self._error = error.message
            raise
        self._error = ""
        return vectors


def _score(one: tuple[float, str]) -> float:
    return -one[0]


def _places(
    after: tuple[datetime, MemoryId] | None, limit: int, *, oldest: bool
) -> list[tuple[Any, int]]:  # Any: the client's own type of a filter
    """Return what to look for: those of the same moment, of which the ids decide, and those beyond it."""
    if after is None:
        return [(None, limit)]
    created, moment = Filter.by_property("created_at"), micros(after[0])
    beyond = created.greater_than(moment) if oldest else created.less_than(moment)
    return [(Filter.by_property("created_at").equal(moment), _TIES_MAX), (beyond, limit)]
