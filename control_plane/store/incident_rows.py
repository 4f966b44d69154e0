"""Incidents as rows: what a column holds of each, and back."""

from collections.abc import Sequence
from typing import Any, Final

from control_plane.fleet.timings import timings
from control_plane.model.health import Condition
from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.incident import Incident, IncidentEntry, IncidentState
from control_plane.model.repair import Repair
from control_plane.store.documents import CONDITION
from control_plane.store.health_tables import IncidentRow
from control_plane.store.transaction import Tx

_CONDITIONS: Final = "incident_rows.conditions"
"""Under this, with an incident's id, a transaction remembers its conditions."""


def model(tx: Tx, row: IncidentRow, repairs: tuple[Repair, ...], entries: tuple[IncidentEntry, ...]) -> Incident:
    """Return the incident of a row, with the parts that were read with it."""
    return Incident(
        id=IncidentId(row.id),
        node_id=NodeId(row.node_id),
        node_name=row.node_name,
        state=IncidentState(row.state),
        summary=row.summary,
        diagnosis=row.diagnosis,
        status_reason=row.status_reason,
        observed_at=row.observed_at,
        opened_at=row.created_at,
        version=row.version,
        conditions=tx.parsed((_CONDITIONS, row.id), row.conditions, _conditions),
        active_ids=frozenset(row.active_ids),
        gpu_uuids=tuple(row.gpu_uuids),
        repairs=repairs,
        entries=entries,
        timings=timings(
            observed_at=row.observed_at,
            opened_at=row.created_at,
            cordoned_at=row.cordoned_at,
            drained_at=row.drained_at,
            closed_at=row.closed_at,
            repairs=repairs,
        ),
        acknowledged_by=row.acknowledged_by,
        taken_over=row.taken_over,
        requested_by=row.requested_by,
        cordoned_at=row.cordoned_at,
        drained_at=row.drained_at,
        closed_at=row.closed_at,
    )


def _conditions(documents: Sequence[dict[str, Any]]) -> tuple[Condition, ...]:  # Any: nested JSON
    return tuple(CONDITION.load(one) for one in documents)


def values(incident: Incident) -> dict[str, Any]:  # Any: a column's value
    """Return the columns of an incident that begins."""
    return {
        "id": incident.id,
        "node_id": incident.node_id,
        "node_name": incident.node_name,
        "state": incident.state.value,
        "summary": incident.summary,
        "diagnosis": incident.diagnosis,
        "status_reason": incident.status_reason,
        "conditions": [CONDITION.dump(one) for one in incident.conditions],
        "active_ids": sorted(incident.active_ids),
        "gpu_uuids": list(incident.gpu_uuids),
        "requested_by": incident.requested_by,
        "observed_at": incident.observed_at,
        "created_at": incident.opened_at,
        "version": incident.version,
    }
