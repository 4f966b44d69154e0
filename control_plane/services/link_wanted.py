"""What the books say that a host should do, read for many nodes at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.governor import books
from control_plane.model.health import ConditionOrder
from control_plane.model.ids import JobId, NodeId
from control_plane.model.node import NodeState
from control_plane.model.repair import Repair, RepairOrigin, RepairState, Rung
from control_plane.store import actions, conditions, link_holders, nodes, occupied, repairs
from control_plane.store.database import Tx
from control_plane.tracing import contexts

MANY: Final = 16
"""From so many nodes at once on nobody looks at what each is made of: it is half of what reading their orders costs."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the books say about one node.

    `members` are those that should run or stop there, `repair` is what it has to carry out, `said` what operators said
    about its conditions, `epoch` under which all of it is ordered,
    `holder` the replica that holds its link, if there are several, and `traceparents` the traces of its jobs. `unread`:
    nobody can read what the books say the host is made of; False as well where many nodes were read at once.
    """

    state: NodeState | None
    unread: bool
    members: books.NodeMembers
    repair: Repair | None
    said: tuple[ConditionOrder, ...]
    epoch: int
    holder: str
    traceparents: Mapping[JobId, str]


def of_nodes(
    tx: Tx, node_ids: Sequence[NodeId], *, epoch: Callable[[Tx], int], replicated: bool
) -> dict[NodeId, Orders]:
    """Return what the books say of each node. `epoch` tells under which one orders are given.

    Raises whatever comes of it if anything that is to be told one of the hosts cannot be read: half of it would be
    taken for all.
    """
    states: dict[NodeId, NodeState] = {}
    if len(node_ids) >= MANY:
        states = {one.id: one.state for one in nodes.states(tx, node_ids)}
    elif len(node_ids) > 1:
        nodes.load(tx, node_ids)
    if len(node_ids) > 1:
        occupied.load(tx, node_ids)
        repairs.load_unfinished(tx, node_ids)
        conditions.load_orders(tx, node_ids)
    stopped, in_force = actions.kill_switch(tx).engaged, epoch(tx)
    return {
        node_id: _of_node(tx, node_id, states.get(node_id), stopped=stopped, epoch=in_force, replicated=replicated)
        for node_id in node_ids
    }


def _of_node(
    tx: Tx, node_id: NodeId, state: NodeState | None, *, stopped: bool, epoch: int, replicated: bool
) -> Orders:
    """Return what the books say of a node; its `state`, if it is known already."""
    node = nodes.get(tx, node_id) if state is None else None
    members = books.of_node(tx, node_id)
    return Orders(
        state if node is None else node.state,
        node is not None and bool(node.unread),
        members,
        _ordered(repairs.unfinished(tx, node_id), stopped=stopped),
        conditions.orders(tx, node_id),
        epoch,
        link_holders.holder(tx, node_id) if replicated else "",
        {one.job.id: _traceparent(tx, one) for one in members.desired},
    )


def _traceparent(tx: Tx, one: books.Assignment) -> str:
    context, _ = contexts.of_job(tx, one.job.id, one.job.goal_id)
    return context.child(f"attempt/{one.allocation.epoch}").child(f"rank/{one.member.rank}").traceparent()


def _ordered(repair: Repair | None, *, stopped: bool) -> Repair | None:
    """Return the repair if its host is to carry it out: the control plane's own, with nothing in its way any more.

    While all effects are stopped, one that its host has not begun is withdrawn; a hand-off report is always written.
    One without a time by which to begin is kept back, see `governor.repairs.suspend`.
    """
    if repair is None or repair.origin is not RepairOrigin.CONTROL_PLANE or repair.sent_at is None:
        return None
    if repair.state is RepairState.PENDING:
        held_back = stopped and repair.rung is not Rung.QUARANTINE
        return None if held_back or repair.not_after is None else repair
    return repair
