"""Conditions and health events between the daemon and the wire."""

from collections.abc import Iterable
from typing import Final

from node_agent.convert import timestamp
from node_agent.health.model import (
    MAXIMUM_CONDITIONS,
    MAXIMUM_EVIDENCE,
    Authority,
    Change,
    ChangeKind,
    Condition,
    Evidence,
    Scope,
    Severity,
    Source,
)
from orquanta.v1 import health_pb2, node_link_pb2, repair_pb2

MAXIMUM_BYTES: Final = 1 << 20
"""Of all conditions in one message; beyond it, evidence is left out."""
_MAXIMUM_PROCESSES = 16  # the contract's bounds, as the next two
_MAXIMUM_EVIDENCE_TEXT = 500
_MAXIMUM_TEXT = 500

_SCOPES = {
    Scope.HOST: health_pb2.CONDITION_SCOPE_HOST,
    Scope.GPU: health_pb2.CONDITION_SCOPE_GPU,
    Scope.LINK: health_pb2.CONDITION_SCOPE_LINK,
}
_SEVERITIES = {
    Severity.INFO: health_pb2.CONDITION_SEVERITY_INFO,
    Severity.WARNING: health_pb2.CONDITION_SEVERITY_WARNING,
    Severity.FATAL: health_pb2.CONDITION_SEVERITY_FATAL,
}
_SOURCES = {
    Source.KERNEL: health_pb2.EVIDENCE_SOURCE_KERNEL,
    Source.NVML: health_pb2.EVIDENCE_SOURCE_NVML,
    Source.DCGM: health_pb2.EVIDENCE_SOURCE_DCGM,
    Source.HOST: health_pb2.EVIDENCE_SOURCE_HOST,
    Source.CUSTOM: health_pb2.EVIDENCE_SOURCE_CUSTOM,
    Source.DAEMON: health_pb2.EVIDENCE_SOURCE_DAEMON,
}
_AUTHORITIES = {
    Authority.DRIVER: health_pb2.AUTHORITY_DRIVER,
    Authority.CATALOGUE: health_pb2.AUTHORITY_CATALOGUE,
    Authority.RULE: health_pb2.AUTHORITY_RULE,
}
_KINDS = {
    ChangeKind.RAISED: health_pb2.HEALTH_EVENT_KIND_RAISED,
    ChangeKind.CHANGED: health_pb2.HEALTH_EVENT_KIND_CHANGED,
    ChangeKind.CLEARED: health_pb2.HEALTH_EVENT_KIND_CLEARED,
}


def to_condition(condition: Condition) -> health_pb2.Condition:
    """Return a condition for the wire, cut to the contract's bounds."""
    return health_pb2.Condition(
        id=condition.id,
        scope=_SCOPES[condition.scope],
        subject=condition.subject[:_MAXIMUM_TEXT],
        kind=condition.kind,
        code=condition.code,
        severity=_SEVERITIES[condition.severity],
        summary=condition.summary[:_MAXIMUM_TEXT],
        gpu_uuid=condition.gpu_uuid,
        pci_bus_id=condition.pci_bus_id,
        # The numbers of rungs are those of the contract.
        repair=repair_pb2.REPAIR_RUNG_UNSPECIFIED
        if condition.repair is None
        else repair_pb2.RepairRung.ValueType(condition.repair),
        authority=health_pb2.AUTHORITY_UNSPECIFIED
        if condition.authority is None
        else _AUTHORITIES[condition.authority],
        vendor_action=condition.vendor_action[:_MAXIMUM_TEXT],
        sticky=condition.sticky,
        count=condition.count,
        first_seen_at=timestamp(condition.first_seen_at),
        last_seen_at=timestamp(condition.last_seen_at),
        evidence=[_to_evidence(evidence) for evidence in condition.evidence[:MAXIMUM_EVIDENCE]],
        acknowledged_by=condition.acknowledged_by[:_MAXIMUM_TEXT],
        process_ids=condition.process_ids[:_MAXIMUM_PROCESSES],
        service=condition.service,
        earlier_repairs=condition.earlier_repairs,
    )


def _to_evidence(evidence: Evidence) -> health_pb2.ConditionEvidence:
    return health_pb2.ConditionEvidence(
        id=evidence.id,
        source=_SOURCES[evidence.source],
        text=evidence.text[:_MAXIMUM_EVIDENCE_TEXT],
        observed_at=timestamp(evidence.observed_at),
    )


def to_conditions(conditions: Iterable[Condition]) -> list[health_pb2.Condition]:
    """Return conditions for one message, at most 500 and 1 MiB.

    Past half of that, those that follow come without evidence: what is wrong counts more than how it was seen.
    """
    found: list[health_pb2.Condition] = []
    total = 0
    for condition, _ in zip(conditions, range(MAXIMUM_CONDITIONS), strict=False):
        message = to_condition(condition)
        if total + message.ByteSize() > MAXIMUM_BYTES // 2:
            message.ClearField("evidence")
        total += message.ByteSize()
        if total > MAXIMUM_BYTES:
            break
        found.append(message)
    return found


def to_health_event(change: Change) -> health_pb2.HealthEvent:
    """Return a change for the wire."""
    return health_pb2.HealthEvent(
        id=change.id,
        kind=_KINDS[change.kind],
        condition=to_condition(change.condition),
        occurred_at=timestamp(change.occurred_at),
        reason=change.reason[:_MAXIMUM_TEXT],
    )


def to_record(change: Change) -> node_link_pb2.SpoolRecord:
    """Return a change for the spool."""
    return node_link_pb2.SpoolRecord(health_event=to_health_event(change))
