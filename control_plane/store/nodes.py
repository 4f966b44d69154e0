"""Nodes in the database."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Row, String, cast, func, select
from sqlalchemy import update as sql_update
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.fleet import lifecycle
from control_plane.model.identity import CertificateSerial
from control_plane.model.ids import NodeId
from control_plane.model.node import HostInventory, Node, NodeHold, NodeState
from control_plane.model.record import Noun
from control_plane.store import bounds
from control_plane.store.database import Tx
from control_plane.store.documents import HOST_INVENTORY, host_inventory
from control_plane.store.pages import Page, PageRequest, among, batched, by_key
from control_plane.store.readable import Unreadable, readable, set_aside
from control_plane.store.rows import columns
from control_plane.store.tables import NodeRow, SightingRow

POOL = "pool"
RACK = "rack"
"""Labels that say to which pool and rack a node belongs."""


@dataclass(frozen=True, slots=True)
class NodeFilter:
    """Which nodes; without states, all but revoked ones."""

    states: tuple[NodeState, ...] = ()
    gpu_type: str = ""


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """A node's state alone."""

    id: NodeId
    name: str
    state: NodeState


_INVENTORY = "nodes.inventory"
_NODE = "nodes.node"
"""Under these, with a node's id, a transaction remembers what it has read: many ask for it again."""


def _model(tx: Tx, row: NodeRow) -> Node:
    inventory, unread = _inventory(tx, row)
    held = columns(row)
    return Node(
        id=NodeId(held["id"]),
        name=held["name"],
        state=NodeState(held["state"]),
        status_reason=held["status_reason"],
        cordoned=held["cordoned"],
        connected=held["connected"],
        inventory=inventory,
        labels=dict(held["labels"]),
        certificate_serial=CertificateSerial(held["certificate_serial"]),
        certificate_expires_at=held["certificate_expires_at"],
        last_seen_at=held["last_seen_at"],
        created_at=held["created_at"],
        version=held["version"],
        lost_at=held["lost_at"],
        hold=NodeHold(held["hold"]) if held["hold"] else None,
        unread=unread,
    )


def _inventory(tx: Tx, row: NodeRow) -> tuple[HostInventory | None, str]:
    """Return what the host is made of, and why that cannot be read, if so: its host tells it again."""
    source = row.inventory
    if source is None:
        return None, ""
    try:
        return tx.parsed((_INVENTORY, row.id), source, host_inventory), ""
    except Unreadable as error:
        set_aside(tx, f"what node {row.name} ({row.id}) is made of", error)
        return None, error.message


def load(tx: Tx, node_ids: Collection[NodeId]) -> None:
    """Read many nodes at once: `get`, `resolve` and `update` look at them."""
    for ids in batched(node_ids):
        for row in tx.session.execute(select(NodeRow).where(col(NodeRow.id).in_(among(ids)))).scalars():
            tx.keep(row, row.id)


def get(tx: Tx, node_id: NodeId) -> Node | None:
    """Return the node, or None."""
    known: Node | None = tx.known((_NODE, node_id))
    if known is not None:
        return known
    row = tx.row(NodeRow, node_id)
    return None if row is None else _read(tx, row)


def _read(tx: Tx, row: NodeRow) -> Node:
    node = _model(tx, row)
    tx.know((_NODE, node.id), node)
    return node


def by_name(tx: Tx, name: str) -> Node | None:
    """Return the node with this name that is not revoked, or None."""
    query = select(NodeRow).where(col(NodeRow.name) == name, col(NodeRow.state) != NodeState.REVOKED.value)
    row = tx.session.execute(query).scalars().first()
    return None if row is None else _read(tx, row)


def resolve(tx: Tx, id_or_name: str) -> Node:
    """Return the node with this id or name. Raises NotFound."""
    node = get(tx, NodeId(id_or_name)) or by_name(tx, id_or_name)
    if node is None:
        raise NotFound(f"there is no node {id_or_name!r}; list them with: orquanta node list", reason="NODE_NOT_FOUND")
    return node


