"""Watches a fleet for room that comes free: what did not fit before fits only where there is more than there was."""

import numpy as np

from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.packing.state import Bools, Ints
from control_plane.fleet.placement.room import Bounds

_ROWS = ("cpu_free", "memory_free", "serves")
_HELD = ("holders", "exclusive")
_SLOTS = ("gpu_free", "gpu_memory_free")


class GridWatch:
    """Remembers what was free on each row when it was last looked at. Costs what has changed since."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._sequence = -1
        self._hosts_version = -1
        self._seen: dict[str, Ints | Bools] = {}

    def look(self) -> Bounds | None:
        """Return the most that is free on any one host that has more free than at the last look; None at the first."""
        grid, first = self._grid, not self._seen
        rows = np.flatnonzero(grid.changed_at[: grid.count] > self._sequence)
        more = rows if first or self._hosts_version != grid.hosts_version else rows[self._has_more(rows)]
        self._remember(rows)
        more = more[grid.serves[more]]
        if first:
            return None
        if not more.size:
            return Bounds()
        return Bounds(
            int(grid.cpu_free[more].max()),
            int(grid.memory_free[more].max()),
            int(grid.whole_free[more].max()),
            int(grid.largest_free[more].max()),
            more=True,
        )

    def _has_more(self, rows: Ints) -> Bools:
        found: Bools = np.zeros(rows.size, dtype=np.bool_)
        for name in _ROWS:
            found |= getattr(self._grid, name)[rows] > self._seen[name][rows]
        for name in _HELD:
            found |= getattr(self._grid, name)[rows] < self._seen[name][rows]
        for name in _SLOTS:
            found |= (getattr(self._grid, name)[rows] > self._seen[name][rows]).any(axis=1)
        return found

    def _remember(self, rows: Ints) -> None:
        grid = self._grid
        for name in (*_ROWS, *_HELD, *_SLOTS):
            now = getattr(grid, name)
            seen = self._seen.get(name)
            if seen is None or seen.shape != now.shape:
                self._seen[name] = now.copy()
            else:
                seen[rows] = now[rows]
        self._sequence, self._hosts_version = grid.sequence, grid.hosts_version
