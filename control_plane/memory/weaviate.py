"""Memories in a Weaviate server (client v4): one collection, a tenant for each user, vectors of our own embedders."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import grpc
import structlog

from control_plane.clock import Clock
from control_plane.errors import Unavailable
from control_plane.memory.contract import Embedder, MemoryStatus, Vectors
from control_plane.memory.fusion import CANDIDATES, EXACT_WEIGHT, VECTOR_WEIGHT, falling, fuse, relevance, terms_of
from control_plane.memory.local_rows import micros, words_of
from control_plane.memory.sameness import bounded, bounded_query, embedded_text, is_told_already, merged, plain_name
from control_plane.model.ids import MemoryId
from control_plane.model.memory import FoundMemory, Memory, MemoryKind, MemoryQuery

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the client imports
    import weaviate
    from weaviate.classes.config import Configure
    from weaviate.classes.data import DataObject
    from weaviate.classes.init import AdditionalConfig, Auth, Timeout
    from weaviate.classes.query import BM25Operator, Filter, MetadataQuery, Sort
    from weaviate.exceptions import WeaviateBaseError

    from control_plane.memory import weaviate_rows as rows

log = structlog.get_logger()

_CONNECT_SECONDS: Final = 5
_QUERY_SECONDS: Final = 15
_WRITE_SECONDS: Final = 30
_ROWS_PER_TENANT: Final = 50_000
_EXPORTED_AT_ONCE: Final = 100
_EMBEDDED_AT_ONCE: Final = 256
_TIES_MAX: Final = 1_000
_EXACT_MAX: Final = 4
"""Exact terms of a query that are looked for, each in a search of its own."""


@dataclass(frozen=True, slots=True)
class WeaviateServer:
    """Where the server is. Its gRPC listens on the same host."""

    host: str
    port: int = 8080
    grpc_port: int = 50_051
    secure: bool = False
    api_key: str = field(default="", repr=False)


class WeaviateMemory:
    """The `MemoryStore` of a Weaviate server. It connects with the first call, and again after a failure.

    What one control plane writes, it writes one after another: reading and adding to what is there is not atomic on
    the server. Calls that name no tenant ask each tenant in turn.
    """

    def __init__(self, server: WeaviateServer, embedder: Embedder, *, clock: Clock) -> None:
        self._server = server
        self._embedder = embedder
        self._clock = clock
        self._vector_name = rows.vector_name(embedder.name)
        self._client: weaviate.WeaviateAsyncClient | None = None
        self._tenants: set[str] = set()
        self._connecting = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._error = ""

    async def remember(self, memory: Memory) -> Memory:
        """Keep a memory, or add to the one that says the same. Raises Unavailable."""
        clean = bounded(memory)
        vector = await self._vector(embedded_text(clean))
        async with self._writing:
            with _guarded():
                tenant = await self._tenant(rows.tenant_name(clean.tenant), make=True)
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
            with _guarded():
                tenant = await self._tenant(rows.tenant_name(clean.tenant), make=True)
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
        with _guarded():
            found: dict[str, tuple[Any, Any]] = {}  # Any: tenant and object as the client gives them
            cosines: dict[str, float] = {}
            rankings: list[tuple[list[tuple[float, str]], float]] = []
            for name in dict.fromkeys((rows.tenant_name(""), rows.tenant_name(clean.tenant))):
                tenant = await self._tenant(name)
                if tenant is None:
                    continue
                of_tenant = await self._ranked(tenant, clean, vector, micros(now))
                rankings += [([], weight) for _, weight in of_tenant[len(rankings) :]]
                for (ranking, _), (objects, _) in zip(rankings, of_tenant, strict=True):
                    for rank, one in enumerate(objects):
                        found[str(one.uuid)] = (tenant, one)
                        if one.metadata.distance is not None:
                            cosines[str(one.uuid)] = 1 - float(one.metadata.distance)
                        ranking.append((_nearness(one, rank), str(one.uuid)))
            keys = [([key for _, key in sorted(ranking, key=_score)], weight) for ranking, weight in rankings]
            ranked = [key for key, _ in (fuse(keys) if clean.text else _newest(found))[:limit]]
            scores = _scores(clean.text, [(found[key][1], cosines.get(key, 0.0)) for key in ranked], vector)
            return tuple([await self._used(*found[key], score, now) for key, score in zip(ranked, scores, strict=True)])

    async def get(self, memory_id: MemoryId) -> Memory | None:
        """Return one memory, or None. Raises Unavailable."""
        with _guarded():
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
            with _guarded():
                found = await self._find(memory_id)
                return found is not None and bool(await found[0].data.delete_by_id(found[1].uuid))

    async def expire(self, now: datetime) -> int:
        """Delete what has expired. Raises Unavailable."""
        gone = 0
        async with self._writing:
            with _guarded():
                ended = Filter.by_property("expires_at").less_or_equal(micros(now))
                for tenant in await self._every():
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
            with _guarded():
                for tenant in await self._every():
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
            with _guarded():
                for tenant in await self._every():
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
        if self._client is not None:
            await self._client.close()
            self._client = None

    @property
    def _waits(self) -> Any:  # Any: the client's own type
        return Filter.by_property("embedder").not_equal(self._embedder.name)

    async def _collection(self) -> Any:  # Any: generic over properties that are not known to the type checker
        async with self._connecting:
            if self._client is None:
                self._client = await self._connected()
            return self._client.collections.use(rows.COLLECTION)

    async def _connected(self) -> weaviate.WeaviateAsyncClient:
        server = self._server
        client = weaviate.use_async_with_custom(
            http_host=server.host,
            http_port=server.port,
            http_secure=server.secure,
            grpc_host=server.host,
            grpc_port=server.grpc_port,
            grpc_secure=server.secure,
            auth_credentials=Auth.api_key(server.api_key) if server.api_key else None,
            additional_config=AdditionalConfig(
                timeout=Timeout(init=_CONNECT_SECONDS, query=_QUERY_SECONDS, insert=_WRITE_SECONDS)
            ),
            skip_init_checks=True,
        )
        try:
            await client.connect()
            await self._prepare(client)
        except BaseException:
            await client.close()
            raise
        return client

    async def _prepare(self, client: weaviate.WeaviateAsyncClient) -> None:
        """Make the collection and this embedder's place in it, where they are missing."""
        place = Configure.Vectors.self_provided(name=self._vector_name)
        if not await client.collections.exists(rows.COLLECTION):
            await client.collections.create(
                rows.COLLECTION,
                properties=rows.properties(),
                vector_config=[place],
                multi_tenancy_config=Configure.multi_tenancy(enabled=True),
            )
        collection = client.collections.use(rows.COLLECTION)
        if self._vector_name not in ((await collection.config.get()).vector_config or {}):
            await collection.config.add_vector(vector_config=place)
        self._tenants = set(await collection.tenants.get())

    async def _tenant(self, name: str, *, make: bool = False) -> Any:  # Any: as _collection
        collection = await self._collection()
        if name not in self._tenants:
            if not await collection.tenants.exists(name):
                if not make:
                    return None
                await collection.tenants.create(name)
            self._tenants.add(name)
        return collection.with_tenant(name)

    async def _every(self, tenant: str | None = None) -> list[Any]:  # Any: as _collection
        """Return every tenant, or this one and the fleet."""
        collection = await self._collection()
        names = set(await collection.tenants.get())
        if tenant is not None:
            names &= {rows.tenant_name(""), rows.tenant_name(plain_name(tenant))}
        return [collection.with_tenant(name) for name in sorted(names)]

    async def _find(self, memory_id: MemoryId) -> tuple[Any, Any] | None:  # Any: tenant and object
        wanted = Filter.by_property("memory_id").equal(memory_id)
        for tenant in await self._every():
            for one in (await tenant.query.fetch_objects(filters=wanted, limit=1)).objects:
                return tenant, one
        return None

    async def _ranked(
        self, tenant: Any, query: MemoryQuery, vector: Vectors | None, now: int
    ) -> list[tuple[Sequence[Any], float]]:  # Any: objects as the client gives them
        asked: dict[str, Any] = {"filters": rows.filters_of(query, now), "limit": CANDIDATES}  # Any: arguments
        terms = terms_of(query.text)
        if not query.text:
            newest = Sort.by_property("created_at", ascending=False).by_property("memory_id", ascending=False)
            return [((await tenant.query.fetch_objects(sort=newest, **asked)).objects, 1.0)]
        # Fused here and not by the server: its hybrid search with a bound on the distance finds nothing by words that
        # has no vector of this embedder yet.
        near: Sequence[Any] = ()  # Any: as above
        if vector is not None:
            near = (
                await tenant.query.near_vector(
                    near_vector=vector.tolist(),
                    target_vector=self._vector_name,
                    distance=1 - self._embedder.floor,
                    return_metadata=MetadataQuery(distance=True),
                    **asked,
                )
            ).objects
        asked |= {"query_properties": ["words"], "return_metadata": MetadataQuery(score=True)}
        words = " ".join(terms.words)
        by_words = (await tenant.query.bm25(query=words, **asked)).objects if words else ()
        rankings: list[tuple[Sequence[Any], float]] = [(near, VECTOR_WEIGHT), (by_words, 1 - VECTOR_WEIGHT)]
        if terms.exact:
            # Each as a whole: `gpu-a-17` is three words to the server, and all of them have to be there.
            exact = [
                await tenant.query.bm25(query=term, operator=BM25Operator.and_(), **asked)
                for term in terms.exact[:_EXACT_MAX]
            ]
            rankings.append(
                (list({one.uuid: one for answer in exact for one in answer.objects}.values()), EXACT_WEIGHT)
            )
        return rankings

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
        with _guarded():
            for one in await self._every(tenant):
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