def page(tx: Tx, which: NodeFilter, request: PageRequest) -> Page[Node]:
    """Return a page of nodes by id."""
    query = select(NodeRow)
    if which.states:
        query = query.where(col(NodeRow.state).in_([state.value for state in which.states]))
    else:
        query = query.where(col(NodeRow.state) != NodeState.REVOKED.value)
    if which.gpu_type:
        query = query.where(_has_gpu(which.gpu_type))
    rows, token = by_key(tx.session, query, request, col(NodeRow.id))
    return Page(tuple(readable(tx, rows, partial(_model, tx))), token)


def _has_gpu(gpu_type: str) -> ColumnElement[bool]:
    """Tell in the database, which reads the column as text, so that no page of a few reads what all are made of."""
    said = f'"gpu_type": {json.dumps(gpu_type)}'.lower()
    return func.lower(cast(col(NodeRow.inventory), String)).contains(said, autoescape=True)


def active(tx: Tx) -> tuple[Node, ...]:
    """Return every node that is not revoked, by name."""
    query = select(NodeRow).where(col(NodeRow.state) != NodeState.REVOKED.value)
    rows = tx.session.execute(query.order_by(col(NodeRow.name), col(NodeRow.id))).scalars()
    return tuple(readable(tx, rows, partial(_model, tx)))


def states(tx: Tx, node_ids: Collection[NodeId] | None = None) -> tuple[NodeStanding, ...]:
    """Return how each node that ever reported itself stands, of all or of these; far cheaper than whole nodes."""
    query = select(col(NodeRow.id), col(NodeRow.name), col(NodeRow.state)).where(col(NodeRow.last_seen_at).is_not(None))
    if node_ids is not None:
        query = query.where(col(NodeRow.id).in_(node_ids))
    return tuple(readable(tx, tx.session.execute(query), _standing, "the state of a node"))


def _standing(row: Row[Any]) -> NodeStanding:  # Any: the columns above
    return NodeStanding(NodeId(row.id), row.name, NodeState(row.state))


def held(tx: Tx) -> tuple[NodeId, ...]:
    """Return every node that is held out of service."""
    query = select(col(NodeRow.id)).where(col(NodeRow.hold) != "", col(NodeRow.state) != NodeState.REVOKED.value)
    return tuple(NodeId(node_id) for node_id in tx.session.execute(query).scalars())


def insert(tx: Tx, node: Node) -> None:
    """Record a node."""
    row = NodeRow(
        id=node.id,
        name=node.name,
        state=node.state.value,
        status_reason=node.status_reason,
        cordoned=node.cordoned,
        hold=node.hold.value if node.hold else "",
        pool=node.labels.get(POOL, ""),
        rack=node.labels.get(RACK, ""),
        connected=node.connected,
        inventory=None if node.inventory is None else HOST_INVENTORY.dump(node.inventory),
        labels=dict(node.labels),
        certificate_serial=node.certificate_serial,
        certificate_expires_at=node.certificate_expires_at,
        last_seen_at=node.last_seen_at,
        created_at=node.created_at,
        version=node.version,
    )
    tx.session.add(row)
    tx.session.flush()
    tx.keep(row, node.id)
    bounds.recount(tx)
    _emit(tx, row)


def update(
    tx: Tx,
    node_id: NodeId,
    *,
    state: NodeState | None = None,
    status_reason: str | None = None,
    cordoned: bool | None = None,
    connected: bool | None = None,
    inventory: HostInventory | None = None,
    last_seen_at: datetime | None = None,
) -> Node:
    """Change what is given and return the node. Raises NotFound, or LifecycleError for an impossible change."""
    row = _row(tx, node_id)
    weight = bounds.weight(row)
    if state is not None:
        _set_state(tx, row, state)
    if last_seen_at is not None:
        tx.change(row, {"last_seen_at": last_seen_at})
    bounds.follow(tx, row, weight)
    values: dict[str, object] = {
        "status_reason": status_reason,
        "cordoned": cordoned,
        "connected": connected,
    }
    if inventory is not None and inventory != _inventory(tx, row)[0]:
        values["inventory"] = HOST_INVENTORY.dump(inventory)
    return _changed(tx, row, {name: value for name, value in values.items() if value is not None})


