"""Takes nodes out of service and puts them back: what state a node shows follows its hold, its cordon and its link."""

from functools import cache

from control_plane.fleet import lifecycle
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.store import nodes
from control_plane.store.database import Tx

_PRESENT = (
    NodeState.READY,
    NodeState.CORDONED,
    *(hold.state for hold in NodeHold if hold is not NodeHold.CORDONED),
)
"""States of a node whose link decides nothing; the order makes the way to a state the same each time."""


def resting_state(node: Node) -> NodeState:
    """Return the state of a node that is there and has no leftovers."""
    if node.hold is not None:
        return node.hold.state
    return NodeState.CORDONED if node.cordoned else NodeState.READY


def hold(tx: Tx, node: Node, why: NodeHold, reason: str) -> Node:
    """Take a node out of service, or from one hold to another. A lost node stays lost, and comes back held."""
    return _settle(tx, node, why, reason)


def release(tx: Tx, node: Node, reason: str = "") -> Node:
    """End a node's hold: it takes jobs again, unless a person has cordoned it or it is lost."""
    return _settle(tx, node, None, reason)


def _settle(tx: Tx, node: Node, why: NodeHold | None, reason: str) -> Node:
    if node.state not in _PRESENT:
        keep = node.status_reason if node.state is NodeState.LOST else reason
        return nodes.set_hold(tx, node.id, why, state=node.state, status_reason=keep)
    wanted = why.state if why else NodeState.CORDONED if node.cordoned else NodeState.READY
    for state in _between(node.state, wanted):
        nodes.update(tx, node.id, state=state, status_reason=reason)
    return nodes.set_hold(tx, node.id, why, state=wanted, status_reason=reason)


@cache
def _between(before: NodeState, wanted: NodeState) -> tuple[NodeState, ...]:
    """Return the states that a node passes on its way. Raises LifecycleError if there is none."""
    return lifecycle.NODE.path(before, wanted, through=_PRESENT)[:-1]
