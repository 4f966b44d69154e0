"""Memories on the wire."""

from typing import Final

from control_plane.memory.contract import MemoryStatus
from control_plane.model.memory import FoundMemory, Memory, MemoryAction, MemoryKind, MemoryOutcome
from control_plane.services.convert.scalars import from_wire, timestamp, wire_enum
from orquanta.v1 import memory_pb2

_KIND: Final = wire_enum(MemoryKind, memory_pb2.MemoryKind.Value, "MEMORY_KIND")
_OUTCOME: Final = wire_enum(MemoryOutcome, memory_pb2.MemoryOutcome.Value, "MEMORY_OUTCOME")

KINDS: Final = from_wire(_KIND)
OUTCOMES: Final = from_wire(_OUTCOME)


def memory(value: Memory) -> memory_pb2.Memory:
    """Return a memory."""
    return memory_pb2.Memory(
        id=value.id,
        tenant=value.tenant,
        kind=_KIND[value.kind],
        text=value.text,
        symptoms=value.symptoms,
        root_cause=value.root_cause,
        actions=[_action(action) for action in value.actions],
        outcome=_OUTCOME[value.outcome],
        gpu_type=value.gpu_type,
        node_class=value.node_class,
        evidence_ids=value.evidence_ids,
        source=value.source,
        created_at=timestamp(value.created_at),
        last_used_at=timestamp(value.last_used_at),
        uses=value.uses,
        expires_at=timestamp(value.expires_at),
        count=value.count,
        fixed_count=value.fixed_count,
    )


def found(value: FoundMemory) -> memory_pb2.FoundMemory:
    """Return a memory that was found."""
    return memory_pb2.FoundMemory(memory=memory(value.memory), score=value.score)


def status(value: MemoryStatus) -> memory_pb2.GetMemoryStatusResponse:
    """Return how memory stands."""
    return memory_pb2.GetMemoryStatusResponse(
        store=value.store,
        embedder=value.embedder,
        dimensions=value.dimensions,
        memories=value.memories,
        waiting=value.waiting,
        error=value.error,
    )


def _action(value: MemoryAction) -> memory_pb2.MemoryAction:
    return memory_pb2.MemoryAction(tool=value.tool, result=_OUTCOME[value.result])
