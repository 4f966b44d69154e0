"""Memories: what worked and what did not."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence

from orquanta.convert.memories import read_found, read_memory, read_status, write_memory
from orquanta.convert.scalars import write_enum
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.memories import FoundMemory, ImportedMemories, Memory, MemoryKind, MemoryStatus
from orquanta.v1 import memory_pb2 as pb
from orquanta.v1.memory_pb2_grpc import MemoryServiceStub

IMPORTED_MAX = 500
"""Memories in one import."""


class AsyncMemories:
    """Search what the fleet remembers, forget some of it, take it along and bring it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = MemoryServiceStub(transport.channel)

    async def search(self, text: str, *, kind: MemoryKind | None = None, limit: int = 5) -> tuple[FoundMemory, ...]:
        """The memories nearest to these words, nearest first: your own and the fleet's. `limit` is at most 50."""
        request = pb.SearchMemoriesRequest(text=text, kind=_kind(kind), limit=limit)
        response = await self._transport.call(self._stub.SearchMemories, request)
        return tuple(read_found(one) for one in response.memories)

    async def get(self, memory_id: str) -> Memory:
        """One memory. Raises NotFound."""
        response = await self._transport.call(self._stub.GetMemory, pb.GetMemoryRequest(memory_id=memory_id))
        return read_memory(response.memory)

    def list(self, *, kind: MemoryKind | None = None, page_size: int = 0) -> AsyncGenerator[Memory, None]:
        """Memories, newest first; pages are fetched as needed."""
        wanted = _kind(kind)

        async def fetch(token: str) -> tuple[Sequence[Memory], str]:
            response = await self._transport.call(
                self._stub.ListMemories,
                pb.ListMemoriesRequest(page_size=page_size, page_token=token, kind=wanted),
            )
            return [read_memory(one) for one in response.memories], response.next_page_token

        return paged(fetch)

    async def forget(self, memory_id: str, *, reason: str = "", request_id: str | None = None) -> None:
        """Forget one for good. Raises NotFound."""
        await self._transport.call(
            self._stub.DeleteMemory,
            pb.DeleteMemoryRequest(memory_id=memory_id, reason=reason, request_id=request_id_or_new(request_id)),
        )

    def export(self) -> AsyncGenerator[Memory, None]:
        """Every memory, oldest first."""
        return _memories(self._transport.stream(self._stub.ExportMemories, pb.ExportMemoriesRequest()))

    async def import_(self, memories: Iterable[Memory], *, request_id: str | None = None) -> ImportedMemories:
        """Bring at most 500 memories of an export; those that are known stay as they are."""
        response = await self._transport.call(
            self._stub.ImportMemories,
            pb.ImportMemoriesRequest(
                memories=[write_memory(one) for one in memories], request_id=request_id_or_new(request_id)
            ),
        )
        return ImportedMemories(added=response.added, known=response.known)

    async def status(self) -> MemoryStatus:
        """Which store and embedder are in use, and how much there is."""
        return read_status(await self._transport.call(self._stub.GetMemoryStatus, pb.GetMemoryStatusRequest()))


def _kind(kind: MemoryKind | None) -> "pb.MemoryKind.ValueType":
    return pb.MEMORY_KIND_UNSPECIFIED if kind is None else write_enum(pb.MemoryKind, kind)


async def _memories(responses: AsyncIterator[pb.ExportMemoriesResponse]) -> AsyncGenerator[Memory, None]:
    async for response in responses:
        for one in response.memories:
            yield read_memory(one)
