"""Incidents in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy import delete, func, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.fleet import lifecycle
from control_plane.model.health import Condition
from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.incident import Incident, IncidentEntry, IncidentState
from control_plane.model.record import Noun
from control_plane.store import incident_entries, incident_rows, repairs
from control_plane.store.database import Tx
from control_plane.store.documents import CONDITION
from control_plane.store.health_tables import IncidentEntryRow, IncidentRow, RepairRow
from control_plane.store.pages import Page, PageRequest, among, batched, newest_first
from control_plane.store.readable import readable
from control_plane.store.rows import columns, fresh

ACKNOWLEDGED = "incident.acknowledged"
"""Kind of the event after a person has said something about an incident."""

_OPEN = "incidents.open"
_ESCALATED = "incidents.escalated"
_BARE = "incidents.bare"
"""Under these, with the id of a node or an incident, a transaction remembers what it has read."""

_COUNTED_FROM = 8
"""An incident that has changed less often cannot have so many entries."""


class Parts(Enum):
    """What is read with an incident: nothing, its repairs, or its repairs and entries."""

    NONE = "none"
    REPAIRS = "repairs"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """Which incidents; empty means all."""

    states: tuple[IncidentState, ...] = ()
    node_id: NodeId | None = None


def _model(tx: Tx, row: IncidentRow, parts: Parts) -> Incident:
    incident_id = IncidentId(row.id)
    entries = incident_entries.of(tx, incident_id) if parts is Parts.ALL else ()
    of_it = () if parts is Parts.NONE else repairs.of_incident(tx, incident_id)
    return incident_rows.model(tx, row, of_it, entries)


def load_open(tx: Tx, node_ids: Collection[NodeId]) -> dict[IncidentId, datetime]:
    """Read what `open_of` and `open_ids` look at for many nodes at once; return when each incident was opened."""
    unended_of: dict[NodeId, list[IncidentRow]] = {node_id: [] for node_id in node_ids}
    for ids in batched(node_ids):
        query = select(IncidentRow).where(
            col(IncidentRow.node_id).in_(among(ids)), col(IncidentRow.closed_at).is_(None)
        )
        for row in tx.session.execute(query.order_by(col(IncidentRow.created_at), col(IncidentRow.id))).scalars():
            unended_of[NodeId(row.node_id)].append(row)
            tx.keep(row, row.id)
    grown = [IncidentId(row.id) for rows in unended_of.values() for row in rows if row.version >= _COUNTED_FROM - 1]
    incident_entries.count(tx, grown)
    for node_id, rows in unended_of.items():
        tx.know((_OPEN, node_id), rows)
    return {IncidentId(row.id): row.created_at for rows in unended_of.values() for row in rows}


def load_escalations(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read what `last_escalated_at` looks at for many nodes at once."""
    for ids in batched(node_ids):
        found = incident_entries.last_escalations(tx, ids)
        for node_id in ids:
            tx.know((_ESCALATED, node_id), (found.get(node_id),))


def _open_rows(tx: Tx, node_id: NodeId) -> list[IncidentRow]:
    """Return the node's incidents that have not ended, oldest first."""
    known: list[IncidentRow] | None = tx.known((_OPEN, node_id))
    if known is not None:
        return [row for row in known if row.closed_at is None]
    query = select(IncidentRow).where(col(IncidentRow.node_id) == node_id, col(IncidentRow.closed_at).is_(None))
    return list(tx.session.execute(query.order_by(col(IncidentRow.created_at), col(IncidentRow.id))).scalars())


def get(tx: Tx, incident_id: IncidentId, parts: Parts = Parts.ALL) -> Incident | None:
    """Return the incident, or None."""
    row = tx.row(IncidentRow, incident_id)
    if row is None:
        return None
    if parts is not Parts.NONE:
        return _model(tx, row, parts)
    bare: Incident | None = tx.known((_BARE, incident_id))
    if bare is None or bare.version != row.version:
        bare = _model(tx, row, parts)
        tx.know((_BARE, incident_id), bare)
    return bare


def standing(tx: Tx, incident_id: IncidentId) -> incident_rows.IncidentStanding | None:
    """Return how far the incident is, or None; far cheaper than the incident."""
    row = tx.row(IncidentRow, incident_id)
    return None if row is None else incident_rows.standing(row)


def require(tx: Tx, incident_id: IncidentId, parts: Parts = Parts.ALL) -> Incident:
    """Return the incident. Raises NotFound."""
    incident = get(tx, incident_id, parts)
    if incident is None:
        raise NotFound(
            f"there is no incident {incident_id}; list them with: orquanta incident list", reason="INCIDENT_NOT_FOUND"
        )
    return incident


