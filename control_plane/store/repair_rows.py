"""Repairs as rows: what a column holds of each, and back."""

from typing import Any

from control_plane.model.ids import ActionId, IncidentId, NodeId, RepairId
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.store.documents import REPAIR_STEP, VERIFICATION_CHECK
from control_plane.store.health_tables import RepairRow
from control_plane.store.rows import columns


def model(row: RepairRow) -> Repair:
    """Return the repair of a row."""
    held = columns(row)
    return Repair(
        id=RepairId(held["id"]),
        node_id=NodeId(held["node_id"]),
        incident_id=None if held["incident_id"] is None else IncidentId(held["incident_id"]),
        action_id=None if held["action_id"] is None else ActionId(held["action_id"]),
        origin=RepairOrigin(held["origin"]),
        rung=Rung(held["rung"]),
        state=RepairState(held["state"]),
        reason=held["reason"],
        ordered_at=held["ordered_at"],
        gpu_uuids=tuple(held["gpu_uuids"]),
        service=held["service"],
        process_ids=tuple(held["process_ids"]),
        dry_run=held["dry_run"],
        condition_ids=tuple(held["condition_ids"]),
        not_after=held["not_after"],
        sent_at=held["sent_at"],
        verifying_at=held["verifying_at"],
        closed_at=held["closed_at"],
        message=held["message"],
        steps=tuple(REPAIR_STEP.load(step) for step in held["steps"]),
        checks=tuple(VERIFICATION_CHECK.load(check) for check in held["checks"]),
        started_at=held["started_at"],
        ended_at=held["ended_at"],
        handoff_json=held["handoff_json"],
        policy_version=held["policy_version"],
        host_repair_id=held["host_repair_id"],
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
