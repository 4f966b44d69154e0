"""What is held, in the orders in which the queue asks for it; brought up to date by what changed."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from operator import is_

from control_plane.fleet.placement.room import Claim, Recorded, Room
from control_plane.fleet.queueing.teams import Parties, held_amount
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import JobPriority

_INSTANT = timedelta(microseconds=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Ledger:
    """The claims on the fleet: who holds what, in which order they end, and what is on each host."""

    def __init__(self) -> None:
        self.claims: dict[AllocationId, Claim] = {}
        self.stopping: dict[AllocationId, Claim] = {}
        self.by_priority: dict[JobPriority, dict[AllocationId, Claim]] = {one: {} for one in JobPriority}
        self.on_node: dict[NodeId, dict[AllocationId, Claim]] = {}
        self.exposed: dict[JobPriority, dict[AllocationId, Claim]] = {one: {} for one in JobPriority}
        self._safe: list[tuple[datetime, AllocationId]] = []  # until when; some may be gone or exposed already
        self._exposed_at: tuple[datetime, float] | None = None
        self._min_runtime_seconds = 0.0
        self._endings: list[tuple[datetime, datetime, AllocationId]] = []
        self._parties: Parties | None = None
        self._followed: tuple[Room, int] | None = None

    def follow(self, room: Room, parties: Parties) -> None:
        """Bring the books up to date with what is held; only what differs is worked through."""
        claims = room.claims()
        if parties is not self._parties:
            self._parties = parties
            for claim in self.claims.values():
                parties.charge(claim.team, claim.user_id, held_amount(claim))
        changed = self._changed(room)
        if changed is not None:
            self._follow_those(changed, claims)
            return
        if len(claims) == len(self.claims) and all(map(is_, claims.values(), self.claims.values())):
            return
        for gone in [one for key, one in self.claims.items() if claims.get(key) is not one]:
            self.remove(gone)
        for added in [one for key, one in claims.items() if key not in self.claims]:
            self.add(added)
        self.claims = dict(claims)

    def _changed(self, room: Room) -> Collection[AllocationId] | None:
        """Return which claims may have changed since the last time, None if that is not known; remember this time."""
        if not isinstance(room, Recorded):
            return None
        before, self._followed = self._followed, (room, room.claims_moment())
        if before is None or before[0] is not room:
            return None
        return room.claims_changed_since(before[1])

    def _follow_those(self, changed: Collection[AllocationId], claims: Mapping[AllocationId, Claim]) -> None:
        """Bring the books up to date with these alone."""
        for key in changed:
            before = self.claims.get(key)
            if before is not None:
                self.remove(before)
            now = claims.get(key)
            if now is not None:
                self.add(now)

    def add(self, claim: Claim) -> None:
        """Count a claim."""
        assert self._parties is not None
        key = claim.allocation_id
        self.claims[key] = claim
        self.by_priority[claim.priority][key] = claim
        if claim.stopping:
            self.stopping[key] = claim
        for placement in claim.placements:
            self.on_node.setdefault(placement.node_id, {})[key] = claim
        insort(self._endings, _ending(claim))
        heappush(self._safe, (self._safe_until(claim), key))
        self._parties.charge(claim.team, claim.user_id, held_amount(claim))

    def remove(self, claim: Claim) -> None:
        """Count a claim no more."""
        assert self._parties is not None
        key = claim.allocation_id
        del self.claims[key]
        del self.by_priority[claim.priority][key]
        self.exposed[claim.priority].pop(key, None)
        self.stopping.pop(key, None)
        for placement in claim.placements:
            here = self.on_node.get(placement.node_id)
            if here is not None and here.pop(key, None) is not None and not here:
                del self.on_node[placement.node_id]
        del self._endings[bisect_left(self._endings, _ending(claim))]
        self._parties.charge(claim.team, claim.user_id, held_amount(claim), -1)

    def expose(self, now: datetime, min_runtime_seconds: float) -> None:
        """Find those who may be asked to make way by now: `exposed` has them, by priority.

        `min_runtime_seconds` is how long they are safe who do not say until when.
        """
        at = self._exposed_at
        self._exposed_at, self._min_runtime_seconds = (now, min_runtime_seconds), min_runtime_seconds
        if at is None or now < at[0] or min_runtime_seconds != at[1] or len(self._safe) > 2 * len(self.claims) + 1_000:
            self.exposed = {one: {} for one in JobPriority}
            self._safe = [(self._safe_until(claim), key) for key, claim in self.claims.items()]
            heapify(self._safe)
        while self._safe and self._safe[0][0] < now:
            claim = self.claims.get(heappop(self._safe)[1])
            if claim is not None and self._safe_until(claim) < now:
                self.exposed[claim.priority][claim.allocation_id] = claim

    def _safe_until(self, claim: Claim) -> datetime:
        """Return until when a claim is safe, that moment itself included."""
        until = claim.protected_until or claim.started_at + timedelta(seconds=self._min_runtime_seconds)
        # From that moment on it may be asked; but not in the one in which it was given its place.
        return max(claim.started_at, until - _INSTANT)

    def in_order_of_end(self, most: int) -> list[Claim]:
        """Return at most so many claims, the first to end first; those whose end is not known come last, by age."""
        return [self.claims[key] for _, _, key in self._endings[:most]]

    def by_host_end(self, most: int) -> list[Claim]:
        """Return at most so many claims, all of a host together, the host that is empty first before the others."""
        ends = {node: max(_ending(one) for one in here.values()) for node, here in self.on_node.items()}
        taken: dict[AllocationId, Claim] = {}
        for node in sorted(ends, key=lambda one: (ends[one], one)):
            taken.update(self.on_node[node])
            if len(taken) >= most:
                break
        return list(taken.values())

    def held_on(self, nodes: Iterable[NodeId]) -> tuple[tuple[Claim, ...], ...]:
        """Return what is held on each of these hosts, by their ids."""
        return tuple(tuple(self.on_node.get(node, {}).values()) for node in sorted(nodes))

    def lowest_priority(self) -> JobPriority | None:
        """Return the lowest priority of what is held."""
        for priority, claims in self.by_priority.items():  # in the order of priorities
            if claims:
                return priority
        return None


def _ending(claim: Claim) -> tuple[datetime, datetime, AllocationId]:
    return claim.ends_by or _NEVER, claim.started_at, claim.allocation_id
