"""What is free on each host, as arrays: a row a host, a column a slot. A change costs one row."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.placement.kinds import Kinds
from control_plane.fleet.placement.packing.model import MAX_GPUS_PER_NODE, WHOLE_GPU_MILLI
from control_plane.fleet.placement.packing.state import Bools, Ints
from control_plane.fleet.placement.room import Host
from control_plane.model.ids import NodeId

RACK, ZONE = "rack", "zone"
_FIRST_ROWS, _FIRST_SLOTS = 64, 8


@dataclass(frozen=True, slots=True)
class Hold:
    """What one member of a gang holds of a row."""

    slots: tuple[int, ...]
    milli: int
    gpu_memory_bytes: tuple[int, ...]  # of each slot
    cpu_milli: int
    memory_bytes: int
    exclusive: bool


class Grid:
    """Free room by row. Rows of hosts that left are used again; `count` is how many rows there ever were at once.

    `gpu_free` never falls below 0, whatever is held. `sequence` counts the changes; `changed_at` has, for each row,
    its count at its last one. Hosts in the order of their rows are in the order in which ties are decided.
    """

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.rows: dict[NodeId, int] = {}
        self.hosts: list[Host | None] = []
        self.columns: list[dict[str, int]] = []  # of each row: slots by UUID
        self.count = 0
        self.sequence = 0
        self.hosts_version = 0  # counts the changes of which hosts there are and what they are
        self._names: dict[str, set[int]] = {}
        self._vacant: list[int] = []
        self._shapes: dict[object, int] = {}
        self._domains: dict[tuple[str, ...], int] = {}
        self._capacity, self._width = _FIRST_ROWS, _FIRST_SLOTS
        for name in _ROW_FIELDS:
            setattr(self, name, np.zeros(self._capacity, dtype=np.int64))
        for name in _FLAG_FIELDS:
            setattr(self, name, np.zeros(self._capacity, dtype=np.bool_))
        for name in _SLOT_FIELDS:
            setattr(self, name, np.zeros((self._capacity, self._width), dtype=np.int64))

    cpu_free: Ints
    memory_free: Ints  # of the host, bytes
    holders: Ints  # members on the host
    exclusive: Ints  # of these, members that share it with nobody
    whole_free: Ints
    largest_free: Ints  # milli
    shape: Ints  # hosts of one shape are alike when empty
    rack: Ints  # 0 for none
    zone: Ints
    changed_at: Ints
    serves: Bools  # open, and not held by one job alone
    open: Bools
    shares: Bools
    mixed: Bools  # more than one GPU model
    split: Bools  # more than one island
    has_gpus: Bools
    elsewhere: Bools  # an engine of the site runs its jobs
    kind: Ints
    slot_model: Ints
    island: Ints
    slot_used: Ints  # milli; above what is there where more is held than a host has
    gpu_free: Ints
    gpu_memory_used: Ints
    gpu_memory_free: Ints

    def put_host(self, host: Host) -> int:
        """Add a host, empty, or describe it anew, as if empty. Slots beyond the 64th are left out. Returns its row."""
        row = self.rows.get(host.node_id)
        if row is None:
            row = heapq.heappop(self._vacant) if self._vacant else self.count
            self.rows[host.node_id] = row
            if row == self.count:
                self.count += 1
                self.hosts.append(None)
                self.columns.append({})
        self._rename(row, host)
        slots = sorted({slot.uuid: slot for slot in host.slots}.values(), key=lambda slot: (slot.index, slot.uuid))
        slots = slots[:MAX_GPUS_PER_NODE]
        self._grow(len(slots))
        self.columns[row] = {slot.uuid: number for number, slot in enumerate(slots)}
        self.clear_row(row)
        islands = {island: number for number, island in enumerate(sorted({slot.island for slot in slots}))}
        for number, slot in enumerate(slots):
            kind = self.kinds.number(slot)
            self.kind[row, number], self.island[row, number] = kind, islands[slot.island]
            self.slot_model[row, number] = self.kinds.model_of[kind]
            self.gpu_free[row, number], self.gpu_memory_free[row, number] = WHOLE_GPU_MILLI, slot.memory_bytes
        self.cpu_free[row], self.memory_free[row] = host.cpu_milli, host.memory_bytes
        self.open[row], self.shares[row], self.has_gpus[row] = host.open, host.shares, bool(slots)
        self.mixed[row] = len({slot.gpu_type for slot in slots}) > 1
        self.split[row] = len(islands) > 1
        self.elsewhere[row] = EXECUTOR in host.labels
        rack, zone = host.labels.get(RACK, ""), host.labels.get(ZONE, "")
        self.rack[row], self.zone[row] = self._domain(ZONE, zone, RACK, rack), self._domain(ZONE, zone)
        key = (host.cpu_milli, self.kind[row].tobytes(), self.island[row].tobytes(), host.open, host.shares)
        self.shape[row] = self._shapes.setdefault(key, len(self._shapes) + 1)
        self._note(row)
        return row

    def drop_host(self, node_id: NodeId) -> None:
        """Take a host away."""
        row = self.rows.pop(node_id)
        self._rename(row, None)
        self.columns[row] = {}
        self.clear_row(row)
        heapq.heappush(self._vacant, row)
        self._note(row)

    def _rename(self, row: int, host: Host | None) -> None:
        old = self.hosts[row]
        if old is not None:
            self._names[old.name].discard(row)
            if not self._names[old.name]:
                del self._names[old.name]
        if host is not None:
            self._names.setdefault(host.name, set()).add(row)
        self.hosts[row] = host
        self.hosts_version += 1

    def named(self, text: str) -> list[int]:
        """Return the rows of the host of this id, or of hosts of this name."""
        rows = set(self._names.get(text, ()))
        row = self.rows.get(NodeId(text))
        return sorted(rows if row is None else rows | {row})

    def clear_row(self, row: int) -> None:
        """Make a row one of a host that is not there."""
        for name in (*_ROW_FIELDS, *_FLAG_FIELDS, *_SLOT_FIELDS):
            getattr(self, name)[row] = 0

    def change(self, row: int, hold: Hold, sign: int) -> None:
        """Take (1) or give back (-1) what is held. Checks nothing."""
        self.cpu_free[row] -= sign * hold.cpu_milli
        self.memory_free[row] -= sign * hold.memory_bytes
        self.holders[row] += sign
        self.exclusive[row] += sign * hold.exclusive
        if hold.slots:  # plain numbers: on one row they are faster than arrays
            used, free, kinds = self.slot_used[row], self.gpu_free[row], self.kind[row]
            memory_used, memory_free = self.gpu_memory_used[row], self.gpu_memory_free[row]
            for slot, memory in zip(hold.slots, hold.gpu_memory_bytes, strict=True):
                taken = used[slot] = int(used[slot]) + sign * hold.milli
                free[slot] = max(0, WHOLE_GPU_MILLI - taken)
                taken = memory_used[slot] = int(memory_used[slot]) + sign * memory
                memory_free[slot] = max(0, int(self.kinds.memory_of[kinds[slot]]) - taken)
        self._note(row)

    def _note(self, row: int) -> None:
        free: list[int] = self.gpu_free[row].tolist()
        self.largest_free[row] = max(free)
        self.whole_free[row] = free.count(WHOLE_GPU_MILLI)
        self.serves[row] = self.open[row] and self.exclusive[row] == 0
        self.sequence += 1
        self.changed_at[row] = self.sequence

    def _domain(self, *path: str) -> int:
        if not path[-1]:
            return 0
        return self._domains.setdefault(path, len(self._domains) + 1)

    def _grow(self, slots: int) -> None:
        rows, width = self._capacity, self._width
        while rows < self.count:
            rows *= 2
        while width < slots:
            width *= 2
        if rows == self._capacity and width == self._width:
            return
        for name in (*_ROW_FIELDS, *_FLAG_FIELDS, *_SLOT_FIELDS):
            old = getattr(self, name)
            larger = np.zeros((rows, width) if name in _SLOT_FIELDS else rows, dtype=old.dtype)
            larger[tuple(slice(0, size) for size in old.shape)] = old
            setattr(self, name, larger)
        self._capacity, self._width = rows, width

    def numbers(self, row: int, uuids: Sequence[str]) -> tuple[int, ...]:
        """Return the slots of these UUIDs, each once; those that the host does not have are left out."""
        columns = self.columns[row]
        return tuple(columns[uuid] for uuid in dict.fromkeys(uuids) if uuid in columns)


_ROW_FIELDS = (
    "cpu_free",
    "memory_free",
    "holders",
    "exclusive",
    "whole_free",
    "largest_free",
    "shape",
    "rack",
    "zone",
    "changed_at",
)
_FLAG_FIELDS = ("serves", "open", "shares", "mixed", "split", "has_gpus", "elsewhere")
_SLOT_FIELDS = (
    "kind",
    "slot_model",
    "island",
    "slot_used",
    "gpu_free",
    "gpu_memory_used",
    "gpu_memory_free",
)
