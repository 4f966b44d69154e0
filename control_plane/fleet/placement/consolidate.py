"""Makes room for a waiting gang by moving what may be moved: as little work is lost as can be found in bounded time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from control_plane.fleet.placement.grid import RACK, ZONE
from control_plane.fleet.placement.hosts import Hosts
from control_plane.fleet.placement.needs import Way
from control_plane.fleet.placement.room import Asked, Claim, Found, Host
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import JobPriority, TopologyDomain

MAX_MOVES = 16
_MAX_ROUNDS = 3  # each without the claims that found no other place in the one before
_MAX_SETS = 16  # of claims, tried in a round; each costs a search for the gang and one for each claim that moves
_MAX_HOSTS = 128  # of those that could hold a member, the ones with most free are looked at
_MAX_WAYS = 4
_NEVER_MIND = datetime(1970, 1, 1, tzinfo=UTC)  # when what is put for now began
_MAX_WINDOWS = 4  # choices of hosts in one domain: the cheapest, and what follows


@dataclass(frozen=True, slots=True)
class Move:
    """A claim that should go elsewhere, and where there is room for it then."""

    allocation_id: AllocationId
    job_id: JobId
    to: Found


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Moves that make room for a job, where it goes then, and the work that they lose, in the unit that was given."""

    moves: tuple[Move, ...]
    found: Found
    work_lost: float


@dataclass(frozen=True, slots=True)
class _Cleared:
    """A host, and what has to leave it for one member to fit."""

    host: Host
    leaving: tuple[AllocationId, ...]
    work_lost: float


def consolidate(room: Hosts, asked: Asked, movable: Mapping[AllocationId, float]) -> Consolidation | None:
    """Return the cheapest moves found that let the job start, or None. The room is then as it was.

    `movable` has the claims that may move, and the work that each loses by it, for example in GPU-seconds. At most 16
    claims move; each has a place to go to beside the job and the others. A job that fits already needs no moves.
    """
    found = room.find(asked)
    if found is not None:
        return Consolidation((), found, 0.0)
    if not room.could_ever(asked):
        return None
    left = {key: lost for key, lost in movable.items() if key in room.claims()}
    for _ in range(_MAX_ROUNDS):
        best, stuck = _round(room, asked, left)
        if best is not None:
            return _without_needless(room, asked, best, left)
        if not stuck:
            return None
        left = {key: lost for key, lost in left.items() if key not in stuck}
    return None


def _round(
    room: Hosts, asked: Asked, movable: Mapping[AllocationId, float]
) -> tuple[Consolidation | None, set[AllocationId]]:
    """Return the cheapest moves of those tried, and the claims that found no other place."""
    best: Consolidation | None = None
    stuck: set[AllocationId] = set()
    sets = dict.fromkeys(_sets(room, asked, movable))
    for leaving in sorted(sets, key=lambda keys: (_lost(keys, movable), len(keys)))[:_MAX_SETS]:
        if best is not None and _lost(leaving, movable) >= best.work_lost:
            break
        plan = _carried_out(room, asked, leaving, movable)
        if isinstance(plan, Consolidation):
            best = plan
        elif plan is not None:
            stuck.add(plan)
    return best, stuck


def _lost(leaving: Sequence[AllocationId], movable: Mapping[AllocationId, float]) -> float:
    return sum(movable[key] for key in leaving)


def _sets(room: Hosts, asked: Asked, movable: Mapping[AllocationId, float]) -> Iterator[tuple[AllocationId, ...]]:
    """Yield sets of claims whose leaving should make room for the job."""
    for way in room.ways(asked)[:_MAX_WAYS]:
        cleared = sorted(_cleared(room, asked, way, movable), key=lambda one: (one.work_lost, len(one.leaving)))
        for hosts in _by_domain(cleared, asked.resources.topology):
            for start in range(min(len(hosts) - way.node_count + 1, _MAX_WINDOWS)):
                chosen = hosts[start : start + way.node_count]
                leaving = tuple(sorted({key for one in chosen for key in one.leaving}))
                if 0 < len(leaving) <= MAX_MOVES:
                    yield leaving


