"""Repair orders, reports and the local policy between the daemon and the wire."""

from datetime import UTC, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration

from node_agent.convert import timestamp
from node_agent.health.model import Rung
from node_agent.repair.model import (
    Allowance,
    Check,
    CheckOutcome,
    LocalPolicy,
    Origin,
    RepairOrder,
    RepairRecord,
    RepairState,
    Step,
)
from orquanta.v1 import node_link_pb2, repair_pb2

_MAXIMUM_ENTRIES: Final = 64  # steps and checks; the contract's bound, as all of these
_MAXIMUM_DETAIL: Final = 2_000
_MAXIMUM_MESSAGE: Final = 2_000
_MAXIMUM_HANDOFF_BYTES: Final = 64 * 1024
_MAXIMUM_GPUS: Final = 64
_MAXIMUM_PROCESSES: Final = 64
_MAXIMUM_CONDITIONS: Final = 500
_MAXIMUM_ALLOWANCES: Final = 16

_STATES = {
    RepairState.PENDING: repair_pb2.REPAIR_STATE_PENDING,
    RepairState.RUNNING: repair_pb2.REPAIR_STATE_RUNNING,
    RepairState.VERIFYING: repair_pb2.REPAIR_STATE_VERIFYING,
    RepairState.SUCCEEDED: repair_pb2.REPAIR_STATE_SUCCEEDED,
    RepairState.FAILED: repair_pb2.REPAIR_STATE_FAILED,
    RepairState.REFUSED: repair_pb2.REPAIR_STATE_REFUSED,
}
_ORIGINS = {
    Origin.CONTROL_PLANE: repair_pb2.REPAIR_ORIGIN_CONTROL_PLANE,
    Origin.LOCAL_POLICY: repair_pb2.REPAIR_ORIGIN_LOCAL_POLICY,
}
_OUTCOMES = {
    CheckOutcome.PASSED: repair_pb2.CHECK_OUTCOME_PASSED,
    CheckOutcome.FAILED: repair_pb2.CHECK_OUTCOME_FAILED,
    CheckOutcome.NOT_CHECKED: repair_pb2.CHECK_OUTCOME_NOT_CHECKED,
}


class OrderInvalid(ValueError):
    """A repair order or a policy that this version cannot read; the message says why."""


def to_order(order: repair_pb2.RepairOrder) -> RepairOrder:
    """Return a repair that the control plane orders. Raises OrderInvalid."""
    try:
        rung = Rung(order.rung)
    except ValueError as error:
        raise OrderInvalid(f"this daemon knows no repair of number {order.rung}; upgrade it") from error
    if len(order.gpu_uuids) > _MAXIMUM_GPUS or len(order.process_ids) > _MAXIMUM_PROCESSES:
        raise OrderInvalid("the order names more GPUs or processes than a host can have")
    return RepairOrder(
        id=order.id,
        rung=rung,
        origin=Origin.CONTROL_PLANE,
        reason=order.reason[:_MAXIMUM_MESSAGE],
        incident_id=order.incident_id,
        gpu_uuids=tuple(order.gpu_uuids),
        service=order.service,
        process_ids=tuple(order.process_ids),
        dry_run=order.dry_run,
        not_after=order.not_after.ToDatetime(tzinfo=UTC) if order.HasField("not_after") else None,
        condition_ids=tuple(order.condition_ids[:_MAXIMUM_CONDITIONS]),
    )


def to_repair_report(record: RepairRecord) -> repair_pb2.RepairReport:
    """Return a repair for the wire, cut to the contract's bounds."""
    order = record.order
    report = repair_pb2.RepairReport(
        repair_id=order.id,
        incident_id=order.incident_id,
        origin=_ORIGINS[order.origin],
        rung=repair_pb2.RepairRung.ValueType(order.rung),
        state=_STATES[record.state],
        gpu_uuids=order.gpu_uuids[:_MAXIMUM_GPUS],
        service=order.service,
        dry_run=order.dry_run,
        message=record.message[:_MAXIMUM_MESSAGE],
        steps=[_to_step(step) for step in record.steps[-_MAXIMUM_ENTRIES:]],
        checks=[_to_check(check) for check in record.checks[:_MAXIMUM_ENTRIES]],
        started_at=timestamp(record.started_at),
        condition_ids=order.condition_ids[:_MAXIMUM_CONDITIONS],
        policy_version=order.policy_version,
    )
    if len(record.handoff_json.encode()) <= _MAXIMUM_HANDOFF_BYTES:  # cut, it would be no JSON
        report.handoff_json = record.handoff_json
    if record.ended_at is not None:
        report.ended_at.FromDatetime(record.ended_at)
    return report


def to_repair_record(record: RepairRecord) -> node_link_pb2.SpoolRecord:
    """Return a repair for the spool."""
    return node_link_pb2.SpoolRecord(repair_report=to_repair_report(record))


def _to_step(step: Step) -> repair_pb2.RepairStep:
    return repair_pb2.RepairStep(
        name=step.name[:_MAXIMUM_DETAIL],
        ok=step.ok,
        detail=step.detail[:_MAXIMUM_DETAIL],
        started_at=timestamp(step.started_at),
        took=_duration(step.seconds),
        undo=step.undo,
    )


def _to_check(check: Check) -> repair_pb2.VerificationCheck:
    return repair_pb2.VerificationCheck(
        name=check.name[:_MAXIMUM_DETAIL],
        outcome=_OUTCOMES[check.outcome],
        detail=check.detail[:_MAXIMUM_DETAIL],
        took=_duration(check.seconds),
    )


def to_policy(policy: repair_pb2.LocalPolicy) -> LocalPolicy:
    """Return what the host may do by itself. Rungs that this version does not know stay forbidden.

    Raises OrderInvalid.
    """
    if not policy.HasField("issued_at") or not policy.HasField("expires_at"):
        raise OrderInvalid("the policy does not say from when to when it holds")
    if len(policy.rungs) > _MAXIMUM_ALLOWANCES:
        raise OrderInvalid("the policy lists more rungs than there are")
    allowances: dict[Rung, Allowance] = {}
    for entry in policy.rungs:
        if entry.rung in {rung.value for rung in Rung}:
            allowances[Rung(entry.rung)] = Allowance(entry.count, _seconds(entry.period), entry.may_stop_jobs)
    return LocalPolicy(
        node_id=policy.node_id,
        version=policy.version,
        issued_at=policy.issued_at.ToDatetime(tzinfo=UTC),
        expires_at=policy.expires_at.ToDatetime(tzinfo=UTC),
        allowances=allowances,
        total_count=policy.total_count,
        total_period_seconds=_seconds(policy.total_period),
        after_seconds=_seconds(policy.after),
    )


def from_policy(policy: LocalPolicy) -> repair_pb2.LocalPolicy:
    """Return a local policy for the wire."""
    return repair_pb2.LocalPolicy(
        node_id=policy.node_id,
        version=policy.version,
        issued_at=timestamp(policy.issued_at),
        expires_at=timestamp(policy.expires_at),
        rungs=[
            repair_pb2.RungAllowance(
                rung=repair_pb2.RepairRung.ValueType(rung),
                count=allowance.count,
                period=_duration(allowance.period_seconds),
                may_stop_jobs=allowance.may_stop_jobs,
            )
            for rung, allowance in policy.allowances.items()
        ],
        total_count=policy.total_count,
        total_period=_duration(policy.total_period_seconds),
        after=_duration(policy.after_seconds),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def _seconds(duration: Duration) -> float:
    return max(0.0, duration.ToTimedelta().total_seconds())
