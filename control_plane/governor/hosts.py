"""What is observed of hosts: links that come and go, and leases that run out."""

from control_plane.governor import holds
from control_plane.model.action import RequeueJob
from control_plane.model.ids import NodeId
from control_plane.model.job import Allocation, AllocationState
from control_plane.model.node import HostInventory, Node, NodeState
from control_plane.store import audit, nodes
from control_plane.store.database import Tx

_REJOINS = (NodeState.JOINING, NodeState.READY, NodeState.CORDONED, NodeState.LOST)


def node_connected(tx: Tx, node_id: NodeId, inventory: HostInventory, *, zombies: int) -> Node:
    """Record a host's full report. A host with leftovers of older attempts takes no jobs until they have ended."""
    node = nodes.resolve(tx, node_id)
    if node.state in _REJOINS:
        if zombies:
            state, reason = NodeState.JOINING, f"stops {zombies} leftover(s) of attempts that were given up"
        else:
            state = holds.resting_state(node)
            reason = _reason(node, state)
    else:
        state, reason = node.state, node.status_reason
    if node.state is not state:
        _record(tx, node, f"node.{state.value}", reason or "its daemon reported its full state")
    return nodes.update(
        tx,
        node_id,
        state=state,
        status_reason=reason,
        connected=True,
        inventory=inventory,
        last_seen_at=tx.now,
    )


def _reason(node: Node, state: NodeState) -> str:
    if state is NodeState.READY:
        return ""
    return node.status_reason if node.state is state else f"was {state.value} before"


def node_disconnected(tx: Tx, node_id: NodeId) -> None:
    """Record that a host's link is down; its lease decides what follows."""
    node = nodes.get(tx, node_id)
    if node is not None and node.connected:
        nodes.update(tx, node_id, connected=False)


def node_lost(tx: Tx, node_id: NodeId, reason: str) -> None:
    """Record that a host was silent for longer than its lease: it gets no new work."""
    node = nodes.resolve(tx, node_id)
    if is_gone(tx, node_id):
        return
    nodes.update(tx, node_id, state=NodeState.LOST, status_reason=reason, connected=False)
    _record(tx, node, "node.lost", reason)


def is_gone(tx: Tx, node_id: NodeId) -> bool:
    """Tell whether the node is lost or has left the fleet."""
    node = nodes.get(tx, node_id)
    return node is None or node.state in (NodeState.LOST, NodeState.REVOKED)


def lost_nodes(tx: Tx, allocation: Allocation, effect: RequeueJob) -> set[NodeId]:
    """Return the nodes that the effect gives up and that are lost, where the attempt has members left."""
    return {
        member.node_id
        for member in allocation.members
        if member.state is not AllocationState.ENDED
        and (not effect.node_ids or member.node_id in effect.node_ids)
        and is_gone(tx, member.node_id)
    }


def _record(tx: Tx, node: Node, action: str, reasoning: str) -> None:
    audit.append(
        tx,
        agent_name="healing_agent",
        action=action,
        reasoning=reasoning,
        outcome="observed",
        payload={"name": node.name, "before": node.state.value},
        node_id=node.id,
    )
