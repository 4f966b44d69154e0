"""Which hosts have room for one member of a gang, and which slots it would take there."""

import numpy as np

from control_plane.fleet.placement.grid import Grid, Hold
from control_plane.fleet.placement.needs import Need
from control_plane.fleet.placement.packing.model import WHOLE_GPU_MILLI
from control_plane.fleet.placement.packing.state import Bools, Ints
from control_plane.model.job import ResourceRequest

_CHUNK_ROWS = 512  # bounds the memory of comparing the slots of a host with each other


def fitting(grid: Grid, rows: Ints, need: Need) -> Ints:
    """Return those of the rows that have room; memory and labels of hosts are not asked about here."""
    room = grid.serves[rows]
    if need.cpu_milli:
        room &= grid.cpu_free[rows] >= need.cpu_milli
    if need.exclusive:
        room &= grid.holders[rows] == 0
    if need.count:
        room &= (grid.largest_free[rows] if need.shared else grid.whole_free[rows]) >= (
            need.milli if need.shared else need.count
        )
        if need.shared:
            room &= grid.shares[rows]
    rows = rows[room]
    if need.count == 0 or rows.size == 0:
        return rows
    found: Ints = rows[_enough(grid, rows, need, usable(grid, rows, need))]
    return found


def usable(grid: Grid, rows: Ints, need: Need) -> Bools:
    """Return for each of the rows and each slot whether it is of the right kind and has enough free."""
    kinds = grid.kind[rows]
    free: Bools = grid.gpu_free[rows] >= need.milli
    free &= grid.kinds.mask(need.kinds)[kinds]
    if need.shared:
        free &= grid.gpu_memory_free[rows] >= grid.kinds.share_memory(need.milli, need.share_memory_bytes)[kinds]
    return free


def _enough(grid: Grid, rows: Ints, need: Need, slots: Bools) -> Bools:
    enough: Bools = slots.sum(axis=1) >= need.count
    if need.count > 1:
        apart = enough & (grid.mixed[rows] | (grid.split[rows] & need.island))
        if apart.any():
            at = np.flatnonzero(apart)
            enough[at] = largest_group(grid, rows[at], slots[at], by_island=need.island) >= need.count
    return enough


def in_one_island(grid: Grid, rows: Ints, need: Need, slots: Bools) -> Bools:
    """Return for each of the rows, all of which fit, whether the slots can be of one island."""
    near: Bools = np.ones(rows.size, dtype=np.bool_)
    if need.count > 1:
        at = np.flatnonzero(grid.split[rows])
        if at.size:
            near[at] = largest_group(grid, rows[at], slots[at], by_island=True) >= need.count
    return near


def largest_group(grid: Grid, rows: Ints, slots: Bools, *, by_island: bool) -> Ints:
    """Return for each of the rows how many of the slots are at most alike in GPU model, and in island if asked."""
    groups = grid.slot_model[rows]
    if by_island:
        groups = groups * slots.shape[1] + grid.island[rows]
    found = np.zeros(rows.size, dtype=np.int64)
    for start in range(0, rows.size, _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        group, slot = groups[part], slots[part]
        alike = (group[:, :, None] == group[:, None, :]) & slot[:, None, :] & slot[:, :, None]
        found[part] = alike.sum(axis=2).max(axis=1)
    return found


def pick(grid: Grid, row: int, need: Need, slot: int) -> tuple[int, ...]:
    """Return the slots that a member takes on a row that fits: `slot` for a share.

    Whole ones are all of one model. Of equals: in one island if that is possible, and in the one that it fills best;
    the smallest GPUs that will do; neighbours, because these are often joined by the fastest links.
    """
    if need.count == 0:
        return ()
    if need.shared:
        return (slot,)
    free = np.flatnonzero(usable(grid, np.array([row]), need)[0]).tolist()
    if not grid.mixed[row] and not grid.split[row]:
        return tuple(sorted(free, key=lambda one: (grid.kinds.memory_of[grid.kind[row, one]], one))[: need.count])
    models: dict[int, dict[int, list[int]]] = {}
    for one in free:
        models.setdefault(int(grid.slot_model[row, one]), {}).setdefault(int(grid.island[row, one]), []).append(one)
    choices = [found for islands in models.values() if (found := _of_model(grid, row, islands, need)) is not None]
    return min(choices)[-1]


def _of_model(
    grid: Grid, row: int, islands: dict[int, list[int]], need: Need
) -> tuple[int, int, int, tuple[int, ...]] | None:
    """Return the slots to take of one model: (not in one island, their memory, slots left in the island, they)."""

    def memory(one: int) -> int:
        return int(grid.kinds.memory_of[grid.kind[row, one]])

    whole = [
        (0, sum(map(memory, taken)), len(slots) - need.count, taken)
        for slots in islands.values()
        if len(slots) >= need.count
        for taken in [tuple(sorted(slots, key=lambda one: (memory(one), one))[: need.count])]
    ]
    if whole:
        return min(whole)
    if need.island or sum(map(len, islands.values())) < need.count:
        return None
    largest_first = sorted(islands.values(), key=lambda slots: (-len(slots), slots))
    taken = tuple([one for slots in largest_first for one in slots][: need.count])
    return 1, sum(map(memory, taken)), 0, taken


def hold(grid: Grid, row: int, slots: tuple[int, ...], request: ResourceRequest) -> Hold:
    """Return what a member holds of these slots of a row."""
    milli = request.gpu_milli or WHOLE_GPU_MILLI
    memory = grid.kinds.share_memory(milli, request.share_memory_bytes)
    return Hold(
        slots=slots,
        milli=milli,
        gpu_memory_bytes=tuple(int(memory[grid.kind[row, one]]) for one in slots),
        cpu_milli=request.cpu_milli,
        memory_bytes=request.memory_bytes,
        exclusive=request.exclusive_nodes,
    )


def lacks(grid: Grid, row: int, wanted: Hold) -> str:
    """Return what of this is not free on a row, in words; empty if all is."""
    if grid.exclusive[row] or (wanted.exclusive and grid.holders[row]):
        return "another job holds it and it cannot be shared"
    for slot, memory in zip(wanted.slots, wanted.gpu_memory_bytes, strict=True):
        if grid.gpu_free[row, slot] < wanted.milli:
            return f"GPU {slot} has {grid.gpu_free[row, slot]} of {wanted.milli} thousandths free"
        if grid.gpu_memory_free[row, slot] < memory:
            return f"GPU {slot} has too little memory free"
    if wanted.cpu_milli > max(0, grid.cpu_free[row]) or wanted.memory_bytes > max(0, grid.memory_free[row]):
        return "it has too little CPU or memory free"
    return ""
