"""Memories for tests."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from control_plane.model.ids import MEMORY, MemoryId, derived_id
from control_plane.model.memory import Memory, MemoryAction, MemoryKind, MemoryOutcome

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def memory_id(name: str) -> MemoryId:
    return derived_id(MEMORY, name)


def a_memory(name: str, **changes: Any) -> Memory:  # Any: of any field
    """A fleet's memory of an incident, of its own and with nothing like it."""
    made = Memory(
        id=memory_id(name),
        tenant="",
        kind=MemoryKind.INCIDENT,
        text=f"The GPU fell off the bus of {name}.",
        symptoms=("xid:79",),
        root_cause=f"cause of {name}",
        actions=(MemoryAction("reset_gpu", MemoryOutcome.FAILED), MemoryAction("reboot_host", MemoryOutcome.FIXED)),
        outcome=MemoryOutcome.FIXED,
        gpu_type="H100",
        node_class="8x H100",
        evidence_ids=(f"evidence-{name}",),
        source=f"source-{name}",
        created_at=NOW,
        expires_at=NOW + timedelta(days=90),
    )
    return replace(made, **changes)