@contextmanager
def _guarded() -> Iterator[None]:
    try:
        yield
    except (WeaviateBaseError, grpc.RpcError, OSError, TimeoutError) as error:
        told = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise Unavailable(f"the Weaviate server cannot be used: {told}") from error


def _nearness(found: Any, rank: int) -> float:  # Any: an object as the client gives it
    """Return what objects of several tenants can be ordered by: the larger the nearer."""
    told = found.metadata
    if told.distance is not None:
        return -float(told.distance)
    return float(told.score) if told.score is not None else -float(rank)


def _score(one: tuple[float, str]) -> float:
    return -one[0]


def _scores(
    text: str, found: Sequence[tuple[Any, float]], vector: Vectors | None
) -> list[float]:  # Any: an object as the client gives it
    """Return how well each fits, best first; without a vector of the query, words alone tell."""
    terms, told = terms_of(text), vector is not None and bool(vector.any())
    return falling([relevance(terms, words_of(rows.memory_of(one)), cosine if told else None) for one, cosine in found])


def _newest(found: dict[str, tuple[Any, Any]]) -> list[tuple[str, float]]:  # Any: tenant and object
    def age(key: str) -> tuple[int, str]:
        told = found[key][1].properties
        return told["created_at"], told["memory_id"]

    return [(key, 0.0) for key in sorted(found, key=age, reverse=True)]


def _places(
    after: tuple[datetime, MemoryId] | None, limit: int, *, oldest: bool
) -> list[tuple[Any, int]]:  # Any: the client's own type of a filter
    """Return what to look for: those of the same moment, of which the ids decide, and those beyond it."""
    if after is None:
        return [(None, limit)]
    created, moment = Filter.by_property("created_at"), micros(after[0])
    beyond = created.greater_than(moment) if oldest else created.less_than(moment)
    return [(Filter.by_property("created_at").equal(moment), _TIES_MAX), (beyond, limit)]
