"""Chooses the hosts of a job: the first liked way that fits, in the tightest domain that holds it, best score first."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from control_plane.fleet.placement.admit import Admission
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.needs import Need, Way, ways
from control_plane.fleet.placement.packing.state import Ints
from control_plane.fleet.placement.room import Asked
from control_plane.fleet.placement.scores import NO_ROOM, Scored, Slots
from control_plane.model.job import ResourceRequest, TopologyDomain

_MAX_PLANS = 50_000  # requests whose ways are kept; all are forgotten then
_TIGHTNESS = {TopologyDomain.NODE: 3, TopologyDomain.RACK: 2, TopologyDomain.ZONE: 1, TopologyDomain.ANY: 0}


class Ranking(Protocol):
    """Scores of all rows for a need."""

    def of(self, need: Need) -> tuple[Scored, Slots]:
        """Return for each row its score, NO_ROOM where the need does not fit, and the slot that a share would take."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Rows for a job, in the order of its ranks; `slot` is what a share takes; `with_room` rows could have been it."""

    way: Way
    rows: tuple[int, ...]
    slot: int
    domain: TopologyDomain
    score: int
    with_room: int

    @property
    def rank(self) -> tuple[int, int]:
        """The larger is the better among equals: tighter, then the higher score."""
        return _TIGHTNESS[self.domain], self.score


class Chooser:
    """Chooses on one grid. Changes nothing in it."""

    def __init__(self, grid: Grid, ranking: Ranking, admission: Admission) -> None:
        self._grid = grid
        self.ranking = ranking
        self._admission = admission
        self._plans: dict[ResourceRequest, tuple[tuple[Way, ...], ...]] = {}
        self._kinds = 0  # how many were known when the plans were made

    def choose(self, asked: Asked) -> Choice | None:
        """Return the hosts where the job would best go, or None."""
        admitted = self._admission.rows(asked)
        for group in self.ways(asked.resources):
            best: Choice | None = None
            for way in group:
                scores, slots = self.ranking.of(way.need)
                if admitted is not None:
                    scores = np.where(admitted, scores, NO_ROOM)
                if way.node_count == 1:
                    found = _one(way, scores, slots)
                else:
                    found = self._gang(way, scores, asked.resources.topology)
                if found is not None and (best is None or found.rank > best.rank):
                    best = found
            if best is not None:
                return best
        return None

    def ways(self, request: ResourceRequest) -> tuple[tuple[Way, ...], ...]:
        """Return the ways to spread the request over hosts of this grid, see `needs.ways`."""
        if self._kinds != len(self._grid.kinds.all) or len(self._plans) > _MAX_PLANS:
            self._plans.clear()
            self._kinds = len(self._grid.kinds.all)
        found = self._plans.get(request)
        if found is None:
            found = self._plans[request] = ways(request, self._grid.kinds)
        return found

    def _gang(self, way: Way, scores: Scored, topology: TopologyDomain) -> Choice | None:
        rows = np.flatnonzero(scores > NO_ROOM)
        if rows.size < way.node_count:
            return None
        for domain, numbers in self._domains(rows, topology):
            inside = rows if numbers is None else rows[numbers == self._fullest(rows, numbers, way.node_count)]
            if inside.size >= way.node_count:
                order = np.argsort(-scores[inside].astype(np.int64), kind="stable")
                chosen = inside[order[: way.node_count]]
                near = np.lexsort((chosen, self._grid.rack[chosen], self._grid.zone[chosen]))
                score = int(scores[chosen].astype(np.int64).sum())
                return Choice(way, tuple(chosen[near].tolist()), 0, domain, score, int(rows.size))
        return None

    def _domains(self, rows: Ints, topology: TopologyDomain) -> list[tuple[TopologyDomain, Ints | None]]:
        """Return the domains that will do, tightest first, with the number of each row's own; None for all as one."""
        grid = self._grid
        found: list[tuple[TopologyDomain, Ints | None]] = [(TopologyDomain.RACK, grid.rack[rows])]
        if topology is not TopologyDomain.RACK:
            found.append((TopologyDomain.ZONE, grid.zone[rows]))
        if topology is TopologyDomain.ANY:
            found.append((TopologyDomain.ANY, None))
        return found

    def _fullest(self, rows: Ints, numbers: Ints, wanted: int) -> int:
        """Return the domain that holds so many of the rows and has least free, or one that no row is in."""
        hosts = np.bincount(numbers)
        holds = hosts >= wanted
        holds[0] = False  # no label
        if not holds.any():
            return -1
        free = np.bincount(numbers, weights=self._grid.whole_free[rows])
        candidates = np.flatnonzero(holds)
        return int(candidates[np.lexsort((candidates, hosts[candidates], free[candidates]))[0]])


def _one(way: Way, scores: Scored, slots: Slots) -> Choice | None:
    if scores.size == 0:
        return None
    row = int(scores.argmax())
    score = int(scores[row])
    if score == NO_ROOM:
        return None
    with_room = int(np.count_nonzero(scores > NO_ROOM))
    return Choice(way, (row,), int(slots[row]), TopologyDomain.NODE, score, with_room)
