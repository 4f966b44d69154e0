"""Audit records from the wire."""

from orquanta.convert.scalars import read_time, read_usd
from orquanta.types.audit import AuditRecord, AuditVerdict
from orquanta.v1 import audit_pb2 as pb


def read_audit_record(message: pb.AuditRecord) -> AuditRecord:
    """One audit record."""
    return AuditRecord(
        id=message.id,
        agent_name=message.agent_name,
        action=message.action,
        reasoning=message.reasoning,
        payload_json=message.payload_json,
        outcome=message.outcome,
        cost_impact_usd=read_usd(message.cost_impact_usd_micros),
        created_at=read_time(message.created_at),
        action_id=message.action_id,
        goal_id=message.goal_id,
        job_id=message.job_id,
        node_id=message.node_id,
        run_id=message.run_id,
        hash=message.hash.hex(),
        erased=message.erased,
    )


def read_verdict(message: pb.VerifyAuditResponse) -> AuditVerdict:
    """How the log stands."""
    return AuditVerdict(
        intact=message.intact,
        fault=message.fault,
        text=message.text,
        at_id=message.at_id,
        records=message.records,
        checkpoints=message.checkpoints,
    )
