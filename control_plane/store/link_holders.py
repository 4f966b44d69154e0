"""Which replica holds the link of which node, where several control planes share the database."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.model.record import Noun
from control_plane.store import events, nodes
from control_plane.store.database import Tx
from control_plane.store.pages import batched
from control_plane.store.tables import ControlRow, NodeRow, SightingRow

MOVED: Final = "node.link_moved"
"""The kind of the event which tells a replica that another one holds the link now."""

_PREFIX: Final = "link:"
_EVENTS_MAX: Final = 500


def take(tx: Tx, node_id: NodeId, replica: str) -> None:
    """Record that a replica holds the node's link; the one that held it before is told by an event."""
    row = tx.session.get(ControlRow, _PREFIX + node_id) or ControlRow(key=_PREFIX + node_id, value="")
    if row.value not in ("", replica):
        tx.emit(Noun.NODE, node_id, MOVED, f"its link moved from {row.value} to {replica}", parent_id=node_id)
    row.value = replica
    row.changed_at = tx.now
    tx.session.add(row)


def release(tx: Tx, node_id: NodeId, replica: str) -> bool:
    """Record that a replica holds the node's link no more; return whether it was the one."""
    row = tx.session.get(ControlRow, _PREFIX + node_id)
    if row is None or row.value != replica:
        return False
    tx.session.delete(row)
    return True


def holder(tx: Tx, node_id: NodeId) -> str:
    """Return the replica that holds the node's link, or an empty text."""
    row = tx.session.get(ControlRow, _PREFIX + node_id)
    return "" if row is None else row.value


def every(tx: Tx) -> dict[NodeId, str]:
    """Return the holder of each link."""
    query = select(col(ControlRow.key), col(ControlRow.value)).where(col(ControlRow.key).startswith(_PREFIX))
    return {NodeId(key.removeprefix(_PREFIX)): value for key, value in tx.session.execute(query)}


def holders(tx: Tx) -> tuple[str, ...]:
    """Return the replicas that hold links, by name: found one after the other, whatever number of links each holds."""
    value, found, after = col(ControlRow.value), list[str](), ""
    while True:
        query = select(value).where(value > after, col(ControlRow.key).startswith(_PREFIX)).order_by(value).limit(1)
        name: str | None = tx.session.execute(query).scalar()
        if name is None:
            return tuple(found)
        found.append(name)
        after = name


def held_by(tx: Tx, replica: str) -> tuple[NodeId, ...]:
    """Return the nodes whose links a replica holds."""
    key = col(ControlRow.key)
    found = tx.session.execute(select(key).where(col(ControlRow.value) == replica, key.startswith(_PREFIX)))
    return tuple(NodeId(one.removeprefix(_PREFIX)) for one in found.scalars())


def drop(tx: Tx, replica: str) -> tuple[NodeId, ...]:
    """Forget every link of a replica, for that is gone or has just started; return the nodes."""
    dropped = held_by(tx, replica)
    for node_id in dropped:
        release(tx, node_id, replica)
        node = nodes.get(tx, node_id)
        if node is not None and node.connected:
            nodes.update(tx, node_id, connected=False)
    return dropped


def linked_at(tx: Tx, position: int | None) -> tuple[int, dict[NodeId, datetime]]:
    """Return how far events are known, and when the link of each node came up last that has one after `position`.

    A link that comes up is such an event. Of all nodes if there is no position, or it is too far back.
    """
    newest = events.newest(tx)
    query = select(col(NodeRow.id), col(NodeRow.last_seen_at)).where(col(NodeRow.last_seen_at).is_not(None))
    if position is not None and events.oldest(tx) <= position + 1:
        found = events.after(tx, position, limit=_EVENTS_MAX, nouns=(Noun.NODE,))
        if len(found) < _EVENTS_MAX:
            query = query.where(col(NodeRow.id).in_({event.id for event in found}))
    return newest, {NodeId(node_id): at for node_id, at in tx.session.execute(query) if at is not None}


def heard_at(tx: Tx, known: Mapping[datetime, int]) -> dict[NodeId, datetime]:
    """Return when nodes were heard, as whoever heard them wrote: of all that were not when they are known to have been.

    `known` is how many nodes have been heard at each moment. Hundreds of nodes are written down with one moment: those
    of a moment of which there are no more than that are left unread, for none has come to them.
    """
    if not known:
        return nodes.sightings(tx)
    at = col(SightingRow.heard_at)
    counts = tx.session.execute(select(at, func.count()).group_by(at))
    fresh = [moment for moment, count in counts if count > known.get(moment, 0)]
    return {
        NodeId(node_id): moment
        for moments in batched(fresh)
        for node_id, moment in tx.session.execute(select(col(SightingRow.node_id), at).where(at.in_(moments)))
    }
