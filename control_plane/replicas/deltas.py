"""What models write at the leader, for those who watch at another replica; it is never stored."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC

import structlog
from google.protobuf.message import DecodeError

from control_plane.bus.client import Bus, Message
from control_plane.bus.deltas import Deltas
from control_plane.bus.run_messages import reasoning_event
from control_plane.bus.subjects import REPLICA_DELTAS
from control_plane.errors import OrQuantaError
from control_plane.model.ids import GoalId, RunId
from control_plane.model.run import EventType, ReasoningEvent
from orquanta.v1 import agent_pb2

log = structlog.get_logger()


class DeltaRelay:
    """Hands pieces of text from the leader to the others. A lost piece is not missed: the whole text is an event."""

    def __init__(self, bus: Bus, deltas: Deltas) -> None:
        self._bus = bus
        self._deltas = deltas

    async def tell(self) -> None:
        """Send each piece until cancelled; for the leader."""
        with self._deltas.reader() as pieces:
            async for piece in pieces:
                try:
                    await self._bus.publish(REPLICA_DELTAS, reasoning_event(piece).SerializeToString())
                except OrQuantaError as error:
                    log.debug("replica.delta_not_sent", why=error.message)

    def listen(self, leads: Callable[[], bool]) -> Callable[[], Awaitable[None]]:
        """Return a loop that takes pieces while this replica does not lead itself."""

        async def take(message: Message) -> None:
            if leads():
                return
            try:
                self._deltas.publish(_read(message.data))
            except (DecodeError, ValueError) as error:
                log.warning("replica.delta_refused", why=str(error))

        async def run() -> None:
            subscription = await self._bus.subscribe(REPLICA_DELTAS, take)
            try:
                await asyncio.Event().wait()
            finally:
                await subscription.close()

        return run


def _read(data: bytes) -> ReasoningEvent:
    wire = agent_pb2.ReasoningEvent.FromString(data)
    return ReasoningEvent(
        run_id=RunId(wire.run_id),
        sequence=wire.sequence,
        agent_name=wire.agent_name,
        goal_id=GoalId(wire.goal_id) if wire.goal_id else None,
        type=EventType(wire.type),
        message=wire.message,
        data_json=wire.data_json,
        evidence_ids=tuple(wire.evidence_ids),
        tainted=wire.tainted,
        created_at=wire.created_at.ToDatetime(tzinfo=UTC),
    )
