"""Repairs from the wire."""

from orquanta.convert.scalars import read_enum, read_seconds, read_time
from orquanta.types.repairs import (
    CheckOutcome,
    Repair,
    RepairOrigin,
    RepairRung,
    RepairState,
    RepairStep,
    VerificationCheck,
)
from orquanta.v1 import repair_pb2 as pb


def read_repair(message: pb.RepairReport) -> Repair:
    """A repair."""
    return Repair(
        id=message.repair_id,
        incident_id=message.incident_id,
        origin=read_enum(RepairOrigin, pb.RepairOrigin, message.origin),
        rung=read_enum(RepairRung, pb.RepairRung, message.rung),
        state=read_enum(RepairState, pb.RepairState, message.state),
        gpu_uuids=tuple(message.gpu_uuids),
        service=message.service,
        dry_run=message.dry_run,
        message=message.message,
        steps=tuple(_read_step(step) for step in message.steps),
        checks=tuple(_read_check(check) for check in message.checks),
        started_at=read_time(message.started_at),
        ended_at=read_time(message.ended_at),
        handoff_json=message.handoff_json,
        condition_ids=tuple(message.condition_ids),
        policy_version=message.policy_version,
    )


def _read_step(message: pb.RepairStep) -> RepairStep:
    return RepairStep(
        name=message.name,
        ok=message.ok,
        detail=message.detail,
        started_at=read_time(message.started_at),
        took_seconds=read_seconds(message.took),
        undo=message.undo,
    )


def _read_check(message: pb.VerificationCheck) -> VerificationCheck:
    return VerificationCheck(
        name=message.name,
        outcome=read_enum(CheckOutcome, pb.CheckOutcome, message.outcome),
        detail=message.detail,
        took_seconds=read_seconds(message.took),
    )
