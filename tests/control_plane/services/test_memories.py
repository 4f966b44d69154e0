"""MemoryService over real gRPC."""

from datetime import UTC, datetime, timedelta

import grpc
import pytest

from control_plane.model.ids import MEMORY, derived_id
from orquanta.v1 import audit_pb2, memory_pb2, memory_pb2_grpc
from tests.control_plane.services.harness import Client, Fleet
from tests.control_plane.services.refusals import refused


def memories_of(client: Client) -> memory_pb2_grpc.MemoryServiceStub:
    return memory_pb2_grpc.MemoryServiceStub(client.channel)


def a_memory(fleet: Fleet, name: str, tenant: str = "", **changes: object) -> memory_pb2.Memory:
    memory = memory_pb2.Memory(
        id=derived_id(MEMORY, name),
        tenant=tenant,
        kind=memory_pb2.MEMORY_KIND_RUNBOOK,
        text=f"Xid 79 on {name}: a reset does not help",
        symptoms=["xid:79"],
        root_cause=name,
        actions=[memory_pb2.MemoryAction(tool="reboot_host", result=memory_pb2.MEMORY_OUTCOME_FIXED)],
        outcome=memory_pb2.MEMORY_OUTCOME_FIXED,
        count=3,
        fixed_count=2,
    )
    now = fleet.clock.now()
    memory.created_at.FromDatetime(now - timedelta(days=1))
    memory.expires_at.FromDatetime(now + timedelta(days=30))
    for field, value in changes.items():
        setattr(memory, field, value)
    return memory


async def brought(client: Client, *memories: memory_pb2.Memory, request_id: str = "") -> tuple[int, int]:
    request = memory_pb2.ImportMemoriesRequest(memories=memories, request_id=request_id)
    done = await memories_of(client).ImportMemories(request)
    return done.added, done.known