def _by_domain(cleared: list[_Cleared], topology: TopologyDomain) -> list[list[_Cleared]]:
    if topology not in (TopologyDomain.RACK, TopologyDomain.ZONE):
        return [cleared]
    groups: dict[tuple[str, ...], list[_Cleared]] = {}
    for one in cleared:
        zone, rack = one.host.labels.get(ZONE, ""), one.host.labels.get(RACK, "")
        key = (zone, rack) if topology is TopologyDomain.RACK else (zone,)
        if key[-1]:
            groups.setdefault(key, []).append(one)
    return list(groups.values())


def _cleared(room: Hosts, asked: Asked, way: Way, movable: Mapping[AllocationId, float]) -> Iterator[_Cleared]:
    """Yield the hosts where one member fits once some of what may move has left, with the least that has to."""
    grid = room.grid
    possible = room.may_use(asked)
    if way.need.count:
        possible = possible & (grid.kinds.mask(way.need.kinds)[grid.kind[: grid.count]].sum(axis=1) >= way.need.count)
    rows = np.flatnonzero(possible)
    order = np.lexsort((rows, -grid.cpu_free[rows], -grid.gpu_free[rows].sum(axis=1)))
    for row in rows[order][:_MAX_HOSTS].tolist():
        host = grid.hosts[row]
        if host is not None:
            leaving = _leaving(room, host.node_id, asked, way, movable)
            if leaving is not None:
                yield _Cleared(host, leaving, _lost(leaving, movable))


def _leaving(
    room: Hosts, node_id: NodeId, asked: Asked, way: Way, movable: Mapping[AllocationId, float]
) -> tuple[AllocationId, ...] | None:
    """Return what has to leave a host for one member to fit; None if all that may leave is not enough."""
    if room.member_fits(asked, way, node_id):
        return ()
    here = [claim.allocation_id for claim in room.on_host(node_id) if claim.allocation_id in movable]
    if not here:
        return None
    with room.without(here):
        if not room.member_fits(asked, way, node_id):
            return None
    leaving = list(here)
    for key in sorted(here, key=lambda one: -movable[one]):  # what would lose most stays, if it can
        fewer = [one for one in leaving if one != key]
        with room.without(fewer):
            if room.member_fits(asked, way, node_id):
                leaving = fewer
    return tuple(leaving)


def _carried_out(
    room: Hosts, asked: Asked, leaving: Sequence[AllocationId], movable: Mapping[AllocationId, float]
) -> Consolidation | AllocationId | None:
    """Return what comes of it if these claims leave; the claim that has nowhere to go; None if the job has not."""
    claims = [room.claims()[key] for key in leaving]
    claims.sort(key=lambda claim: (-claim.gpus, claim.resources.cpu_milli, claim.allocation_id))
    with room.without(leaving), ExitStack() as put_for_now:
        found = room.find(asked)
        if found is None:
            return None
        _put(room, put_for_now, asked, found)
        moves = []
        for claim in claims:
            one = Asked(claim.job_id, claim.team, claim.resources)
            to = room.find(one)
            if to is None:
                return claim.allocation_id
            _put(room, put_for_now, one, to)
            moves.append(Move(claim.allocation_id, claim.job_id, to))
    return Consolidation(tuple(moves), found, _lost(leaving, movable))


def _put(room: Hosts, put_for_now: ExitStack, asked: Asked, found: Found) -> None:
    key = AllocationId(f"{asked.job_id} for now")
    room.put(
        Claim(
            key, asked.job_id, UserId(""), asked.team, JobPriority.LOW, asked.resources, found.placements, _NEVER_MIND
        )
    )
    put_for_now.callback(room.drop, key)


def _without_needless(
    room: Hosts, asked: Asked, plan: Consolidation, movable: Mapping[AllocationId, float]
) -> Consolidation:
    """Leave out each move that turns out not to be needed, the one that loses most first."""
    for move in sorted(plan.moves, key=lambda one: (-movable[one.allocation_id], one.allocation_id)):
        fewer = [one.allocation_id for one in plan.moves if one.allocation_id != move.allocation_id]
        less = _carried_out(room, asked, fewer, movable) if fewer else None
        if isinstance(less, Consolidation):
            plan = less
    return plan