def page(tx: Tx, which: IncidentFilter, request: PageRequest, parts: Parts = Parts.ALL) -> Page[Incident]:
    """Return a page of incidents, newest first. Parts are read for each of them: NONE takes one query in all."""
    query = select(IncidentRow)
    if which.states:
        query = query.where(col(IncidentRow.state).in_([state.value for state in which.states]))
    if which.node_id:
        query = query.where(col(IncidentRow.node_id) == which.node_id)
    rows, token = newest_first(tx.session, query, request, col(IncidentRow.created_at), col(IncidentRow.id))
    return Page(tuple(readable(tx, rows, lambda row: _model(tx, row, parts))), token)


def unended(tx: Tx, *, node_id: NodeId | None = None, parts: Parts = Parts.ALL) -> tuple[Incident, ...]:
    """Return the incidents that have not ended, oldest first: of one node, or all that can be read."""
    if node_id is not None:
        return tuple(_model(tx, row, parts) for row in _open_rows(tx, node_id))
    query = select(IncidentRow).where(col(IncidentRow.closed_at).is_(None))
    rows = tx.session.execute(query.order_by(col(IncidentRow.created_at), col(IncidentRow.id))).scalars()
    return tuple(readable(tx, rows, lambda row: _model(tx, row, parts)))


def open_of(tx: Tx, node_id: NodeId, parts: Parts = Parts.ALL) -> Incident | None:
    """Return the node's incident that has not ended, or None."""
    rows = _open_rows(tx, node_id)
    return _model(tx, rows[0], parts) if rows else None


def open_ids(tx: Tx, node_ids: Collection[NodeId] | None = None) -> dict[NodeId, IncidentId]:
    """Return the incident of each node that has one which has not ended: of these nodes, or of all, oldest first."""
    if node_ids is not None and all(tx.known((_OPEN, node_id)) is not None for node_id in node_ids):
        opened = {node_id: _open_rows(tx, node_id) for node_id in node_ids}
        return {node_id: IncidentId(rows[-1].id) for node_id, rows in opened.items() if rows}
    query = select(col(IncidentRow.node_id), col(IncidentRow.id)).where(col(IncidentRow.closed_at).is_(None))
    query = query.order_by(col(IncidentRow.created_at), col(IncidentRow.id))
    if node_ids is None:
        return {NodeId(node_id): IncidentId(incident_id) for node_id, incident_id in tx.session.execute(query)}
    found: dict[NodeId, IncidentId] = {}
    for ids in batched(node_ids):
        for node_id, incident_id in tx.session.execute(query.where(col(IncidentRow.node_id).in_(ids))):
            found[NodeId(node_id)] = IncidentId(incident_id)
    return found


def last_escalated_at(tx: Tx, node_id: NodeId) -> datetime | None:
    """Return when an incident of the node was last escalated, whatever has become of it since."""
    known: tuple[datetime | None] | None = tx.known((_ESCALATED, node_id))
    return incident_entries.last_escalations(tx, [node_id]).get(node_id) if known is None else known[0]


def escalated(tx: Tx, node_id: NodeId, *, limit: int = 500) -> tuple[Incident, ...]:
    """Return the node's incidents that wait for a person to act, oldest first, without entries."""
    query = select(IncidentRow).where(
        col(IncidentRow.node_id) == node_id, col(IncidentRow.state) == IncidentState.ESCALATED.value
    )
    oldest = query.order_by(col(IncidentRow.created_at), col(IncidentRow.id)).limit(limit)
    return tuple(_model(tx, row, Parts.REPAIRS) for row in tx.session.execute(oldest).scalars())


def insert(tx: Tx, incident: Incident) -> None:
    """Record an incident. A second open one of a node raises the database's own error."""
    row = fresh(IncidentRow, incident_rows.values(incident))
    incident_rows.know(tx, row, incident)
    tx.add(row, incident.id)
    repairs.begin_incident(tx, incident.id)
    known: list[IncidentRow] | None = tx.known((_OPEN, incident.node_id))
    if known is not None:
        known.append(row)
    _emit(tx, row, "incident.opened")


