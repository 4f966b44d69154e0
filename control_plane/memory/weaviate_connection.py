"""The connection to a Weaviate server: the collection of memories, made where it is missing, and its tenants."""

import asyncio
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from control_plane.errors import Unavailable
from control_plane.memory.sameness import plain_name

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what the client imports
    import weaviate
    from weaviate.classes.config import Configure
    from weaviate.classes.init import AdditionalConfig, Auth, Timeout
    from weaviate.exceptions import WeaviateBaseError

    from control_plane.memory import weaviate_rows as rows

_CONNECT_SECONDS: Final = 5
_QUERY_SECONDS: Final = 15
_WRITE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class WeaviateServer:
    """Where the server is. Its gRPC listens on the same host."""

    host: str
    port: int = 8080
    grpc_port: int = 50_051
    secure: bool = False
    api_key: str = field(default="", repr=False)


class WeaviateConnection:
    """Connects with the first call, and again after a failure. `vector_name` is the place of an embedder's vectors."""

    def __init__(self, server: WeaviateServer, *, vector_name: str) -> None:
        self._server = server
        self._vector_name = vector_name
        self._client: weaviate.WeaviateAsyncClient | None = None
        self._tenants: set[str] = set()
        self._connecting = asyncio.Lock()

    async def tenant(self, name: str, *, make: bool = False) -> Any:  # Any: as _collection
        """Return a tenant; None if there is none and none is to be made."""
        collection = await self._collection()
        if name not in self._tenants:
            if not await collection.tenants.exists(name):
                if not make:
                    return None
                await collection.tenants.create(name)
            self._tenants.add(name)
        return collection.with_tenant(name)

    async def every(self, tenant: str | None = None) -> list[Any]:  # Any: as _collection
        """Return every tenant, or this one and the fleet."""
        collection = await self._collection()
        names = set(await collection.tenants.get())
        if tenant is not None:
            names &= {rows.tenant_name(""), rows.tenant_name(plain_name(tenant))}
        return [collection.with_tenant(name) for name in sorted(names)]

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            await self._client.close()
            self._client = None

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


@contextmanager
def guarded() -> Iterator[None]:
    """Raise Unavailable for whatever goes wrong with the server."""
    try:
        yield
    except (WeaviateBaseError, grpc.RpcError, OSError, TimeoutError) as error:
        told = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise Unavailable(f"the Weaviate server cannot be used: {told}") from error
