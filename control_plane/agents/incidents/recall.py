"""Asks memory about faults before anything is decided. Memory is of use, never needed: it may be away, or slow."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from control_plane.clock import Clock
from control_plane.errors import OrQuantaError
from control_plane.fleet.remembered import Fault
from control_plane.memory.contract import MemoryStore
from control_plane.model.ids import NodeId
from control_plane.model.memory import Memory, MemoryKind, MemoryQuery

log = structlog.get_logger()

_FAULTS_MAX: Final = 32
"""Different faults that memory is asked about in one round; of the others nothing is remembered."""
_MEMORIES_MAX: Final = 50
_SECONDS: Final = 2.0
"""For all of a round; a repair does not wait longer for memory."""


class Recall:
    """What is remembered of faults; nothing without a memory, and nothing while it is away."""

    def __init__(self, memory: MemoryStore | None, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock

    async def about(self, faults: Mapping[NodeId, Fault | None]) -> dict[NodeId, tuple[Memory, ...]]:
        """Return memories of incidents for each node whose fault is given, newest first."""
        wanted = {node_id: fault for node_id, fault in faults.items() if fault is not None}
        if self._memory is None or not wanted:
            return {}
        known: dict[tuple[str, ...], tuple[Memory, ...]] = {}
        try:
            async with asyncio.timeout(_SECONDS):
                for symptoms in dict.fromkeys(fault.symptoms for fault in wanted.values()):
                    if len(known) < _FAULTS_MAX:
                        known[symptoms] = await self._about(self._memory, symptoms)
        except (TimeoutError, OrQuantaError) as error:
            log.warning("memory.away", why=str(error) or "it did not answer in time")
        except Exception:
            log.exception("memory.unreadable")  # whatever is wrong with it, hosts are repaired
        return {node_id: known.get(fault.symptoms, ()) for node_id, fault in wanted.items()}

    async def _about(self, memory: MemoryStore, symptoms: tuple[str, ...]) -> tuple[Memory, ...]:
        # No words: for this the newest count, not the nearest.
        query = MemoryQuery(text="", kinds=(MemoryKind.INCIDENT,), symptoms=symptoms, limit=_MEMORIES_MAX)
        return tuple(found.memory for found in await memory.search(query, now=self._clock.now()))
