"""Repairs as rows: what a column holds of each, and back."""

from typing import Any

from control_plane.model.ids import ActionId, IncidentId, NodeId, RepairId
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.store.documents import REPAIR_STEP, VERIFICATION_CHECK
from control_plane.store.health_tables import RepairRow


def model(row: RepairRow) -> Repair:
    """Return the repair of a row."""
    return Repair(
        id=RepairId(row.id),
        node_id=NodeId(row.node_id),
        incident_id=None if row.incident_id is None else IncidentId(row.incident_id),
        action_id=None if row.action_id is None else ActionId(row.action_id),
        origin=RepairOrigin(row.origin),
        rung=Rung(row.rung),
        state=RepairState(row.state),
        reason=row.reason,
        ordered_at=row.ordered_at,
        gpu_uuids=tuple(row.gpu_uuids),
        service=row.service,
        process_ids=tuple(row.process_ids),
        dry_run=row.dry_run,
        condition_ids=tuple(row.condition_ids),
        not_after=row.not_after,
        sent_at=row.sent_at,
        verifying_at=row.verifying_at,
        closed_at=row.closed_at,
        message=row.message,
        steps=tuple(REPAIR_STEP.load(step) for step in row.steps),
        checks=tuple(VERIFICATION_CHECK.load(check) for check in row.checks),
        started_at=row.started_at,
        ended_at=row.ended_at,
        handoff_json=row.handoff_json,
        policy_version=row.policy_version,
        host_repair_id=row.host_repair_id,
    )


def state(repair: Repair) -> dict[str, Any]:  # Any: a column's value
    """Return what changes while a repair goes on."""
    return {
        "incident_id": repair.incident_id,
        "state": repair.state.value,
        "not_after": repair.not_after,
        "sent_at": repair.sent_at,
        "verifying_at": repair.verifying_at,
        "closed_at": repair.closed_at,
        "message": repair.message,
        "steps": [REPAIR_STEP.dump(step) for step in repair.steps],
        "checks": [VERIFICATION_CHECK.dump(check) for check in repair.checks],
        "started_at": repair.started_at,
        "ended_at": repair.ended_at,
        "handoff_json": repair.handoff_json,
    }


def order(repair: Repair) -> dict[str, Any]:  # Any: a column's value
    """Return what stays while a repair goes on."""
    return {
        "id": repair.id,
        "node_id": repair.node_id,
        "action_id": repair.action_id,
        "origin": repair.origin.value,
        "rung": int(repair.rung),
        "reason": repair.reason,
        "gpu_uuids": list(repair.gpu_uuids),
        "service": repair.service,
        "process_ids": list(repair.process_ids),
        "dry_run": repair.dry_run,
        "condition_ids": list(repair.condition_ids),
        "ordered_at": repair.ordered_at,
        "policy_version": repair.policy_version,
        "host_repair_id": repair.host_repair_id,
    }
