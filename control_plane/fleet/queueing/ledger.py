"""What is held, in the orders in which the queue asks for it; brought up to date by what changed."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from operator import is_

from control_plane.fleet.placement.room import Claim, Recorded, Room
from control_plane.fleet.queueing.teams import Parties, held_amount
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import JobPriority

_NEVER = datetime.max.replace(tzinfo=UTC)


class Ledger:
    """The claims on the fleet: who holds what, in which order they end, and what is on each host."""

    def __init__(self) -> None:
        self.claims: dict[AllocationId, Claim] = {}
        self.stopping: dict[AllocationId, Claim] = {}
        self.by_priority: dict[JobPriority, dict[AllocationId, Claim]] = {one: {} for one in JobPriority}
        self.on_node: dict[NodeId, dict[AllocationId, Claim]] = {}
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
        self._parties.charge(claim.team, claim.user_id, held_amount(claim))

    def remove(self, claim: Claim) -> None:
        """Count a claim no more."""
        assert self._parties is not None
        key = claim.allocation_id
        del self.claims[key]
        del self.by_priority[claim.priority][key]
        self.stopping.pop(key, None)
        for placement in claim.placements:
            here = self.on_node.get(placement.node_id)
            if here is not None and here.pop(key, None) is not None and not here:
                del self.on_node[placement.node_id]
        del self._endings[bisect_left(self._endings, _ending(claim))]
        self._parties.charge(claim.team, claim.user_id, held_amount(claim), -1)

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