def _row(tx: Tx, node_id: NodeId) -> NodeRow:
    row = tx.row(NodeRow, node_id)
    if row is None:
        raise NotFound(f"there is no node {node_id}", reason="NODE_NOT_FOUND")
    return row


def _set_state(tx: Tx, row: NodeRow, state: NodeState) -> None:
    if state.value != row.state:
        lifecycle.NODE.check(NodeState(row.state), state)
        tx.change(row, {"state": state.value, "lost_at": tx.now if state is NodeState.LOST else None})


def _changed(tx: Tx, row: NodeRow, values: Mapping[str, Any]) -> Node:  # Any: a column's value
    tx.change(row, {**values, "version": row.version + 1})
    _emit(tx, row)
    return _read(tx, row)


def set_hold(tx: Tx, node_id: NodeId, hold: NodeHold | None, *, state: NodeState, status_reason: str) -> Node:
    """Record why the node is out of service, or that it no longer is. Raises as `update`."""
    row = _row(tx, node_id)
    weight = bounds.weight(row)
    _set_state(tx, row, state)
    tx.change(row, {"hold": hold.value if hold else ""})
    bounds.follow(tx, row, weight)
    return _changed(tx, row, {"status_reason": status_reason})


def renew_certificate(tx: Tx, node_id: NodeId, serial: CertificateSerial, expires_at: datetime) -> None:
    """Record a fresh certificate; the one before stays good until it runs out."""
    row = _row(tx, node_id)
    renewed = {
        "previous_serial": row.certificate_serial,
        "certificate_serial": serial,
        "certificate_expires_at": expires_at,
    }
    _changed(tx, row, renewed)


def is_allowed(tx: Tx, node_id: NodeId, serial: CertificateSerial) -> bool:
    """Tell whether the node may connect with the certificate of this serial number."""
    row = tx.row(NodeRow, node_id)
    if row is None or row.state == NodeState.REVOKED.value:
        return False
    return serial in (row.certificate_serial, row.previous_serial)


def seen(tx: Tx, node_ids: Sequence[NodeId], at: datetime) -> None:
    """Record when nodes were last heard, without an event: it is not a change of state."""
    connection = tx.session.connection()
    into = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    heard = into(SightingRow)
    heard = heard.on_conflict_do_update(index_elements=["node_id"], set_={"heard_at": heard.excluded.heard_at})
    if node_ids:
        connection.execute(heard, [{"node_id": node_id, "heard_at": at} for node_id in node_ids])


def sightings(tx: Tx, node_ids: Collection[NodeId] | None = None) -> dict[NodeId, datetime]:
    """Return when each node, of all or of these, was last heard after its link had come up, as far as that is known."""
    query = select(col(SightingRow.node_id), col(SightingRow.heard_at))
    if node_ids is not None:
        query = query.where(col(SightingRow.node_id).in_(node_ids))
    return {NodeId(node_id): at for node_id, at in tx.session.execute(query)}


def with_sightings(tx: Tx, found: Sequence[Node]) -> list[Node]:
    """Return the same nodes as last seen when they were last heard, for people to see."""
    heard = sightings(tx, [node.id for node in found])
    return [
        replace(node, last_seen_at=max(node.last_seen_at, at))
        if (at := heard.get(node.id)) is not None and node.last_seen_at is not None
        else node
        for node in found
    ]


def disconnect_all(tx: Tx) -> None:
    """Forget every link, as a control plane must when it starts."""
    tx.session.execute(sql_update(NodeRow).values(connected=False))


def _emit(tx: Tx, row: NodeRow) -> None:
    held = columns(row)
    node_id = held["id"]
    tx.emit(Noun.NODE, node_id, f"node.{held['state']}", f"{held['name']}: {held['status_reason']}", parent_id=node_id)


def count_by_state(tx: Tx) -> dict[NodeState, int]:
    """Return how many nodes are in each state."""
    rows = tx.session.execute(select(col(NodeRow.state), func.count()).group_by(col(NodeRow.state)))
    return dict(readable(tx, rows, lambda row: (NodeState(row[0]), int(row[1])), "the state of nodes"))
