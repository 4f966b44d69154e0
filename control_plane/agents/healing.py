"""The healing agent: watches leases, marks silent nodes lost and gives their jobs back to the queue.

A host that is out of contact stops its jobs by itself after `fence_seconds`. Only once that time has surely passed
is a lost node's work started elsewhere, so the same job never runs twice at once.
"""

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from control_plane.agents.loop import Agent
from control_plane.clock import Clock
from control_plane.governor import hosts
from control_plane.governor.governor import Governor
from control_plane.model.action import ActionState, Proposal, RequeueJob
from control_plane.model.ids import ACTION, NodeId, derived_id
from control_plane.model.job import Allocation, AllocationState
from control_plane.model.node import NodeState
from control_plane.model.record import Noun
from control_plane.store import actions, allocations, jobs, nodes, repairs
from control_plane.store.database import Store, Tx
from control_plane.store.nodes import NodeStanding
from control_plane.store.pages import batched
from control_plane.store.readable import readable

NAME = "healing_agent"
_CHECK_SECONDS = 0.5
_NOUNS = (Noun.NODE,)
_GONE = (NodeState.LOST, NodeState.REVOKED)
_RELOAD_SECONDS = 60.0
"""How often all nodes are read again without a reason; else only those that events are about, twice a second.

To read ten thousand keeps one of four readers busy for half a second, and everything else waiting for its turn.
"""


class Links(Protocol):
    """Who was heard when; the link server knows."""

    @property
    def lease_seconds(self) -> float:
        """The longest lease that a host was told; 0 if each was told the one that is set."""
        ...

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
class _Stranded:
    """An attempt with members on nodes that are gone, and the seconds that a host may take to stop it."""

    allocation: Allocation
    stop_grace_seconds: int


@dataclass(frozen=True, slots=True)
class _View:
    nodes: Mapping[NodeId, NodeStanding]
    """Those that changed, or all of them."""
    is_all: bool
    stranded: tuple[_Stranded, ...]
    stopped: bool
    rebooting: frozenset[NodeId]


