"""What hosts say about their health, taken into the books as the link takes it."""

from datetime import timedelta
from typing import Any

from control_plane.governor import health, incidents, repairs
from control_plane.model.health import Condition, ConditionEvidence, ConditionScope, ConditionSeverity, EvidenceSource
from control_plane.model.ids import IncidentId
from control_plane.model.node import Node
from control_plane.model.repair import (
    CheckOutcome,
    RepairOrigin,
    RepairReport,
    RepairState,
    RepairStep,
    Rung,
    VerificationCheck,
)
from control_plane.store import conditions
from control_plane.store.database import Tx
from tests.control_plane.services.harness import Fleet


def condition(fleet: Fleet, gpu_uuid: str, **changes: Any) -> Condition:  # Any: fields of a condition
    fields: dict[str, Any] = {
        "id": f"gpu/{gpu_uuid}/xid-79",
        "scope": ConditionScope.GPU,
        "subject": gpu_uuid,
        "kind": "XID",
        "code": 79,
        "severity": ConditionSeverity.FATAL,
        "summary": "the GPU has fallen off the bus",
        "first_seen_at": fleet.clock.now(),
        "last_seen_at": fleet.clock.now() + timedelta(seconds=4),
        "gpu_uuid": gpu_uuid,
        "repair": Rung.RESET_GPU,
        "evidence": (ConditionEvidence("e-1", EvidenceSource.KERNEL, "NVRM: Xid 79", fleet.clock.now()),),
    }
    return Condition(**fields | changes)


async def report_health(fleet: Fleet, node: Node, *present: Condition) -> None:
    """Let the host say that these are its conditions now, and no others."""
    await fleet.store.write(lambda tx: health.reconcile(tx, node.id, present))


async def open_incident(fleet: Fleet, node: Node) -> IncidentId:
    """Open the incident of a node for what is wrong with it."""

    def write(tx: Tx) -> IncidentId:
        return incidents.open_incident(tx, node, conditions.of_node(tx, node.id), why="waits for its jobs")

    return await fleet.store.write(write)


async def report_repair(fleet: Fleet, node: Node, repair_id: str, rung: Rung, state: RepairState) -> None:
    """Let the host tell how far a repair is."""
    now = fleet.clock.now()
    report = RepairReport(
        repair_id=repair_id,
        origin=RepairOrigin.CONTROL_PLANE,
        rung=rung,
        state=state,
        message="done" if state.ended else "",
        steps=(RepairStep("stop nvidia-persistenced", ok=True, detail="", started_at=now, seconds=0.25),),
        checks=(VerificationCheck("memory_pattern", CheckOutcome.NOT_CHECKED, "there is no CUDA runtime", 0.0),),
        started_at=now,
        ended_at=now if state.ended else None,
        handoff_json='{"serial": "1650522"}' if rung is Rung.QUARANTINE else "",
    )
    await fleet.store.write(lambda tx: repairs.apply_report(tx, node.id, report))
