"""Repairs on the wire."""

from typing import Final

from control_plane.model.repair import (
    CheckOutcome,
    Repair,
    RepairOrigin,
    RepairState,
    RepairStep,
    Rung,
    VerificationCheck,
)
from control_plane.services.convert.scalars import duration, timestamp, wire_enum
from orquanta.v1 import repair_pb2

RUNG: Final = wire_enum(Rung, repair_pb2.RepairRung.Value, "REPAIR_RUNG")
_STATE: Final = wire_enum(RepairState, repair_pb2.RepairState.Value, "REPAIR_STATE")
_ORIGIN: Final = wire_enum(RepairOrigin, repair_pb2.RepairOrigin.Value, "REPAIR_ORIGIN")
_OUTCOME: Final = wire_enum(CheckOutcome, repair_pb2.CheckOutcome.Value, "CHECK_OUTCOME")


def repair(value: Repair, *, brief: bool = False) -> repair_pb2.RepairReport:
    """Return a repair as its host last reported it; in brief, without steps, checks and hand-off report.

    It has not begun while `started_at` is unset.
    """
    return repair_pb2.RepairReport(
        repair_id=value.id,
        incident_id=value.incident_id or "",
        origin=_ORIGIN[value.origin],
        rung=RUNG[value.rung],
        state=_STATE[value.state],
        gpu_uuids=value.gpu_uuids,
        service=value.service,
        dry_run=value.dry_run,
        message=value.message,
        steps=[] if brief else [_step(step) for step in value.steps],
        checks=[] if brief else [_check(check) for check in value.checks],
        started_at=timestamp(value.started_at),
        ended_at=timestamp(value.ended_at),
        handoff_json="" if brief else value.handoff_json,
        condition_ids=value.condition_ids,
        policy_version=value.policy_version,
    )


def _step(value: RepairStep) -> repair_pb2.RepairStep:
    return repair_pb2.RepairStep(
        name=value.name,
        ok=value.ok,
        detail=value.detail,
        started_at=timestamp(value.started_at),
        took=duration(value.seconds),
        undo=value.undo,
    )


def _check(value: VerificationCheck) -> repair_pb2.VerificationCheck:
    return repair_pb2.VerificationCheck(
        name=value.name, outcome=_OUTCOME[value.outcome], detail=value.detail, took=duration(value.seconds)
    )
