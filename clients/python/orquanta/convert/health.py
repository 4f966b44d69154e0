"""Conditions and their evidence from the wire."""

from orquanta.convert.scalars import read_enum, read_set_enum, read_time
from orquanta.types.health import (
    Authority,
    Condition,
    ConditionEvidence,
    ConditionScope,
    ConditionSeverity,
    EvidenceSource,
)
from orquanta.types.repairs import RepairRung
from orquanta.v1 import health_pb2 as pb
from orquanta.v1 import repair_pb2


def read_condition(message: pb.Condition) -> Condition:
    """A condition."""
    return Condition(
        id=message.id,
        scope=read_enum(ConditionScope, pb.ConditionScope, message.scope),
        subject=message.subject,
        kind=message.kind,
        code=message.code,
        severity=read_enum(ConditionSeverity, pb.ConditionSeverity, message.severity),
        summary=message.summary,
        gpu_uuid=message.gpu_uuid,
        pci_bus_id=message.pci_bus_id,
        repair=read_set_enum(RepairRung, repair_pb2.RepairRung, message.repair),
        authority=read_set_enum(Authority, pb.Authority, message.authority),
        vendor_action=message.vendor_action,
        sticky=message.sticky,
        count=message.count,
        first_seen_at=read_time(message.first_seen_at),
        last_seen_at=read_time(message.last_seen_at),
        evidence=tuple(_read_evidence(evidence) for evidence in message.evidence),
        acknowledged_by=message.acknowledged_by,
        process_ids=tuple(message.process_ids),
        service=message.service,
        earlier_repairs=message.earlier_repairs,
    )


def _read_evidence(message: pb.ConditionEvidence) -> ConditionEvidence:
    return ConditionEvidence(
        id=message.id,
        source=read_enum(EvidenceSource, pb.EvidenceSource, message.source),
        text=message.text,
        observed_at=read_time(message.observed_at),
    )
