"""The healing agent: watches leases, marks silent nodes lost and gives their jobs back to the queue.

A host that is out of contact stops its jobs by itself after `fence_seconds`. Only once that time has surely passed
is a lost node's work started elsewhere, so the same job never runs twice at once.
"""

from dataclasses import dataclass
from typing import Protocol

from control_plane.agents.loop import Agent
from control_plane.clock import Clock
from control_plane.governor import hosts
from control_plane.governor.governor import Governor
from control_plane.model.action import ActionState, Proposal, RequeueJob
from control_plane.model.ids import ACTION, NodeId, derived_id
from control_plane.model.job import Allocation, AllocationState
from control_plane.model.node import Node, NodeState
from control_plane.store import actions, allocations, jobs, nodes
from control_plane.store.database import Store, Tx

NAME = "healing_agent"
_CHECK_SECONDS = 0.5


class Links(Protocol):
    """Who was heard when; the link server knows."""

    def silent_for_seconds(self, node_id: NodeId) -> float:
        """Return how long a node has been silent, counted at most from when this control plane started."""
        ...


@dataclass(frozen=True, slots=True)
class Leases:
    """How long a node may be silent, in seconds, before each step."""

    lease_seconds: float
    fence_seconds: float
    margin_seconds: float

    def give_up_seconds(self, stop_grace_seconds: float) -> float:
        """Return the silence after which a host has surely stopped a job with this grace."""
        return self.lease_seconds + self.fence_seconds + stop_grace_seconds + self.margin_seconds


@dataclass(frozen=True, slots=True)
class _Live:
    """An attempt that has not ended, and the seconds its host may take to stop it."""

    allocation: Allocation
    stop_grace_seconds: int


@dataclass(frozen=True, slots=True)
class _View:
    nodes: tuple[Node, ...]
    live: tuple[_Live, ...]
    stopped: bool


class Healing(Agent):
    """Leases now; faults and repairs will join it here."""

    name = NAME

    def __init__(self, store: Store, governor: Governor, links: Links, leases: Leases, *, clock: Clock) -> None:
        super().__init__(store, interval_seconds=_CHECK_SECONDS)
        self._governor = governor
        self._links = links
        self._leases = leases
        self._clock = clock

    async def round(self) -> str:
        """Mark silent nodes lost, and give up attempts on nodes that were silent for long enough."""
        view = await self._store.read(_load)
        done = [await self._lose(node) for node in view.nodes if self._is_silent(node)]
        if not view.stopped:
            by_id = {node.id: node for node in view.nodes}
            done.extend([await self._give_up(one, by_id) for one in view.live if self._is_hopeless(one, by_id)])
        return "; ".join(text for text in done if text)

    def _is_silent(self, node: Node) -> bool:
        watched = node.state not in (NodeState.LOST, NodeState.REVOKED) and node.inventory is not None
        return watched and self._links.silent_for_seconds(node.id) > self._leases.lease_seconds

    async def _lose(self, node: Node) -> str:
        silent = self._links.silent_for_seconds(node.id)
        reason = f"silent for {silent:.0f} s, longer than its lease of {self._leases.lease_seconds:g} s"
        await self._store.write(lambda tx: hosts.node_lost(tx, node.id, reason))
        self.count("nodes_lost")
        return f"{node.name} is lost: {reason}"

    def _is_hopeless(self, live: _Live, by_id: dict[NodeId, Node]) -> bool:
        return any(
            member.state is not AllocationState.ENDED and self._is_gone(live, by_id.get(member.node_id), member.node_id)
            for member in live.allocation.members
        )

    def _is_gone(self, live: _Live, node: Node | None, node_id: NodeId) -> bool:
        if node is not None and node.state is not NodeState.LOST:
            return False
        return self._links.silent_for_seconds(node_id) > self._leases.give_up_seconds(live.stop_grace_seconds)

    async def _give_up(self, live: _Live, by_id: dict[NodeId, Node]) -> str:
        allocation = live.allocation
        gone = {m.node_name for m in allocation.members if self._is_gone(live, by_id.get(m.node_id), m.node_id)}
        names, seconds = ", ".join(sorted(gone)), self._leases.give_up_seconds(live.stop_grace_seconds)
        action = await self._governor.propose(
            Proposal(
                id=derived_id(ACTION, NAME, allocation.id, str(self._store.changes.newest)),
                effect=RequeueJob(
                    allocation.job_id,
                    allocation.id,
                    f"{names} was silent for over {seconds:g} s and has stopped its jobs by now",
                ),
                proposer=NAME,
                reasoning="a lost node's work goes back to the queue under a new epoch",
                is_person=False,
                job_id=allocation.job_id,
            )
        )
        if action.state is not ActionState.DONE:
            return ""
        self.count("attempts_given_up")
        return action.outcome


def _load(tx: Tx) -> _View:
    live = tuple(
        _Live(one, jobs.require(tx, one.job_id, with_allocations=False).spec.stop_grace_seconds)
        for one in allocations.live(tx)
    )
    return _View(nodes.active(tx), live, actions.kill_switch(tx).engaged)
