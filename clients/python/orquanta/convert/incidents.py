"""Incidents from the wire."""

from typing import Literal

from orquanta.convert.diagnoses import read_diagnosis
from orquanta.convert.health import read_condition
from orquanta.convert.repairs import read_repair
from orquanta.convert.scalars import read_enum, read_seconds, read_time
from orquanta.types.incidents import Incident, IncidentEntry, IncidentState, IncidentTimings
from orquanta.v1 import incident_pb2 as pb

_Phase = Literal["detect", "cordon", "drain", "repair", "verify", "total"]


def read_incident(message: pb.Incident) -> Incident:
    """An incident."""
    return Incident(
        id=message.id,
        node_id=message.node_id,
        node_name=message.node_name,
        state=read_enum(IncidentState, pb.IncidentState, message.state),
        summary=message.summary,
        diagnosis=message.diagnosis,
        status_reason=message.status_reason,
        conditions=tuple(read_condition(condition) for condition in message.conditions),
        gpu_uuids=tuple(message.gpu_uuids),
        repairs=tuple(read_repair(repair) for repair in message.repairs),
        entries=tuple(_read_entry(entry) for entry in message.entries),
        timings=_read_timings(message.timings),
        acknowledged_by=message.acknowledged_by,
        taken_over=message.taken_over,
        opened_at=read_time(message.opened_at),
        closed_at=read_time(message.closed_at),
        version=message.version,
        explanation=read_diagnosis(message.explanation) if message.HasField("explanation") else None,
    )


def _read_entry(message: pb.IncidentEntry) -> IncidentEntry:
    return IncidentEntry(
        at=read_time(message.at),
        kind=message.kind,
        message=message.message,
        action_id=message.action_id,
        repair_id=message.repair_id,
    )


def _read_timings(message: pb.IncidentTimings) -> IncidentTimings:
    def seconds(phase: _Phase) -> float | None:
        return read_seconds(getattr(message, phase)) if message.HasField(phase) else None

    return IncidentTimings(
        detect_seconds=seconds("detect"),
        cordon_seconds=seconds("cordon"),
        drain_seconds=seconds("drain"),
        repair_seconds=seconds("repair"),
        verify_seconds=seconds("verify"),
        total_seconds=seconds("total"),
    )
