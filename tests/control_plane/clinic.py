"""A fleet whose hosts have troubles: what they say about their health, and the agent that treats them."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count

from control_plane.agents.incidents.agent import Incidents
from control_plane.agents.scheduler import Scheduler
from control_plane.fleet.incident_steps import HealingPolicy
from control_plane.governor import health, repairs
from control_plane.governor.health import Record, Taken
from control_plane.governor.repairs import RepairOutcome
from control_plane.model.bounds import Bound, BoundScope
from control_plane.model.health import (
    Authority,
    Condition,
    ConditionEvidence,
    ConditionScope,
    ConditionSeverity,
    EvidenceSource,
    HealthEvent,
    HealthEventKind,
)
from control_plane.model.incident import Incident
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import (
    CheckOutcome,
    Repair,
    RepairOrigin,
    RepairReport,
    RepairState,
    Rung,
    VerificationCheck,
)
from control_plane.store import bounds, conditions, incidents
from control_plane.store import repairs as repair_store
from control_plane.store.database import Tx
from control_plane.store.incidents import IncidentFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.world import LIMITS, World

POLICY = HealingPolicy()
PASSED = VerificationCheck("nvml", CheckOutcome.PASSED, "as it must be", 0.1)


def gpu(node: Node, index: int = 0) -> str:
    return f"GPU-{node.name}-{index}"


def condition(
    condition_id: str,
    now: datetime,
    *,
    gpu_uuid: str = "",
    severity: ConditionSeverity = ConditionSeverity.FATAL,
    repair: Rung | None = Rung.RESET_GPU,
    **changes: object,
) -> Condition:
    made = Condition(
        id=condition_id,
        scope=ConditionScope.GPU if gpu_uuid else ConditionScope.HOST,
        subject=gpu_uuid,
        kind="XID",
        severity=severity,
        summary=f"trouble {condition_id}",
        first_seen_at=now,
        last_seen_at=now,
        gpu_uuid=gpu_uuid,
        repair=repair,
        authority=Authority.CATALOGUE if repair else None,
        evidence=(ConditionEvidence(f"ev-{condition_id}", EvidenceSource.KERNEL, "NVRM: Xid 79", now),),
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the condition by their names


@dataclass
class Clinic:
    """Hosts and the healing agent."""

    world: World
    agent: Incidents
    scheduler: Scheduler
    _sequence: "count[int]" = field(default_factory=lambda: count(1))

    @classmethod
    def of(cls, world: World, policy: HealingPolicy = POLICY) -> "Clinic":
        return cls(
            world,
            Incidents(world.store, world.governor, policy),
            Scheduler(world.store, world.governor, max_gpus_per_user=LIMITS.max_gpus_per_user),
        )

    async def bound(self, scope: BoundScope, most: int, percent: float = 100.0) -> None:
        await self.world.store.write(lambda tx: bounds.save(tx, {scope: Bound(most, percent)}, changed_by="test"))

    def trouble(self, condition_id: str, node: Node, index: int | None = 0, **changes: object) -> Condition:
        uuid = "" if index is None else gpu(node, index)
        return condition(condition_id, self.world.clock.now(), gpu_uuid=uuid, **changes)  # type: ignore[arg-type] # as `condition`

    async def says(self, node: Node, kind: HealthEventKind, one: Condition) -> Taken:
        """A host's health event comes through its spool."""
        now = self.world.clock.now()
        sequence = next(self._sequence)
        record = Record(sequence, now, HealthEvent(f"event-{sequence}", kind, one, now))
        return await self.world.store.write(lambda tx: health.take(tx, node.id, "spool-1", [record], live_from=None))

    async def raised(
        self, node: Node, condition_id: str = "gpu/xid-79", index: int | None = 0, **changes: object
    ) -> None:
        await self.says(node, HealthEventKind.RAISED, self.trouble(condition_id, node, index, **changes))

    async def cleared(self, node: Node, condition_id: str = "gpu/xid-79") -> None:
        await self.says(node, HealthEventKind.CLEARED, self.trouble(condition_id, node))

    async def reports(self, node: Node, state: RepairState, *, repair: Repair | None = None) -> RepairOutcome:
        """The host reports about the repair that it was ordered."""
        ordered = repair or await self.repair(node)
        report = RepairReport(
            repair_id=ordered.id,
            origin=RepairOrigin.CONTROL_PLANE,
            rung=ordered.rung,
            state=state,
            message=state.value,
            checks=(PASSED,) if state is RepairState.SUCCEEDED else (),
            ended_at=self.world.clock.now() if state.ended else None,
        )
        return await self.world.store.write(lambda tx: repairs.apply_report(tx, node.id, report))

    async def alone(self, node: Node, name: str, rung: Rung, state: RepairState, *condition_ids: str) -> None:
        """The host reports what it does by itself."""
        now = self.world.clock.now()
        report = RepairReport(
            repair_id=name,
            origin=RepairOrigin.LOCAL_POLICY,
            rung=rung,
            state=state,
            message=state.value,
            started_at=now,
            ended_at=now if state.ended else None,
            condition_ids=condition_ids,
            policy_version=7,
        )
        await self.world.store.write(lambda tx: repairs.apply_report(tx, node.id, report))

    async def treat(self) -> str:
        """Let the agent look."""
        return await self.agent.round()

    async def passes(self, seconds: float) -> str:
        self.world.clock.advance(seconds)
        return await self.agent.round()

    async def succeeds(self, node: Node, *over: str) -> None:
        """The host carries out its order, and these conditions are over."""
        self.world.clock.advance(1)
        await self.reports(node, RepairState.RUNNING)
        await self.reports(node, RepairState.VERIFYING)
        for condition_id in over:
            await self.cleared(node, condition_id)
        await self.reports(node, RepairState.SUCCEEDED)
        await self.treat()

    async def fails(self, node: Node) -> None:
        self.world.clock.advance(1)
        await self.reports(node, RepairState.RUNNING)
        await self.reports(node, RepairState.FAILED)
        await self.treat()

    # What the books say.

    async def repair(self, node: Node) -> Repair:
        found = await self.world.store.read(lambda tx: repair_store.unfinished(tx, node.id))
        assert found is not None, "no repair is ordered"
        return found

    async def maybe_repair(self, node: Node) -> Repair | None:
        return await self.world.store.read(lambda tx: repair_store.unfinished(tx, node.id))

    async def incident(self, node: Node) -> Incident:
        """The node's newest incident."""

        def read(tx: Tx) -> Incident:
            return incidents.page(tx, IncidentFilter(node_id=node.id), PageRequest(1)).items[0]

        return await self.world.store.read(read)

    async def incidents(self, node: Node) -> tuple[Incident, ...]:
        page = await self.world.store.read(
            lambda tx: incidents.page(tx, IncidentFilter(node_id=node.id), PageRequest(100))
        )
        return page.items

    async def conditions(self, node: Node) -> tuple[Condition, ...]:
        return await self.world.store.read(lambda tx: conditions.of_node(tx, node.id))

    async def state(self, node: Node) -> NodeState:
        return (await self.world.node_now(node)).state

    async def is_out(self, node: Node) -> bool:
        return await self.world.store.read(lambda tx: bounds.is_out(tx, node.id))
