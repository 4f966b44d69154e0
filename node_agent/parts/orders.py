"""What the control plane orders beside jobs, and what Hello says of it."""

from collections.abc import Callable, Sequence
from datetime import UTC, timedelta

import structlog

from node_agent.convert_health import to_conditions
from node_agent.convert_repair import OrderInvalid, to_order
from node_agent.health.model import Rung
from node_agent.parts.desk import HealthDesk
from node_agent.parts.repairs import Repairman
from node_agent.policy.keeper import PolicyKeeper
from node_agent.repair.model import Origin, RepairOrder
from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2

log = structlog.get_logger()

_MAX_CONDITION_ORDERS = 500
_MAX_WORD = 200


class Orders:
    """Level-triggered: the same order again changes nothing."""

    def __init__(
        self, desk: HealthDesk, repairs: Repairman, policy: PolicyKeeper, *, clock_ahead_seconds: Callable[[], float]
    ) -> None:
        """`clock_ahead_seconds` is how far this host's clock is ahead of the control plane's."""
        self._desk = desk
        self._repairs = repairs
        self._policy = policy
        self._clock_ahead_seconds = clock_ahead_seconds

    def conditions(self) -> Sequence[health_pb2.Condition]:
        """Return every condition of now, worst first, at most 500 and 1 MiB together."""
        return to_conditions(self._desk.conditions())

    def repair_report(self) -> repair_pb2.RepairReport | None:
        """Return the repair in progress, or else the last one."""
        return self._repairs.report()

    def policy_version(self) -> int:
        """Return the version of the local policy that the host holds; 0 if none."""
        return self._policy.version

    async def heed(self, order: node_link_pb2.DesiredState) -> None:
        """Take up what an order says beside its members; the repair first, which waits for nothing."""
        self._take_repair(order)
        for said in order.condition_orders[:_MAX_CONDITION_ORDERS]:
            await self._take_word(said)
        if order.HasField("policy"):
            await self._policy.offer(order.policy)

    def _take_repair(self, order: node_link_pb2.DesiredState) -> None:
        if not order.HasField("repair") or not order.repair.id:
            self._repairs.order(None)
            return
        try:
            self._repairs.order(to_order(order.repair))
        except OrderInvalid as error:
            unread = RepairOrder(
                order.repair.id, Rung.VERIFY, Origin.CONTROL_PLANE, "", incident_id=order.repair.incident_id
            )
            self._repairs.refuse(unread, str(error))

    async def _take_word(self, said: node_link_pb2.ConditionOrder) -> None:
        condition = self._desk.condition(said.condition_id)
        by = said.by[:_MAX_WORD] or "an operator"
        if condition is None:
            return
        if said.HasField("at"):
            at = said.at.ToDatetime(tzinfo=UTC) + timedelta(seconds=self._clock_ahead_seconds())
            if condition.first_seen_at > at:
                return  # it is another one, which came later
        if said.clear:
            await self._desk.clear(said.condition_id, by)
        elif condition.acknowledged_by != by:
            await self._desk.acknowledge(said.condition_id, by)
