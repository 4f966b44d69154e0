"""Loads nodes with all that is told of them."""

from collections.abc import Iterable, Mapping, Sequence

from control_plane.model.ids import NodeId
from control_plane.model.node import GpuHealth, Node, NodeState
from control_plane.model.record import Event, Noun
from control_plane.model.repair import Repair, RepairOrigin
from control_plane.services.convert.nodes import NodeView
from control_plane.services.watch import Watched
from control_plane.store import conditions, gpu_holds, incidents, nodes, repairs
from control_plane.store.database import Tx
from control_plane.store.nodes import NodeFilter
from control_plane.store.pages import PageRequest, page_request

_FEW = 8
_WATCHED_AT_ONCE = 200
"""Nodes of a fleet that a stream reads at a time, some kilobytes each, however slowly they are taken from it."""


def one(tx: Tx, node: Node) -> NodeView:
    """Return a node with all that is told of it."""
    (seen,) = nodes.with_sightings(tx, [node])
    return NodeView(
        node=seen,
        holders=gpu_holds.holders(tx, node_id=node.id),
        gpu_health=conditions.gpu_health(tx, node.id).get(node.id, {}),
        conditions=conditions.of_node(tx, node.id),
        repair=repairs.latest(tx, node.id),
        incident_id=incidents.open_ids(tx, [node.id]).get(node.id),
    )


def many(tx: Tx, found: Sequence[Node]) -> list[NodeView]:
    """Return nodes with all that is told of them, in a number of queries that does not grow with theirs."""
    node_ids = [node.id for node in found]
    holders = gpu_holds.holders(tx)
    health: Mapping[NodeId, Mapping[str, GpuHealth]] = conditions.gpu_health(tx)
    wrong = conditions.of_nodes(tx, node_ids)
    repaired = _repairs(tx, node_ids)
    open_ids = incidents.open_ids(tx, node_ids)
    return [
        NodeView(
            node=node,
            holders=holders,
            gpu_health=health.get(node.id, {}),
            conditions=wrong.get(node.id, ()),
            repair=repaired.get(node.id),
            incident_id=open_ids.get(node.id),
        )
        for node in nodes.with_sightings(tx, found)
    ]


def page(tx: Tx, which: NodeFilter, wanted: PageRequest) -> tuple[list[NodeView], str]:
    """Return a page of nodes and the token of the next one."""
    found = nodes.page(tx, which, wanted)
    return many(tx, found.items), found.next_token


def watched(only: NodeId | None) -> Watched[NodeId, NodeView]:
    """Return what a stream of nodes, or of one node, is about."""

    def concerns(event: Event) -> NodeId | None:
        if event.noun is Noun.NODE and (only is None or event.id == only):
            return NodeId(event.id)
        # An incident that opens or ends is told with its node.
        if event.noun is Noun.INCIDENT and (only is None or event.parent_id == only):
            return NodeId(event.parent_id)
        return None

    def current(tx: Tx) -> Sequence[NodeView]:
        return () if only is None else (one(tx, nodes.resolve(tx, only)),)

    def current_page(tx: Tx, page_token: str) -> tuple[Sequence[NodeView], str]:
        return page(tx, NodeFilter(), page_request(_WATCHED_AT_ONCE, page_token))

    def load(tx: Tx, node_ids: Iterable[NodeId]) -> Mapping[NodeId, NodeView]:
        loaded = (nodes.get(tx, wanted) for wanted in node_ids)
        found = [node for node in loaded if node is not None]
        views = many(tx, found) if len(found) > _FEW else [one(tx, node) for node in found]
        return {view.node.id: view for view in views}

    def ended(tx: Tx) -> bool:
        return only is not None and nodes.resolve(tx, only).state is NodeState.REVOKED

    return Watched(
        scope=("nodes", only or ""),
        concerns=concerns,
        current=current,
        load=load,
        ended=ended,
        current_page=current_page if only is None else None,
    )


def _repairs(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, Repair]:
    """Return each node's repair in progress, an order before what its host does by itself, or else its last one."""
    found = repairs.latest_of(tx, node_ids)
    wanted = frozenset(node_ids)
    running = [repair for repair in repairs.in_progress(tx) if repair.node_id in wanted]
    for origin in (RepairOrigin.LOCAL_POLICY, RepairOrigin.CONTROL_PLANE):
        found |= {repair.node_id: repair for repair in running if repair.origin is origin}
    return found
