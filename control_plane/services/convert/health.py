"""Conditions and their evidence on the wire."""

from typing import Final

from control_plane.model.health import (
    Authority,
    Condition,
    ConditionEvidence,
    ConditionScope,
    ConditionSeverity,
    EvidenceSource,
)
from control_plane.services.convert.repairs import RUNG
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import health_pb2, repair_pb2

_SCOPE: Final = wire_enum(ConditionScope, health_pb2.ConditionScope.Value, "CONDITION_SCOPE")
_SEVERITY: Final = wire_enum(ConditionSeverity, health_pb2.ConditionSeverity.Value, "CONDITION_SEVERITY")
_SOURCE: Final = wire_enum(EvidenceSource, health_pb2.EvidenceSource.Value, "EVIDENCE_SOURCE")
_AUTHORITY: Final = wire_enum(Authority, health_pb2.Authority.Value, "AUTHORITY")


def condition(value: Condition, *, brief: bool = False) -> health_pb2.Condition:
    """Return a condition with its evidence; in brief, without."""
    return health_pb2.Condition(
        id=value.id,
        scope=_SCOPE[value.scope],
        subject=value.subject,
        kind=value.kind,
        code=value.code,
        severity=_SEVERITY[value.severity],
        summary=value.summary,
        gpu_uuid=value.gpu_uuid,
        pci_bus_id=value.pci_bus_id,
        repair=repair_pb2.REPAIR_RUNG_UNSPECIFIED if value.repair is None else RUNG[value.repair],
        authority=health_pb2.AUTHORITY_UNSPECIFIED if value.authority is None else _AUTHORITY[value.authority],
        vendor_action=value.vendor_action,
        sticky=value.sticky,
        count=value.count,
        first_seen_at=timestamp(value.first_seen_at),
        last_seen_at=timestamp(value.last_seen_at),
        evidence=[] if brief else [_evidence(one) for one in value.evidence],
        acknowledged_by=value.acknowledged_by,
        process_ids=value.process_ids,
        service=value.service,
        earlier_repairs=value.earlier_repairs,
    )


def _evidence(value: ConditionEvidence) -> health_pb2.ConditionEvidence:
    return health_pb2.ConditionEvidence(
        id=value.id,
        source=_SOURCE[value.source],
        text=value.text,
        observed_at=timestamp(value.observed_at),
    )
