"""The entries of incidents: what happened, in order. Added, never changed."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.model.ids import IncidentId, NodeId
from control_plane.model.incident import IncidentEntry, IncidentState
from control_plane.store.health_tables import IncidentEntryRow, IncidentRow
from control_plane.store.pages import among, batched
from control_plane.store.transaction import Tx

ENTRIES_MAX: Final = 200
"""Entries kept of one incident; its end is always told."""

_LEFT_FOR_ENDS: Final = 4
_ENDS: Final = frozenset(state.value for state in IncidentState if state.ended)
_NUMBER: Final = "incident_entries.number"
"""Under this, with an incident's id, a transaction remembers how many entries there are."""


def of(tx: Tx, incident_id: IncidentId) -> tuple[IncidentEntry, ...]:
    """Return the incident's entries, oldest first."""
    query = select(IncidentEntryRow).where(col(IncidentEntryRow.incident_id) == incident_id)
    rows = tx.session.execute(query.order_by(col(IncidentEntryRow.id))).scalars()
    return tuple(IncidentEntry(row.at, row.kind, row.message, row.action_id, row.repair_id) for row in rows)


def add(tx: Tx, incident_id: IncidentId, entry: IncidentEntry) -> None:
    """Add an entry; it is written with the next statement of the transaction, or at its end."""
    number: int | None = tx.known((_NUMBER, incident_id))
    if number is not None:
        tx.know((_NUMBER, incident_id), number + 1)
    tx.later(
        IncidentEntryRow,
        {
            "incident_id": incident_id,
            "at": entry.at,
            "kind": entry.kind,
            "message": entry.message,
            "action_id": entry.action_id,
            "repair_id": entry.repair_id,
        },
    )


def is_full(tx: Tx, incident_id: IncidentId, kind: str) -> bool:
    """Tell whether the incident has no room for an entry of this kind; there is always some for its end."""
    number: int | None = tx.known((_NUMBER, incident_id))
    if number is None:
        count(tx, [incident_id])
        number = tx.known((_NUMBER, incident_id)) or 0
    return number >= ENTRIES_MAX - (0 if kind in _ENDS else _LEFT_FOR_ENDS)


def count(tx: Tx, incident_ids: Collection[IncidentId]) -> None:
    """Read how many entries incidents have, of many at once; `is_full` looks at it, and `add` keeps it true."""
    numbers: dict[str, int] = dict.fromkeys(incident_ids, 0)
    incident_id = col(IncidentEntryRow.incident_id)
    for ids in batched(incident_ids):
        query = select(incident_id, func.count()).where(incident_id.in_(among(ids))).group_by(incident_id)
        numbers |= {one: int(number) for one, number in tx.session.execute(query)}
    for one, number in numbers.items():
        tx.know((_NUMBER, one), number)


def last_escalations(tx: Tx, node_ids: Collection[NodeId]) -> dict[NodeId, datetime]:
    """Return when an incident of each of the nodes was last escalated, if one ever was; at most 500 nodes."""
    node_id = col(IncidentRow.node_id)
    of_it = (
        select(node_id, func.max(col(IncidentEntryRow.at)))
        .join(IncidentRow, col(IncidentRow.id) == col(IncidentEntryRow.incident_id))
        .where(node_id.in_(among(node_ids)), col(IncidentEntryRow.kind) == IncidentState.ESCALATED.value)
    )
    still = select(node_id, func.max(col(IncidentRow.closed_at))).where(
        node_id.in_(among(node_ids)), col(IncidentRow.state) == IncidentState.ESCALATED.value
    )
    found: dict[NodeId, datetime] = {}
    for query in (of_it, still):
        for whose, at in tx.session.execute(query.group_by(node_id)):
            if at is not None:
                found[NodeId(whose)] = max(at, found.get(NodeId(whose), at))
    return found
