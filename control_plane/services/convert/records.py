"""Audit records and agents on the wire."""

from typing import Final

from control_plane.model.agent import AgentRecord, AgentStatus
from control_plane.model.money import to_micros
from control_plane.model.record import AuditRecord
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import agent_pb2, audit_pb2

_AGENT_STATUS: Final = wire_enum(AgentStatus, agent_pb2.AgentStatus.Value, "AGENT_STATUS")


def audit_record(value: AuditRecord) -> audit_pb2.AuditRecord:
    """Return an audit record."""
    return audit_pb2.AuditRecord(
        id=value.id,
        agent_name=value.agent_name,
        action=value.action,
        reasoning=value.reasoning,
        payload_json=value.payload_json,
        outcome=value.outcome,
        cost_impact_usd_micros=to_micros(value.cost_impact_usd),
        created_at=timestamp(value.created_at),
        action_id=value.action_id,
        goal_id=value.goal_id,
        job_id=value.job_id,
        node_id=value.node_id,
        run_id=value.run_id,
        hash=value.hash,
        erased=value.erased,
    )


def agent(value: AgentRecord) -> agent_pb2.Agent:
    """Return an agent."""
    return agent_pb2.Agent(
        name=value.name,
        status=_AGENT_STATUS[value.status],
        paused=value.paused,
        last_action=value.last_action,
        last_error=value.last_error,
        metrics=value.metrics,
        updated_at=timestamp(value.updated_at),
    )
