"""The daemon as an operator on its host sees it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from node_agent.convert_health import to_condition, to_conditions
from node_agent.convert_repair import to_repair_report
from node_agent.parts.desk import HealthDesk
from node_agent.parts.inject import Injector
from node_agent.parts.repairs import Repairman
from node_agent.spool.spool import Spool
from orquanta.v1 import health_pb2, node_local_pb2, repair_pb2

_EVENTS_AT_ONCE = 200
_MAXIMUM_REPAIRS = 100


class LocalDaemon:
    """Implements the socket's `LocalFacade`."""

    def __init__(
        self,
        *,
        describe: Callable[[], dict[str, Any]],
        desk: HealthDesk,
        spool: Spool,
        repairs: Repairman,
        injector: Injector,
    ) -> None:
        self._describe = describe
        self._desk = desk
        self._spool = spool
        self._repairs = repairs
        self._injector = injector

    def status(self) -> dict[str, Any]:
        """Return values for `json.dumps`."""
        return self._describe()

    def conditions(self) -> Sequence[health_pb2.Condition]:
        """Return what is wrong now, worst first."""
        return to_conditions(self._desk.conditions())

    async def events(self, since: datetime | None, *, follow: bool) -> AsyncGenerator[health_pb2.HealthEvent, None]:
        """Yield the health events that the host keeps from `since` on, oldest first; go on if told to follow."""
        last = 0
        while True:
            seen = self._spool.visible
            found = await self._spool.events_after(last, _EVENTS_AT_ONCE)
            for sequence, event in found:
                last = sequence
                if since is None or event.occurred_at.ToDatetime(tzinfo=UTC) >= since:
                    yield event
            if found:
                continue
            if not follow:
                return
            last = max(last, seen)
            await self._spool.wait_beyond(last)

    def repairs(self) -> Sequence[repair_pb2.RepairReport]:
        """Return the repairs that the host remembers, newest first."""
        return [to_repair_report(record) for record in self._repairs.records()[:_MAXIMUM_REPAIRS]]

    async def acknowledge(self, condition_id: str, by: str) -> health_pb2.Condition:
        """Take note that an operator knows a condition. Raises LookupError if there is none of this id."""
        self._find(condition_id)
        await self._desk.acknowledge(condition_id, by)
        return self._find(condition_id)

    async def clear(self, condition_id: str, by: str) -> None:
        """End a condition by an operator's word. Raises LookupError if there is none of this id."""
        self._find(condition_id)
        await self._desk.clear(condition_id, by)

    async def inject(self, fault: node_local_pb2.InjectFaultRequest) -> str:
        """Put a fault in and say what was done; raises ValueError or PermissionError."""
        return await self._injector.inject(fault)

    def _find(self, condition_id: str) -> health_pb2.Condition:
        condition = self._desk.condition(condition_id)
        if condition is None:
            raise LookupError(
                f"There is no condition {condition_id[:200]!r} now; `orquanta-node conditions` lists those there are."
            )
        return to_condition(condition)
