"""What claims hold of the rows of a grid: taken and freed."""

from typing import TypeAlias

from control_plane.fleet.placement.admit import Apart
from control_plane.fleet.placement.fits import hold, lacks
from control_plane.fleet.placement.grid import Grid, Hold
from control_plane.fleet.placement.room import Claim, by_host
from control_plane.model.ids import AllocationId, NodeId

Held: TypeAlias = list[tuple[NodeId, int, Hold]]
"""What was freed of each host, and on which row."""


class Holding:
    """What is held on each host that is here. Hosts that are not here are passed over."""

    def __init__(self, grid: Grid, apart: Apart) -> None:
        self.on: dict[NodeId, dict[AllocationId, Hold]] = {}
        self._grid = grid
        self._apart = apart

    def lacks(self, claim: Claim) -> tuple[NodeId, str] | None:
        """Return a host on which what a claim holds is not free, and what is not; None if all is."""
        for node_id, uuids in by_host(claim):
            row = self._grid.rows.get(node_id)
            if row is not None:
                slots = self._grid.numbers(row, uuids)
                if len(slots) < len(uuids):
                    return node_id, "it does not have all of these GPUs, or they are named twice"
                missing = lacks(self._grid, row, hold(self._grid, row, slots, claim.resources))
                if missing:
                    return node_id, missing
        return None

    def take(self, claim: Claim) -> None:
        """Take what a claim holds, free or not."""
        for node_id, uuids in by_host(claim):
            self._take(claim, node_id, uuids)
        self._apart.change(claim, 1)

    def take_again(self, claim: Claim, held: Held) -> None:
        """Take what was freed; no host may have come, gone or changed in between."""
        for node_id, row, one in held:
            self.on[node_id][claim.allocation_id] = one
            self._grid.change(row, one, 1)
        self._apart.change(claim, 1)

    def take_on(self, claim: Claim, node_id: NodeId) -> None:
        """Take what a claim holds on one host, which has come or is another than it was."""
        self._take(claim, node_id, dict(by_host(claim))[node_id])

    def free(self, claim: Claim) -> Held:
        """Free what a claim holds."""
        held = []
        for node_id, _ in by_host(claim):
            row = self._grid.rows.get(node_id)
            if row is not None:
                one = self.on[node_id].pop(claim.allocation_id)
                self._grid.change(row, one, -1)
                held.append((node_id, row, one))
        self._apart.change(claim, -1)
        return held

    def _take(self, claim: Claim, node_id: NodeId, uuids: tuple[str, ...]) -> None:
        row = self._grid.rows.get(node_id)
        if row is not None:
            slots = self._grid.numbers(row, uuids)
            held = self.on[node_id][claim.allocation_id] = hold(self._grid, row, slots, claim.resources)
            self._grid.change(row, held, 1)
