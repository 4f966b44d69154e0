"""What a job that finds no room lacks, and what would help: the same question is asked again with less in it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import numpy as np

from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.needs import Need, slots_of
from control_plane.fleet.placement.room import Asked, Found
from control_plane.fleet.placement.verdicts import Judge, amount_of, what_of
from control_plane.model.job import ResourceRequest, TopologyDomain

_GB = 10**9
_NEAR = {
    TopologyDomain.NVLINK: "in one NVLink island",
    TopologyDomain.NODE: "on one host",
    TopologyDomain.RACK: "in one rack",
    TopologyDomain.ZONE: "in one zone",
}


class Lack(Enum):
    """What a job that finds no room lacks."""

    NOTHING = "nothing"
    NEVER = "never"  # no state of the open hosts could hold it
    IN_USE = "in_use"  # enough is there, too little of it is free
    IN_PIECES = "in_pieces"  # enough is free, but not together
    CPU_OR_MEMORY = "cpu_or_memory"  # GPUs are free, cores or memory of the host are not


@dataclass(frozen=True, slots=True)
class Missing:
    """What is lacking, for a person, and in figures: GPUs or MIG devices, or hosts for who wants none.

    `free` and `total` are of those that would do, on open hosts that the job may use; a divided GPU is free if the part
    that is wanted is. `would_help` is what would let it start now, the least change first.
    """

    lack: Lack
    text: str
    wanted: int = 0
    free: int = 0
    total: int = 0
    would_help: tuple[str, ...] = ()


class Diviner:
    """Finds out what is missing."""

    def __init__(
        self, grid: Grid, judge: Judge, find: Callable[[Asked], Found | None], could_ever: Callable[[Asked], bool]
    ) -> None:
        self._grid = grid
        self._judge = judge
        self._find = find
        self._could_ever = could_ever

    def missing(self, asked: Asked) -> Missing:
        """Return what the job lacks to start now."""
        if self._find(asked) is not None:
            return Missing(Lack.NOTHING, "there is room")
        request = asked.resources
        wanted, free, total = self._figures(asked)
        if not self._could_ever(asked):
            helps = tuple(self._helps(asked, lambda one: self._could_ever(one) or None))
            return Missing(Lack.NEVER, self._why_never(asked, total), wanted, free, total, helps)
        lack, text = self._why_not_now(asked, request, wanted, free, total)
        return Missing(lack, text, wanted, free, total, tuple(self._helps(asked, self._find)))

    def _why_not_now(
        self, asked: Asked, request: ResourceRequest, wanted: int, free: int, total: int
    ) -> tuple[Lack, str]:
        def fits(**changes: object) -> bool:
            return self._find(_less(asked, **changes)) is not None

        bare = not slots_of(request)
        if (request.cpu_milli or request.memory_bytes) and fits(cpu_milli=0, memory_bytes=0):
            beside = "" if bare else f" beside the {amount_of(request)} that it asks for"
            return Lack.CPU_OR_MEMORY, f"too few hosts have {_cpu_and_memory(request)} free{beside}"
        if request.exclusive_nodes and fits(exclusive_nodes=False):
            return Lack.IN_USE, "too few hosts are empty, and it shares its hosts with no other job"
        if request.anti_affinity and fits(anti_affinity=""):
            return Lack.IN_USE, f"hosts with room run jobs that it must not be beside ({request.anti_affinity})"
        if request.topology is not TopologyDomain.ANY and fits(topology=TopologyDomain.ANY):
            return Lack.IN_PIECES, f"{amount_of(request)} are free, but not {_NEAR[request.topology]}"
        if bare:
            return Lack.IN_USE, f"{free} of {wanted} hosts have {_cpu_and_memory(request)} free"
        if request.gpu_milli:
            return self._part(asked, request, total)
        if free < wanted:
            return Lack.IN_USE, f"{free} of {amount_of(request)} free; the fleet has {total}"
        need = self._judge.needs(asked)[0]
        hosts = max(1, wanted // need.count)
        if hosts == 1:
            most = int(self._judge.free_slots((need,)).max())
            return Lack.IN_PIECES, f"{free} {what_of(request)} are free, but at most {most} of {wanted} on one host"
        have = int(np.count_nonzero(self._judge.free_slots((need,)) >= need.count))
        return Lack.IN_PIECES, f"{have} of {hosts} hosts have {need.count} {what_of(request)} free"

    def _part(self, asked: Asked, request: ResourceRequest, total: int) -> tuple[Lack, str]:
        grid, most, parts = self._grid, 0, 0
        for need in self._judge.needs(asked):
            rows = np.flatnonzero(grid.serves[: grid.count] & grid.shares[: grid.count])
            free = np.where(grid.kinds.mask(need.kinds)[grid.kind[rows]], grid.gpu_free[rows], 0)
            most, parts = max(most, int(free.max(initial=0))), parts + int(free.sum())
        text = f"{amount_of(request)} is on none of {total} free: at most {most / 10:g} %"
        return (Lack.IN_PIECES if parts >= request.gpu_milli else Lack.IN_USE), text

    def _why_never(self, asked: Asked, total: int) -> str:
        grid, request = self._grid, asked.resources
        if not grid.open[: grid.count].any():
            return "no host takes jobs; see: orquanta node list"
        if slots_of(request) and not total:
            what = what_of(replace(request, gpu_count=2, gpu_milli=0))
            if self._could_ever(_less(asked, node_labels=(), exclude_nodes=())):
                return f"no host that it may use has {what}"
            return f"no open host has {what}"
        for text, changes in _leave_out(request):
            if self._could_ever(_less(asked, **changes)):
                return f"no host of the fleet could hold it{text}"
        if slots_of(request) > total:
            return f"it needs {amount_of(request)}, and the fleet has {total}"
        hosts = f"{request.node_count} hosts" if request.node_count > 1 else "one host"
        return f"even an empty fleet has no room for it on {hosts}"

    def _figures(self, asked: Asked) -> tuple[int, int, int]:
        """Return what is wanted, free and there in all."""
        grid, request = self._grid, asked.resources
        may = self._judge.may_use(asked)
        needs = self._judge.needs(asked)
        rows = np.flatnonzero(may)
        if not slots_of(request):
            enough = (grid.cpu_free[rows] >= request.cpu_milli) & (grid.memory_free[rows] >= request.memory_bytes)
            return max(1, request.node_count), int(enough.sum()), int(rows.size)
        free, total = 0, 0
        for alike in _by_model(grid, needs):  # a job gets GPUs of one model
            there = int(grid.kinds.mask(alike.kinds)[grid.kind[rows]].sum())
            free_here = int((self._judge.free_slots((alike,)) * grid.serves[: grid.count])[rows].sum())
            free, total = max((free, total), (free_here, there))
        return slots_of(request), free, total

    def _helps(self, asked: Asked, works: Callable[[Asked], object | None]) -> Iterator[str]:
        for text, changes in _COULD_GIVE_UP:
            less = _less(asked, **changes)
            found = works(less) if less != asked and slots_of(less.resources) == slots_of(asked.resources) else None
            if found is not None:
                yield text.format(f": {found.gpu_type} is free" if isinstance(found, Found) else "")


def _by_model(grid: Grid, needs: tuple[Need, ...]) -> Iterator[Need]:
    """Yield one slot of each GPU model that the needs take."""
    for need in needs:
        models = grid.kinds.model_of[list(need.kinds)].tolist()
        for model in dict.fromkeys(models):
            kinds = tuple(kind for kind, its in zip(need.kinds, models, strict=True) if its == model)
            yield Need(0, 1, need.milli, need.share_memory_bytes, kinds)


def _leave_out(request: ResourceRequest) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what may make a request impossible: in words, and the request without it."""
    if request.node_labels:
        labels = ", ".join(f"{name}={value}" for name, value in request.node_labels)
        yield f": none with room enough has the label {labels}", {"node_labels": ()}
    if request.exclude_nodes:
        yield " but those that it leaves out", {"exclude_nodes": ()}
    if request.topology is not TopologyDomain.ANY:
        yield f" {_NEAR[request.topology]}", {"topology": TopologyDomain.ANY}
    if request.cpu_milli or request.memory_bytes:
        yield f": too few hosts have {_cpu_and_memory(request)}", {"cpu_milli": 0, "memory_bytes": 0}
    if request.share_memory_bytes:
        yield f": no GPU has {request.share_memory_bytes / _GB:.4g} GB", {"share_memory_bytes": 0}
    if request.gpu_milli:
        yield f": none of those with {what_of(request)} shares its GPUs", {"gpu_milli": 0, "share_memory_bytes": 0}
    if request.node_count > 1:
        yield f" on {request.node_count} hosts", {"node_count": 0}


