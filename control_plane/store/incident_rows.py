"""Incidents as rows: what a column holds of each, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from control_plane.model.health import Condition
from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.incident import Incident, IncidentEntry, IncidentState
from control_plane.model.repair import Repair
from control_plane.store.documents import CONDITION
from control_plane.store.health_tables import IncidentRow
from control_plane.store.rows import columns
from control_plane.store.transaction import Tx

_CONDITIONS: Final = "incident_rows.conditions"
"""Under this, with an incident's id, a transaction remembers its conditions."""


@dataclass(frozen=True, slots=True)
class IncidentStanding:
    """How far an incident is, without what it is about."""

    state: IncidentState
    cordoned_at: datetime | None
    drained_at: datetime | None


def standing(row: IncidentRow) -> IncidentStanding:
    """Return how far the incident of a row is."""
    held = columns(row)
    return IncidentStanding(IncidentState(held["state"]), held["cordoned_at"], held["drained_at"])


def model(tx: Tx, row: IncidentRow, repairs: tuple[Repair, ...], entries: tuple[IncidentEntry, ...]) -> Incident:
    """Return the incident of a row, with the parts that were read with it."""
    held = columns(row)
    return Incident(
        id=IncidentId(held["id"]),
        node_id=NodeId(held["node_id"]),
        node_name=held["node_name"],
        state=IncidentState(held["state"]),
        summary=held["summary"],
        diagnosis=held["diagnosis"],
        status_reason=held["status_reason"],
        observed_at=held["observed_at"],
        opened_at=held["created_at"],
        version=held["version"],
        conditions=tx.parsed((_CONDITIONS, held["id"]), held["conditions"], _conditions),
        active_ids=frozenset(held["active_ids"]),
        gpu_uuids=tuple(held["gpu_uuids"]),
        repairs=repairs,
        entries=entries,
        acknowledged_by=held["acknowledged_by"],
        taken_over=held["taken_over"],
        requested_by=held["requested_by"],
        cordoned_at=held["cordoned_at"],
        drained_at=held["drained_at"],
        closed_at=held["closed_at"],
    )


def know(tx: Tx, row: IncidentRow, incident: Incident) -> None:
    """Remember of which incident a row was made."""
    tx.know((_CONDITIONS, row.id), (row.conditions, incident.conditions))


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
