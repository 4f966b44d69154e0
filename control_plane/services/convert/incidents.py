"""Incidents on the wire."""

from typing import Final

from control_plane.fleet.timings import timings
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.incident import Incident, IncidentEntry, IncidentState, IncidentTimings
from control_plane.services.convert.diagnoses import diagnosis
from control_plane.services.convert.health import condition
from control_plane.services.convert.repairs import repair
from control_plane.services.convert.scalars import duration, timestamp, wire_enum
from orquanta.v1 import incident_pb2

INCIDENT_STATE: Final = wire_enum(IncidentState, incident_pb2.IncidentState.Value, "INCIDENT_STATE")


CONDITIONS_MAX: Final = 100
"""Conditions of one incident on the wire, the worst ones."""
LISTED_MAX: Final = 10
"""Conditions, repairs and entries of an incident in a list, each."""


def incident(value: Incident, *, brief: bool = False, why: Diagnosis | None = None) -> incident_pb2.Incident:
    """Return an incident with its conditions, repairs and history; in brief, what a list needs of them."""
    newest = slice(-LISTED_MAX, None) if brief else slice(None)
    worst = slice(LISTED_MAX if brief else CONDITIONS_MAX)
    return incident_pb2.Incident(
        id=value.id,
        node_id=value.node_id,
        node_name=value.node_name,
        state=INCIDENT_STATE[value.state],
        summary=value.summary,
        diagnosis=value.diagnosis,
        status_reason=value.status_reason,
        conditions=[condition(one, brief=brief) for one in value.conditions[worst]],
        gpu_uuids=value.gpu_uuids,
        repairs=[repair(one, brief=brief) for one in value.repairs[newest]],
        entries=[_entry(entry) for entry in value.entries[newest]],
        timings=_timings(timings(value)),
        acknowledged_by=value.acknowledged_by,
        taken_over=value.taken_over,
        opened_at=timestamp(value.opened_at),
        closed_at=timestamp(value.closed_at),
        version=value.version,
        explanation=None if why is None else diagnosis(why),
    )


def _entry(value: IncidentEntry) -> incident_pb2.IncidentEntry:
    return incident_pb2.IncidentEntry(
        at=timestamp(value.at),
        kind=value.kind,
        message=value.message,
        action_id=value.action_id,
        repair_id=value.repair_id,
    )


def _timings(value: IncidentTimings) -> incident_pb2.IncidentTimings:
    return incident_pb2.IncidentTimings(
        detect=duration(value.detect_seconds),
        cordon=duration(value.cordon_seconds),
        drain=duration(value.drain_seconds),
        repair=duration(value.repair_seconds),
        verify=duration(value.verify_seconds),
        total=duration(value.total_seconds),
    )
