"""Memories from and to the wire, and as lines of an export."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from orquanta.convert.scalars import read_enum, read_time, write_enum, write_time
from orquanta.types.memories import FoundMemory, Memory, MemoryAction, MemoryKind, MemoryOutcome, MemoryStatus
from orquanta.v1 import memory_pb2 as pb


def read_memory(message: pb.Memory) -> Memory:
    """A memory."""
    return Memory(
        id=message.id,
        tenant=message.tenant,
        kind=read_enum(MemoryKind, pb.MemoryKind, message.kind),
        text=message.text,
        symptoms=tuple(message.symptoms),
        root_cause=message.root_cause,
        actions=tuple(
            MemoryAction(one.tool, read_enum(MemoryOutcome, pb.MemoryOutcome, one.result)) for one in message.actions
        ),
        outcome=read_enum(MemoryOutcome, pb.MemoryOutcome, message.outcome),
        gpu_type=message.gpu_type,
        node_class=message.node_class,
        evidence_ids=tuple(message.evidence_ids),
        source=message.source,
        created_at=read_time(message.created_at),
        expires_at=read_time(message.expires_at),
        last_used_at=read_time(message.last_used_at) if message.HasField("last_used_at") else None,
        uses=message.uses,
        count=message.count,
        fixed_count=message.fixed_count,
    )


def write_memory(memory: Memory) -> pb.Memory:
    """A memory for an import. Raises ValueError if it is of a kind that only stands for what is not known."""
    return pb.Memory(
        id=memory.id,
        tenant=memory.tenant,
        kind=write_enum(pb.MemoryKind, memory.kind),
        text=memory.text,
        symptoms=memory.symptoms,
        root_cause=memory.root_cause,
        actions=[pb.MemoryAction(tool=one.tool, result=_outcome(one.result)) for one in memory.actions],
        outcome=_outcome(memory.outcome),
        gpu_type=memory.gpu_type,
        node_class=memory.node_class,
        evidence_ids=memory.evidence_ids,
        source=memory.source,
        created_at=None if memory.created_at is None else write_time(memory.created_at),
        expires_at=None if memory.expires_at is None else write_time(memory.expires_at),
        last_used_at=None if memory.last_used_at is None else write_time(memory.last_used_at),
        uses=memory.uses,
        count=memory.count,
        fixed_count=memory.fixed_count,
    )


def read_found(message: pb.FoundMemory) -> FoundMemory:
    """A memory that was found."""
    return FoundMemory(read_memory(message.memory), message.score)


def read_status(message: pb.GetMemoryStatusResponse) -> MemoryStatus:
    """How memory stands."""
    return MemoryStatus(
        store=message.store,
        embedder=message.embedder,
        dimensions=message.dimensions,
        memories=message.memories,
        waiting=message.waiting,
        error=message.error,
    )


def memory_line(memory: Memory) -> str:
    """One line of an export, without its end."""
    return json.dumps(asdict(memory), default=_text)


def read_memory_line(line: str) -> Memory:
    """The memory of one line of an export. Raises ValueError if it is none."""
    try:
        told: dict[str, Any] = json.loads(line)  # Any: JSON
        return Memory(
            id=str(told["id"]),
            tenant=str(told.get("tenant", "")),
            kind=MemoryKind(told["kind"]),
            text=str(told["text"]),
            symptoms=_texts(told.get("symptoms", ())),
            root_cause=str(told.get("root_cause", "")),
            actions=tuple(
                MemoryAction(str(one["tool"]), MemoryOutcome(one["result"])) for one in told.get("actions", ())
            ),
            outcome=MemoryOutcome(told["outcome"]),
            gpu_type=str(told.get("gpu_type", "")),
            node_class=str(told.get("node_class", "")),
            evidence_ids=_texts(told.get("evidence_ids", ())),
            source=str(told.get("source", "")),
            created_at=_moment(told.get("created_at")),
            expires_at=_moment(told["expires_at"]),
            last_used_at=_moment(told.get("last_used_at")),
            uses=int(told.get("uses", 0)),
            count=int(told.get("count", 1)),
            fixed_count=int(told.get("fixed_count", 0)),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"it is no memory of an export ({type(error).__name__}: {error})") from error


def _outcome(outcome: MemoryOutcome) -> "pb.MemoryOutcome.ValueType":
    return pb.MemoryOutcome.Value(f"MEMORY_OUTCOME_{outcome.name}")


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _texts(values: Any) -> tuple[str, ...]:  # Any: JSON
    if not isinstance(values, list | tuple):
        raise TypeError("a list was expected")
    return tuple(str(one) for one in values)


def _moment(text: Any) -> datetime | None:  # Any: JSON
    return None if text is None else datetime.fromisoformat(text)
