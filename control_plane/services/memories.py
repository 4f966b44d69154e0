"""MemoryService: what worked and what did not, to be searched, looked at, forgotten, taken along and brought."""

import base64
import binascii
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from typing_extensions import override

from control_plane.errors import InvalidArgument, NotFound, PreconditionFailed
from control_plane.memory.contract import MemoryStatus, MemoryStore
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import MEMORY, MemoryId
from control_plane.model.memory import Memory, MemoryKind, MemoryQuery
from control_plane.services.caller import person
from control_plane.services.convert import memories as convert
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate import memories as validate
from control_plane.services.validate.fields import Fields
from control_plane.store import audit
from control_plane.store.database import Store, Tx
from orquanta.v1 import memory_pb2
from orquanta.v1.memory_pb2_grpc import MemoryServiceServicer

_TEXT_CHARACTERS_MAX: Final = 2_000
_FOUND_MAX: Final = 50
_FOUND_DEFAULT: Final = 5
_EXPORTED_AT_ONCE: Final = 100
_IMPORTED_MAX: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFF: Final = MemoryStatus("off", "", 0, 0, 0)


class Memories(MemoryServiceServicer):
    """Serves memories. A user sees their own and the fleet's, an operator all of them."""

    def __init__(self, *, store: Store, memory: MemoryStore | None) -> None:
        self._store = store
        self._memory = memory

    @override
    async def SearchMemories(
        self, request: memory_pb2.SearchMemoriesRequest, context: object
    ) -> memory_pb2.SearchMemoriesResponse:
        fields = Fields()
        text = fields.text("text", request.text, most=_TEXT_CHARACTERS_MAX)
        limit = fields.integer("limit", request.limit, least=0, most=_FOUND_MAX) or _FOUND_DEFAULT
        kind = _kind(fields, request.kind)
        fields.check()
        kinds = () if kind is None else (kind,)
        query = MemoryQuery(text=text, tenant=person().user_id, kinds=kinds, limit=limit)
        found = await self._kept.search(query, now=self._store.clock.now())
        return memory_pb2.SearchMemoriesResponse(memories=[convert.found(one) for one in found])

    @override
    async def GetMemory(self, request: memory_pb2.GetMemoryRequest, context: object) -> memory_pb2.GetMemoryResponse:
        fields = Fields()
        memory_id = fields.id("memory_id", MEMORY, request.memory_id)
        fields.check()
        memory = await self._kept.get(memory_id)
        if memory is None or not _sees(person(), memory):
            raise _unknown(memory_id)
        return memory_pb2.GetMemoryResponse(memory=convert.memory(memory))

    @override
    async def ListMemories(
        self, request: memory_pb2.ListMemoriesRequest, context: object
    ) -> memory_pb2.ListMemoriesResponse:
        fields = Fields()
        kind = _kind(fields, request.kind)
        fields.check()
        paging = Paging(request)
        caller = person()
        tenant = None if caller.role.allows(Role.OPERATOR) else caller.user_id
        size, before = paging.wanted.size, _place(paging.wanted.token)
        page = await self._kept.page(kind=kind, limit=size + 1, before=before, tenant=tenant)
        token = _token(page[size - 1]) if len(page) > size else ""
        return memory_pb2.ListMemoriesResponse(
            memories=[convert.memory(one) for one in page[:size]], next_page_token=paging.next(token)
        )

    @override
    async def DeleteMemory(
        self, request: memory_pb2.DeleteMemoryRequest, context: object
    ) -> memory_pb2.DeleteMemoryResponse:
        fields = Fields()
        memory_id = fields.id("memory_id", MEMORY, request.memory_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("DeleteMemory", request, request.request_id)
        caller = person()
        if await self._store.read(change.remembered) is not None:
            return memory_pb2.DeleteMemoryResponse()
        if not await self._kept.forget(memory_id):
            raise _unknown(memory_id)

        def record(tx: Tx) -> None:
            if change.remembered(tx) is None:
                _record(tx, caller, "memory.forgotten", reason, {"memory_id": memory_id})
                change.remember(tx, memory_id)

        await self._store.write(record)
        return memory_pb2.DeleteMemoryResponse()

    @override
    async def ExportMemories(
        self, request: memory_pb2.ExportMemoriesRequest, context: object
    ) -> AsyncIterator[memory_pb2.ExportMemoriesResponse]:
        part: list[memory_pb2.Memory] = []
        async for memory in self._kept.export():
            part.append(convert.memory(memory))
            if len(part) == _EXPORTED_AT_ONCE:
                yield memory_pb2.ExportMemoriesResponse(memories=part)
                part = []
        if part:
            yield memory_pb2.ExportMemoriesResponse(memories=part)

    @override
    async def ImportMemories(
        self, request: memory_pb2.ImportMemoriesRequest, context: object
    ) -> memory_pb2.ImportMemoriesResponse:
        fields = Fields()
        fields.request_id(request.request_id)
        now = self._store.clock.now()
        given = fields.count("memories", request.memories, most=_IMPORTED_MAX)
        wanted = [validate.imported(fields, f"memories[{number}]", one, now) for number, one in enumerate(given)]
        fields.check()
        change = mutation("ImportMemories", request, request.request_id)
        caller = person()
        done = await self._store.read(change.remembered)
        if done is None:
            # What is known stays as it is: a retry after half of it adds the other half.
            added = sum([await self._kept.take_in(one) for one in wanted])
            done = f"{added} {len(wanted) - added}"

            def record(tx: Tx) -> str:
                earlier = change.remembered(tx)
                if earlier is None:
                    _record(tx, caller, "memory.imported", "", {"added": added, "known": len(wanted) - added})
                    change.remember(tx, f"{added} {len(wanted) - added}")
                return earlier or f"{added} {len(wanted) - added}"

            done = await self._store.write(record)
        added_text, _, known_text = done.partition(" ")
        return memory_pb2.ImportMemoriesResponse(added=int(added_text), known=int(known_text))

    @override
    async def GetMemoryStatus(
        self, request: memory_pb2.GetMemoryStatusRequest, context: object
    ) -> memory_pb2.GetMemoryStatusResponse:
        return convert.status(_OFF if self._memory is None else await self._memory.status())

    @property
    def _kept(self) -> MemoryStore:
        if self._memory is None:
            raise PreconditionFailed(
                "memory is switched off; set memory_store = local or weaviate and start the server again",
                reason="MEMORY_OFF",
            )
        return self._memory


def _sees(caller: Principal, memory: Memory) -> bool:
    return memory.tenant in ("", caller.user_id) or caller.role.allows(Role.OPERATOR)


def _unknown(memory_id: MemoryId) -> NotFound:
    return NotFound(f"there is no memory {memory_id}; list them with: orquanta memory list", reason="MEMORY_NOT_FOUND")


def _kind(fields: Fields, value: int) -> MemoryKind | None:
    return fields.enum("kind", value, convert.KINDS, MemoryKind.INCIDENT) if value else None


def _record(tx: Tx, caller: Principal, action: str, reason: str, payload: dict[str, object]) -> None:
    audit.append(
        tx,
        agent_name=caller.email,
        action=action,
        reasoning=reason,
        outcome="done",
        payload=payload,
        user_id=caller.user_id,
    )


def _token(memory: Memory) -> str:
    """Return the place of a memory in the list, in the form of every list's token."""
    micros = (memory.created_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(json.dumps([micros, memory.id]).encode()).decode().rstrip("=")


def _place(token: str) -> tuple[datetime, MemoryId] | None:
    if not token:
        return None
    try:
        micros, memory_id = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return _EPOCH + timedelta(microseconds=int(micros)), MemoryId(str(memory_id))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise InvalidArgument("page_token is not one of this list", reason="PAGE_TOKEN_INVALID") from error