# What a person could give up, and what to do for it; the first is the least. In braces, which model is free then.
_COULD_GIVE_UP: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    ("let its GPUs be further apart: leave its topology open", {"topology": TopologyDomain.ANY}),
    ("leave open on how many hosts it runs", {"node_count": 0}),
    ("take another model{}", {"gpu_types": ()}),
    ("rule out no model{}", {"exclude_gpu_types": ()}),
    ("ask for less GPU memory{}", {"min_gpu_memory_bytes": 0}),
    ("take GPU memory in proportion to its part", {"share_memory_bytes": 0}),
    ("take a whole GPU{}", {"gpu_milli": 0, "share_memory_bytes": 0}),
    ("ask for no label of its hosts", {"node_labels": ()}),
    ("leave out no hosts", {"exclude_nodes": ()}),
    ("let it run beside jobs like it", {"anti_affinity": ""}),
    ("let it share its hosts with other jobs", {"exclusive_nodes": False}),
    ("ask for less CPU or memory on each host", {"cpu_milli": 0, "memory_bytes": 0}),
)


def _less(asked: Asked, **changes: object) -> Asked:
    return replace(asked, resources=replace(asked.resources, **changes))  # type: ignore[arg-type] # fields by their names


def _cpu_and_memory(request: ResourceRequest) -> str:
    parts = []
    if request.cpu_milli:
        parts.append(f"{request.cpu_milli / 1_000:g} cores")
    if request.memory_bytes:
        parts.append(f"{request.memory_bytes / _GB:.4g} GB of memory")
    return " and ".join(parts) or "room"
