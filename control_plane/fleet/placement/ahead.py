"""Tells how many of the claims that will end must have ended before a job can fit, without freeing any of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from control_plane.fleet.placement.choice import Chooser
from control_plane.fleet.placement.fits import fitting
from control_plane.fleet.placement.grid import Grid, Hold
from control_plane.fleet.placement.needs import Need, Way
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI
from control_plane.fleet.placement.packing.state import Bools
from control_plane.fleet.placement.room import Asked, Claim
from control_plane.model.ids import AllocationId, NodeId


@dataclass(slots=True)
class _Row:
    """What is free on a host once some claims have ended. Above what is there nothing is free, whatever is held."""

    cpu: int
    memory: int
    holders: int
    exclusive: int
    used: list[int]  # of each slot, milli
    suits: list[list[int]]  # for each way, the slots of the right kind
    ended: list[Claim]

    def free(self, hold: Hold, claim: Claim) -> None:
        self.cpu += hold.cpu_milli
        self.memory += hold.memory_bytes
        self.holders -= 1
        self.exclusive -= hold.exclusive
        for slot in hold.slots:
            self.used[slot] -= hold.milli
        self.ended.append(claim)

    def may_hold(self, number: int, need: Need, memory_bytes: int, *, shares: bool) -> bool:
        """Return False if one member surely does not fit: islands, models and GPU memory are not looked at."""
        if self.exclusive or self.cpu < need.cpu_milli or self.memory < memory_bytes:
            return False
        if need.exclusive and self.holders:
            return False
        if not need.count:
            return True
        if need.shared and not shares:
            return False
        most, found = WHOLE_GPU_MILLI - need.milli, 0
        for slot in self.suits[number]:
            if self.used[slot] <= most:
                found += 1
                if found == need.count:
                    return True
        return False


class Ahead:
    """Looks ahead on one grid. Changes nothing in it."""

    def __init__(
        self,
        grid: Grid,
        chooser: Chooser,
        may_use: Callable[[Asked], Bools],
        on: Mapping[NodeId, Mapping[AllocationId, Hold]],
    ) -> None:
        self._grid = grid
        self._chooser = chooser
        self._may_use = may_use
        self._on = on

    def ended(self, asked: Asked, claims: Sequence[Claim]) -> tuple[Claim, ...] | None:
        """Return those that must end first, if they end in the order given; None if the job does not fit even then.

        It may need more than these: what is tried is necessary, not sufficient. With fewer it surely does not fit.
        Claims on hosts that do not matter are left out.
        """
        grid, memory_bytes = self._grid, asked.resources.memory_bytes
        ways = [way for group in self._chooser.ways(asked.resources) for way in group]
        may = self._may_use(asked)
        rows: dict[int, _Row] = {}
        fit: list[set[int]] = [self._fits_now(way, may, memory_bytes) for way in ways]
        if any(len(here) >= way.node_count for way, here in zip(ways, fit, strict=True)):
            return ()
        for claim in claims:
            for node_id in dict.fromkeys(part.node_id for part in claim.placements):
                at = grid.rows.get(node_id)
                held = self._on[node_id].get(claim.allocation_id) if at is not None and may[at] else None
                if at is None or held is None:
                    continue
                row = rows.get(at) or rows.setdefault(at, self._row(at, ways))
                row.free(held, claim)
                shares = bool(grid.shares[at])
                for number, way in enumerate(ways):
                    here = fit[number]
                    if at not in here and row.may_hold(number, way.need, memory_bytes, shares=shares):
                        here.add(at)
                        if len(here) >= way.node_count:
                            near = {one.allocation_id for touched in here & rows.keys() for one in rows[touched].ended}
                            return tuple(one for one in claims if one.allocation_id in near)
        return None

    def _fits_now(self, way: Way, may: Bools, memory_bytes: int) -> set[int]:
        rows = np.flatnonzero(may & (self._grid.memory_free[: self._grid.count] >= memory_bytes))
        return set(fitting(self._grid, rows, way.need).tolist())

    def _row(self, at: int, ways: Sequence[Way]) -> _Row:
        grid = self._grid
        kinds = grid.kind[at]
        return _Row(
            int(grid.cpu_free[at]),
            int(grid.memory_free[at]),
            int(grid.holders[at]),
            int(grid.exclusive[at]),
            grid.slot_used[at].tolist(),
            [np.flatnonzero(grid.kinds.mask(way.need.kinds)[kinds]).tolist() for way in ways],
            [],
        )