def update(
    tx: Tx,
    incident_id: IncidentId,
    *,
    state: IncidentState | None = None,
    summary: str | None = None,
    diagnosis: str | None = None,
    status_reason: str | None = None,
    conditions: Sequence[Condition] | None = None,
    active_ids: Collection[str] | None = None,
    gpu_uuids: Sequence[str] | None = None,
    acknowledged_by: str | None = None,
    taken_over: bool | None = None,
    requested_by: str | None = None,
    observed_at: datetime | None = None,
    cordoned_at: datetime | None = None,
    drained_at: datetime | None = None,
) -> None:
    """Change what is given. An ended incident gets its closing time.

    Raises NotFound, or LifecycleError for an impossible change.
    """
    row = _row(tx, incident_id)
    held = columns(row)
    changed: dict[str, object] = {"version": held["version"] + 1}
    if state is not None and state.value != held["state"]:
        lifecycle.INCIDENT.check(IncidentState(held["state"]), state)
        changed |= {"state": state.value, "closed_at": tx.now if state.ended else None}
        tx.forget((_ESCALATED, held["node_id"]))
    values = {
        "summary": summary,
        "diagnosis": diagnosis,
        "status_reason": status_reason,
        "conditions": None if conditions is None else [CONDITION.dump(one) for one in conditions],
        "active_ids": None if active_ids is None else sorted(active_ids),
        "gpu_uuids": None if gpu_uuids is None else list(gpu_uuids),
        "acknowledged_by": acknowledged_by,
        "taken_over": taken_over,
        "requested_by": requested_by,
        "observed_at": observed_at,
        "cordoned_at": cordoned_at,
        "drained_at": drained_at,
    }
    tx.change(row, changed | {name: value for name, value in values.items() if value is not None})
    _emit(tx, row, f"incident.{held['state']}")


def add_entry(
    tx: Tx, incident_id: IncidentId, kind: str, message: str, *, action_id: str = "", repair_id: str = ""
) -> None:
    """Add to the incident's history; beyond ENTRIES_MAX only its end is still told."""
    row = _row(tx, incident_id)
    if row.version >= _COUNTED_FROM and incident_entries.is_full(tx, incident_id, kind):
        return
    if kind == IncidentState.ESCALATED.value:
        tx.forget((_ESCALATED, row.node_id))
    incident_entries.add(tx, incident_id, IncidentEntry(tx.now, kind, message, action_id, repair_id))


def acknowledge(tx: Tx, incident_id: IncidentId, *, by: str, reason: str, take_over: bool) -> Incident:
    """Record that a person has seen the incident; with `take_over`, that the healing agent leaves it to them.

    Raises NotFound.
    """
    incident = require(tx, incident_id)
    update(
        tx,
        incident_id,
        acknowledged_by=by,
        taken_over=True if take_over else None,
        status_reason=f"taken over by {by}" if take_over and not incident.state.ended else None,
    )
    tx.emit(Noun.INCIDENT, incident_id, ACKNOWLEDGED, f"by {by}", parent_id=incident.node_id)
    kind = "taken_over" if take_over else "acknowledged"
    add_entry(tx, incident_id, kind, f"by {by}" + (f": {reason}" if reason else ""))
    return require(tx, incident_id)


def _row(tx: Tx, incident_id: IncidentId) -> IncidentRow:
    row = tx.row(IncidentRow, incident_id)
    if row is None:
        raise NotFound(f"there is no incident {incident_id}", reason="INCIDENT_NOT_FOUND")
    return row


def _emit(tx: Tx, row: IncidentRow, kind: str) -> None:
    held = columns(row)
    text = f"{held['node_name']}: {held['status_reason'] or held['summary']}"
    tx.emit(Noun.INCIDENT, held["id"], kind, text, parent_id=held["node_id"])


def count_by_state(tx: Tx) -> dict[IncidentState, int]:
    """Return how many incidents are in each state."""
    rows = tx.session.execute(select(col(IncidentRow.state), func.count()).group_by(col(IncidentRow.state)))
    return dict(readable(tx, rows, lambda row: (IncidentState(row[0]), int(row[1])), "the state of incidents"))


def prune(tx: Tx, *, before: datetime, limit: int = 500) -> int:
    """Forget incidents that ended long ago, with their entries and repairs; return how many."""
    query = select(col(IncidentRow.id)).where(col(IncidentRow.closed_at) < before).limit(limit)
    old = list(tx.session.execute(query).scalars())
    for ids in batched(old):
        tx.session.execute(delete(IncidentEntryRow).where(col(IncidentEntryRow.incident_id).in_(ids)))
        tx.session.execute(delete(RepairRow).where(col(RepairRow.incident_id).in_(ids)))
        tx.session.execute(delete(IncidentRow).where(col(IncidentRow.id).in_(ids)))
    return len(old)