async def test_memories_are_brought_found_shown_and_forgotten(fleet: Fleet, admin: Client, user: Client) -> None:
    memory = a_memory(fleet, "gpu-a-17")
    assert await brought(admin, memory, request_id="one") == (1, 0)
    assert await brought(admin, memory, request_id="one") == (1, 0), "a retry tells the same"
    assert await brought(admin, memory) == (0, 1)
    mine = memories_of(user)
    (found,) = (await mine.SearchMemories(memory_pb2.SearchMemoriesRequest(text="xid:79 gpu-a-17"))).memories
    assert (found.memory.id, found.memory.uses) == (memory.id, 1)
    assert 0 < found.score <= 1
    shown = (await mine.GetMemory(memory_pb2.GetMemoryRequest(memory_id=memory.id))).memory
    assert (shown.count, shown.fixed_count, shown.actions[0].tool) == (3, 2, "reboot_host")
    forget = memory_pb2.DeleteMemoryRequest(memory_id=memory.id, reason="wrong", request_id="two")
    await memories_of(admin).DeleteMemory(forget)
    await memories_of(admin).DeleteMemory(forget)
    outcome = await refused(mine.GetMemory(memory_pb2.GetMemoryRequest(memory_id=memory.id)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND")
    records = (await admin.audit.ListAuditRecords(audit_pb2.ListAuditRecordsRequest())).records
    assert [one.action for one in records if one.action.startswith("memory.")] == [
        "memory.forgotten",
        "memory.imported",
        "memory.imported",
    ]


async def test_a_user_sees_their_own_and_the_fleets_and_an_operator_all(
    fleet: Fleet, admin: Client, user: Client, operator: Client
) -> None:
    assert user.user
    of_fleet, of_user, of_other = (
        a_memory(fleet, "fleet"),
        a_memory(fleet, "mine", user.user.id),
        a_memory(fleet, "other", "0b8f3c1e-6a54-4c0e-9d0a-1f5f6a7b8c9d"),
    )
    await brought(admin, of_fleet, of_user, of_other)

    async def listed(client: Client) -> set[str]:
        stub, token, ids = memories_of(client), "", set[str]()
        while True:
            page = await stub.ListMemories(memory_pb2.ListMemoriesRequest(page_size=1, page_token=token))
            ids |= {one.id for one in page.memories}
            token = page.next_page_token
            if not token:
                return ids

    assert await listed(user) == {of_fleet.id, of_user.id}
    assert await listed(operator) == {of_fleet.id, of_user.id, of_other.id}
    found = await memories_of(user).SearchMemories(memory_pb2.SearchMemoriesRequest(text="Xid 79", limit=50))
    assert {one.memory.id for one in found.memories} == {of_fleet.id, of_user.id}
    hidden = await refused(memories_of(user).GetMemory(memory_pb2.GetMemoryRequest(memory_id=of_other.id)))
    assert hidden.code is grpc.StatusCode.NOT_FOUND
    assert (await memories_of(operator).GetMemory(memory_pb2.GetMemoryRequest(memory_id=of_other.id))).memory


async def test_an_export_can_be_brought_back(fleet: Fleet, admin: Client, operator: Client) -> None:
    await brought(admin, *(a_memory(fleet, f"host-{number}") for number in range(130)))
    stream = memories_of(operator).ExportMemories(memory_pb2.ExportMemoriesRequest())
    parts = [len(part.memories) async for part in stream]
    assert parts == [100, 30]
    status = await memories_of(operator).GetMemoryStatus(memory_pb2.GetMemoryStatusRequest())
    assert (status.store, status.embedder, status.memories, status.error) == ("local", "hashed-ngrams-512-v1", 130, "")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "m-1"}, "ID_INVALID"),
        ({"kind": 0}, "ENUM_UNKNOWN"),
        ({"outcome": 0}, "ENUM_UNKNOWN"),
        ({"text": ""}, "FIELD_MISSING"),
        ({"text": "x" * 2_001}, "TEXT_TOO_LONG"),
        ({"count": 0}, "NUMBER_OUT_OF_RANGE"),
        ({"fixed_count": 4}, "NUMBER_OUT_OF_RANGE"),
    ],
    ids=["id", "kind", "outcome", "no text", "long text", "never seen", "fixed more often than seen"],
)
async def test_what_is_no_memory_is_not_taken_in(
    fleet: Fleet, admin: Client, changes: dict[str, object], reason: str
) -> None:
    request = memory_pb2.ImportMemoriesRequest(memories=[a_memory(fleet, "a", **changes)])  # type: ignore[arg-type] # of any field
    outcome = await refused(memories_of(admin).ImportMemories(request))
    assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await memories_of(admin).GetMemoryStatus(memory_pb2.GetMemoryStatusRequest())).memories == 0
    assert reason in (outcome.reason, *outcome.fields, str(outcome.metadata)) or outcome.fields


async def test_an_import_is_never_from_the_future_and_ends_some_day(fleet: Fleet, admin: Client) -> None:
    memory = a_memory(fleet, "a")
    memory.created_at.FromDatetime(datetime(2999, 1, 1, tzinfo=UTC))
    memory.expires_at.FromDatetime(datetime(2999, 1, 1, tzinfo=UTC))
    await brought(admin, memory)
    kept = (await memories_of(admin).GetMemory(memory_pb2.GetMemoryRequest(memory_id=memory.id))).memory
    assert kept.created_at.ToDatetime(tzinfo=UTC) == fleet.clock.now()
    assert kept.expires_at.ToDatetime(tzinfo=UTC) == fleet.clock.now() + timedelta(days=3_650)


async def test_only_an_admin_brings_memories_and_only_an_operator_forgets(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    request = memory_pb2.ImportMemoriesRequest(memories=[a_memory(fleet, "a")])
    assert (await refused(memories_of(operator).ImportMemories(request))).code is grpc.StatusCode.PERMISSION_DENIED
    forget = memory_pb2.DeleteMemoryRequest(memory_id=derived_id(MEMORY, "a"))
    assert (await refused(memories_of(user).DeleteMemory(forget))).code is grpc.StatusCode.PERMISSION_DENIED
