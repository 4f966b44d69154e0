"""The hosts as they are filled: finds room, and takes and frees it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from types import MappingProxyType

import numpy as np

from control_plane.fleet.placement.admit import Admission, Apart
from control_plane.fleet.placement.ahead import Ahead
from control_plane.fleet.placement.choice import Chooser
from control_plane.fleet.placement.fits import fitting
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.history import History
from control_plane.fleet.placement.holding import Held, Holding
from control_plane.fleet.placement.journal import Journal
from control_plane.fleet.placement.kinds import Kinds
from control_plane.fleet.placement.missing import Diviner
from control_plane.fleet.placement.needs import Way
from control_plane.fleet.placement.packing.state import Bools, Ints, OverCommitError
from control_plane.fleet.placement.ranking import EmptyRanking, FitRanking, PackingPolicy, PolicyRanking
from control_plane.fleet.placement.reasons import found_by
from control_plane.fleet.placement.room import Asked, Claim, Found, Host, Missing, by_host
from control_plane.fleet.placement.verdicts import Judge, Verdict
from control_plane.fleet.placement.watch import GridWatch
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import ResourceRequest

_MAX_REMEMBERED = 50_000  # requests that are known not to fit; all are forgotten then


class Hosts:
    """A Room. Every change costs what it changes, whatever the size of the fleet; belongs to one thread at a time.

    What is put, found and dropped in the same order gives the same answers. `history` is only read here.
    """

    def __init__(
        self,
        hosts: Iterable[Host] = (),
        *,
        policy: PackingPolicy = PackingPolicy.NODE_VALUE,
        history: History | None = None,
        seed: int = 0,
    ) -> None:
        """Hosts in the order in which ties between them are decided; `seed` is for the random policy."""
        kinds, self._apart, self._nobody = Kinds(), Apart(), Apart()
        self.grid, self._empty = Grid(kinds), Grid(kinds)
        self.ranking = PolicyRanking(self.grid, policy, history or History(), seed)
        self._admission = Admission(self.grid, self._apart)
        self._chooser = Chooser(self.grid, self.ranking, self._admission)
        self._ever = Chooser(self._empty, EmptyRanking(self._empty), Admission(self._empty, self._nobody))
        self._claims: dict[AllocationId, Claim] = {}
        self._away: set[AllocationId] = set()  # freed inside `without`
        self._holding = Holding(self.grid, self._apart)
        self._claimed: dict[NodeId, dict[AllocationId, None]] = {}  # on each host, here or not
        self._journal = Journal()
        self._numbers = count(1)
        self._freed = 0  # another number after anything was freed
        # The number of `_freed` at which there was no room, and that of the grid's changes.
        self._no_room: dict[tuple[ResourceRequest, str], tuple[int, int]] = {}
        self._had_room: dict[tuple[ResourceRequest, str], int] = {}  # on which row; it need not have any more
        self._possible: dict[ResourceRequest, bool] = {}
        self._judge = Judge(self.grid, self._chooser, self._admission, self._apart, self.on_host)
        plain = Chooser(self.grid, FitRanking(self.grid), self._admission)
        self._diviner = Diviner(self.grid, self._judge, plain, self.could_ever)
        self._ahead = Ahead(self.grid, self._chooser, self._judge.may_use, self._holding.on)
        for host in hosts:
            self.put_host(host)

    # Hosts.

    def put_host(self, host: Host) -> None:
        """Add a host, or describe it anew. What is claimed on it stays claimed, also if it has less than that now."""
        self._empty.put_host(host)
        self.grid.put_host(host)
        self._holding.on[host.node_id] = {}
        for allocation_id in self._claimed.get(host.node_id, ()):
            if allocation_id not in self._away:
                self._holding.take_on(self._claims[allocation_id], host.node_id)
        self._fleet_changed()

    def drop_host(self, node_id: NodeId) -> None:
        """Take a host away; nothing happens if it is not there. Its claims stay known."""
        if node_id in self.grid.rows:
            self.grid.drop_host(node_id)
            self._empty.drop_host(node_id)
            del self._holding.on[node_id]
            self._fleet_changed()

    def host(self, node_id: NodeId) -> Host | None:
        """Return a host, if it is there."""
        row = self.grid.rows.get(node_id)
        return None if row is None else self.grid.hosts[row]

    def _fleet_changed(self) -> None:
        self._freed = next(self._numbers)
        self._possible.clear()
        self._no_room.clear()
        self._had_room.clear()

    # Finding.

    def find(self, asked: Asked) -> Found | None:
        """Return where the job would best go now, or None. Changes nothing. The same state gives the same answer."""
        key = (asked.resources, asked.team if asked.resources.anti_affinity else "")
        known = self._no_room.get(key)
        if known is not None and known[0] == self._freed:  # what did not fit fits no more while hosts only fill up
            return None
        choice = None if known is not None and self._still_none(asked, known[1]) else self._chooser.choose(asked)
        if choice is not None:
            self._had_room[key] = choice.rows[0]
            return found_by(self.grid, asked, choice)
        if len(self._no_room) >= _MAX_REMEMBERED:
            self._no_room.clear()
            self._had_room.clear()
        self._no_room[key] = self._freed, self.grid.sequence
        return None

    def _still_none(self, asked: Asked, since: int) -> bool:
        """Return True if one host is needed, none had room then, and none that has changed since has room now."""
        grid = self.grid
        rows = np.flatnonzero(grid.changed_at[: grid.count] > since)
        rows = rows[grid.memory_free[rows] >= asked.resources.memory_bytes]
        return all(way.node_count == 1 and not fitting(grid, rows, way.need).size for way in self.ways(asked))

    def fits(self, asked: Asked) -> bool:
        """Return whether the job would fit now: as `find`, without weighing where it would best go."""
        key = (asked.resources, asked.team if asked.resources.anti_affinity else "")
        known = self._no_room.get(key)
        if known is None:
            row = self._had_room.get(key)
            had_room = row is not None and self._fits_on(asked, np.array([row]))
            return had_room or self.find(asked) is not None
        if known[0] == self._freed:
            return False
        if self._fits_on(asked, np.flatnonzero(self.grid.changed_at[: self.grid.count] > known[1])):
            return True
        if any(way.node_count > 1 for way in self.ways(asked)):
            return self.find(asked) is not None
        self._no_room[key] = self._freed, self.grid.sequence
        return False

    def _fits_on(self, asked: Asked, rows: Ints) -> bool:
        """Return True if one of these hosts alone is room enough."""
        admitted = self._admission.rows(asked)
        if admitted is not None:
            rows = rows[admitted[rows]]
        return any(way.node_count == 1 and fitting(self.grid, rows, way.need).size for way in self.ways(asked))

    def could_ever(self, asked: Asked) -> bool:
        """Return whether the job would fit if its open hosts were empty."""
        known = self._possible.get(asked.resources)
        if known is None:
            if len(self._possible) >= _MAX_REMEMBERED:
                self._possible.clear()
            known = self._possible[asked.resources] = self._ever.choose(asked) is not None
        return known

    def watch(self) -> GridWatch:
        """See `Recorded`."""
        return GridWatch(self.grid)

    def claims_moment(self) -> int:
        """See `Recorded`."""
        return self._journal.at

    def claims_changed_since(self, moment: int) -> Collection[AllocationId] | None:
        """See `Recorded`."""
        return self._journal.since(moment)

    def must_end(self, asked: Asked, claims: Sequence[Claim]) -> tuple[Claim, ...] | None:
        """See `Foresight`."""
        return self._ahead.ended(asked, claims)

    def verdicts(self, asked: Asked, limit: int = 20) -> tuple[Verdict, ...]:
        """Return how hosts compare for a job, at most so many, best first: what fits there, or what is missing."""
        return self._judge.verdicts(asked, limit)

    def missing(self, asked: Asked) -> Missing:
        """Return what the job lacks to start now, and what would help."""
        return self._diviner.missing(asked)

    def expect(self, waiting: Callable[[], Iterable[ResourceRequest]]) -> None:
        """Let the jobs that wait count among what is to come. They are asked for when what is to come is weighed anew.

        The first 2,000 are looked at.
        """
        self.ranking.expect(waiting)

    def ways(self, asked: Asked) -> tuple[Way, ...]:
        """Return the ways to spread a job over hosts, best liked first."""
        return tuple(way for group in self._chooser.ways(asked.resources) for way in group)

    def may_use(self, asked: Asked) -> Bools:
        """Return for each row of the grid whether the job may use its host, whatever is free there."""
        return self._judge.may_use(asked)

    def member_fits(self, asked: Asked, way: Way, node_id: NodeId) -> bool:
        """Return whether one member could start on a host now."""
        row = self.grid.rows.get(node_id)
        if row is None or not fitting(self.grid, np.array([row]), way.need).size:
            return False
        admitted = self._admission.rows(asked)
        return admitted is None or bool(admitted[row])

    # Claims.

    def put(self, claim: Claim) -> None:
        """Take what the claim holds. Raises OverCommitError, and changes nothing, if it is not free.

        What it holds on hosts that are not here is known, and is held once they are.
        """
        if claim.allocation_id in self._claims:
            raise OverCommitError(f"{claim.allocation_id} holds something already; drop it first")
        lacking = self._holding.lacks(claim)
        if lacking is not None:
            raise OverCommitError(f"{claim.allocation_id} cannot be put on {lacking[0]}: {lacking[1]}")
        self.adopt(claim)

    def adopt(self, claim: Claim) -> None:
        """Take what the claim holds, free or not: for what runs already. In place of a claim of the same id, if any."""
        self.drop(claim.allocation_id)
        self._claims[claim.allocation_id] = claim
        self._journal.note(claim.allocation_id)
        for placement in claim.placements:
            self._claimed.setdefault(placement.node_id, {})[claim.allocation_id] = None
        self._holding.take(claim)

    def drop(self, allocation_id: AllocationId) -> None:
        """Free what the claim holds; nothing happens if it is not there."""
        claim = self._claims.get(allocation_id)
        if claim is None:
            return
        self._journal.note(allocation_id)
        if allocation_id in self._away:
            self._away.discard(allocation_id)
        else:
            self._free(claim)
        del self._claims[allocation_id]
        for node_id, _ in by_host(claim):
            del self._claimed[node_id][allocation_id]
            if not self._claimed[node_id]:
                del self._claimed[node_id]

    def claims(self) -> Mapping[AllocationId, Claim]:
        """Return what is held, in the order in which it was put."""
        if self._away:
            return {key: claim for key, claim in self._claims.items() if key not in self._away}
        return MappingProxyType(self._claims)

    def on_host(self, node_id: NodeId) -> tuple[Claim, ...]:
        """Return what is held on a host, here or not."""
        return tuple(self._claims[key] for key in self._claimed.get(node_id, ()) if key not in self._away)

    @contextmanager
    def without(self, allocation_ids: Iterable[AllocationId]) -> Iterator[None]:
        """Free these claims inside the block only, to see what would fit then.

        What is put inside the block is dropped inside it. What is not there, or is freed already by a block around this
        one, is passed over.
        """
        freed_before, fleet = self._freed, self.grid.hosts_version
        away = [key for key in dict.fromkeys(allocation_ids) if key in self._claims and key not in self._away]
        held = {key: self._free(self._claims[key]) for key in away}
        self._away.update(away)
        freed_inside = self._freed
        try:
            yield
        finally:
            dropped = False
            for key in away:
                if key in self._away:
                    self._away.discard(key)
                    if fleet == self.grid.hosts_version:
                        self._holding.take_again(self._claims[key], held[key])
                    else:  # hosts came, went or changed in between
                        self._holding.take(self._claims[key])
                else:
                    dropped = True
            if self._freed == freed_inside and not dropped:
                self._freed = freed_before  # as full as before, so what did not fit before does not now

    def _free(self, claim: Claim) -> Held:
        self._freed = next(self._numbers)
        return self._holding.free(claim)
