"""Which replica holds the link of which node, where several control planes share the database."""

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import NodeId
from control_plane.model.record import Noun
from control_plane.store import nodes
from control_plane.store.database import Tx
from control_plane.store.tables import ControlRow, NodeRow

MOVED: Final = "node.link_moved"
"""The kind of the event which tells a replica that another one holds the link now."""

_PREFIX: Final = "link:"


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


def held_by(tx: Tx, replica: str) -> tuple[NodeId, ...]:
    """Return the nodes whose links a replica holds."""
    return tuple(node_id for node_id, value in every(tx).items() if value == replica)


def drop(tx: Tx, replica: str) -> tuple[NodeId, ...]:
    """Forget every link of a replica, for that is gone or has just started; return the nodes."""
    dropped = held_by(tx, replica)
    for node_id in dropped:
        release(tx, node_id, replica)
        node = nodes.get(tx, node_id)
        if node is not None and node.connected:
            nodes.update(tx, node_id, connected=False)
    return dropped


def last_seen(tx: Tx) -> dict[NodeId, tuple[datetime, datetime | None]]:
    """Return when each node's link came up and when the node was heard since, as whoever heard it wrote."""
    query = select(col(NodeRow.id), col(NodeRow.last_seen_at)).where(col(NodeRow.last_seen_at).is_not(None))
    heard = nodes.sightings(tx)
    return {NodeId(node_id): (up, heard.get(node_id)) for node_id, up in tx.session.execute(query) if up is not None}