class Healing(Agent):
    """Leases; `agents/incidents` has faults and repairs."""

    name = NAME
    event_driven = False

    def __init__(self, store: Store, governor: Governor, links: Links, leases: Leases, *, clock: Clock) -> None:
        super().__init__(store, interval_seconds=_CHECK_SECONDS)
        self._governor = governor
        self._links = links
        self._set = self._leases = leases
        self._clock = clock
        self._revoked_at: dict[NodeId, float] = {}
        self._nodes: dict[NodeId, NodeStanding] = {}
        self._position: int | None = None
        self._reload_at = 0.0
        self._silent_at = 0.0

    async def round(self) -> str:
        """Mark silent nodes lost, and give up attempts on nodes that were silent for long enough."""
        now = self._clock.monotonic()
        self._follow_lease()
        position, changed = await self._changed(None if now >= self._reload_at else self._position)
        view = await self._store.read(partial(_load, changed=changed))
        if view.is_all:
            self._nodes = {}
            self._reload_at = now + _RELOAD_SECONDS
        self._nodes.update(view.nodes)
        self._position = position
        done = await self._lose(self._silent(view, now))
        if not view.stopped:
            states = {node.id: node.state for node in self._nodes.values()} if view.stranded else {}
            self._note_revoked(view, states)
            hopeless = [(one, gone) for one in view.stranded if (gone := self._gone(one, states))]
            for batch in batched(hopeless):
                done.extend(await asyncio.gather(*(self._give_up(one, gone) for one, gone in batch)))
        return "; ".join(text for text in done if text)

    def _follow_lease(self) -> None:
        before, self._leases = self._leases, self._leases_now()
        if self._leases != before:
            self._silent_at = 0.0
            # Whoever went by a longer one may have done so until it was revoked.
            fallen = max(0.0, before.lease_seconds - self._leases.lease_seconds)
            self._revoked_at = {node_id: at + fallen for node_id, at in self._revoked_at.items()}

    def _leases_now(self) -> Leases:
        return replace(self._set, lease_seconds=max(self._set.lease_seconds, self._links.lease_seconds))

    async def _changed(self, position: int | None) -> tuple[int, Collection[NodeId] | None]:
        """Return how far events are known, and the nodes that changed up to there; None for all of them.

        What is read of them afterwards is as it was then, or later: what has changed since, comes again.
        """
        page = await self._store.feed.since(self._store.feed.newest if position is None else position, nouns=_NOUNS)
        if position is None or page.more or not page.whole:
            return max(page.position, self._store.feed.newest), None
        return page.position, {NodeId(event.id) for event in page.events}

    def _silent(self, view: _View, now: float) -> list[NodeStanding]:
        """Return the nodes whose lease has run out; that of one which was told to reboot is expected to.

        Silence grows no faster than time: until that of the longest silent can have run out, only those that have
        changed are looked at.
        """
        if view.is_all or now >= self._silent_at:
            looked_at, self._silent_at = tuple(self._nodes.values()), math.inf
        else:
            looked_at = tuple(view.nodes.values())
        lease, silent = self._leases.lease_seconds, []
        for node in looked_at:
            if node.state not in _GONE:
                left = lease - self._links.silent_for_seconds(node.id)
                self._silent_at = min(self._silent_at, now + left)
                if left < 0 and node.id not in view.rebooting:
                    silent.append(node)
        return silent

    async def _lose(self, silent: Sequence[NodeStanding]) -> list[str]:
        """Mark all of them in one transaction: a rack that goes dark is out of scheduling at once."""
        if not silent:
            return []

        def write(tx: Tx) -> list[str]:
            done, lease = [], self._leases_now().lease_seconds  # it may have waited for long
            for node in nodes.states(tx, [node.id for node in silent]):
                if node.state in _GONE:
                    continue  # what was known of it was older
                seconds = self._links.silent_for_seconds(node.id)
                if seconds > lease:  # it may have been heard meanwhile
                    reason = f"silent for {seconds:.0f} s, longer than its lease of {lease:g} s"
                    hosts.node_lost(tx, node.id, reason)
                    done.append(f"{node.name} is lost: {reason}")
            return done

        done = await self._store.write(write)
        self.count("nodes_lost", len(done))
        return done

    def _note_revoked(self, view: _View, states: Mapping[NodeId, NodeState]) -> None:
        """A revoked node is not heard any more by definition, so its silence counts from when it was first seen so."""
        revoked = {
            member.node_id
            for one in view.stranded
            for member in one.allocation.members
            if states.get(member.node_id) is NodeState.REVOKED
        }
        now = self._clock.monotonic()
        self._revoked_at = {node_id: self._revoked_at.get(node_id, now) for node_id in revoked}

    def _gone(self, one: _Stranded, states: Mapping[NodeId, NodeState]) -> dict[NodeId, str]:
        """Return the nodes, with their names, that have surely stopped what is left of the attempt there."""
        limit = self._leases_now().give_up_seconds(one.stop_grace_seconds)
        return {
            member.node_id: member.node_name
            for member in one.allocation.members
            if member.state is not AllocationState.ENDED
            and self._silent_since_gone(member.node_id, states.get(member.node_id)) > limit
        }

    def _silent_since_gone(self, node_id: NodeId, state: NodeState | None) -> float:
        if state is NodeState.LOST:
            return self._links.silent_for_seconds(node_id)
        if state is NodeState.REVOKED:
            return self._clock.monotonic() - self._revoked_at[node_id]
        return 0.0

    async def _give_up(self, one: _Stranded, gone: Mapping[NodeId, str]) -> str:
        allocation, seconds = one.allocation, self._leases.give_up_seconds(one.stop_grace_seconds)
        names = ", ".join(sorted(gone.values()))
        action = await self._governor.propose(
            Proposal(
                id=derived_id(ACTION, NAME, allocation.id, *sorted(gone), str(self._store.changes.newest)),
                effect=RequeueJob(
                    allocation.job_id,
                    allocation.id,
                    f"{names} was silent for over {seconds:g} s and has stopped its jobs by now",
                    tuple(sorted(gone)),
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


def _stranded(tx: Tx, attempt: Allocation) -> _Stranded:
    job = jobs.require(tx, attempt.job_id, with_allocations=False)
    return _Stranded(attempt, job.spec.stop_grace_seconds)


def _load(tx: Tx, changed: Collection[NodeId] | None) -> _View:
    """Read what has changed, or everything: the work grows with the changes, not the fleet."""
    stranded = tuple(readable(tx, allocations.stranded(tx), partial(_stranded, tx), "the job of an attempt"))
    standings = () if changed is not None and not changed else nodes.states(tx, changed)
    return _View(
        {one.id: one for one in standings},
        changed is None,
        stranded,
        actions.kill_switch(tx).engaged,
        repairs.rebooting(tx),
    )
