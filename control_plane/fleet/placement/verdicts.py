"""What is missing on each host for a job, in plain words with figures."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.executors import stays_away
from control_plane.fleet.placement.admit import Admission, Apart, has_labels
from control_plane.fleet.placement.choice import Chooser
from control_plane.fleet.placement.fits import fitting, largest_group, usable
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.needs import Need
from control_plane.fleet.placement.packing.state import Bools, Ints
from control_plane.fleet.placement.phrases import GB, what_of
from control_plane.fleet.placement.room import Asked, Claim, Host
from control_plane.model.ids import NodeId
from control_plane.model.job import ResourceRequest

MAX_VERDICTS = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a host for one job: whether one member of it could start there now, and why not."""

    node_id: NodeId
    name: str
    fits: bool
    reason: str


class Judge:
    """Tells how hosts compare for a job. Changes nothing."""

    def __init__(
        self,
        grid: Grid,
        chooser: Chooser,
        admission: Admission,
        apart: Apart,
        on_host: Callable[[NodeId], tuple[Claim, ...]],
    ) -> None:
        self._grid = grid
        self._chooser = chooser
        self._admission = admission
        self._apart = apart
        self._on_host = on_host

    def verdicts(self, asked: Asked, limit: int) -> tuple[Verdict, ...]:
        """Return the hosts, best first: those that fit by their score, then those where least is missing."""
        grid = self._grid
        needs = self.needs(asked)
        if not needs or grid.count == 0:
            return tuple(
                Verdict(host.node_id, host.name, fits=False, reason=self._kinds_missing(asked.resources))
                for host in grid.hosts[:limit]
                if host is not None
            )
        admitted = self._admission.rows(asked)
        may = np.ones(grid.count, dtype=np.bool_) if admitted is None else admitted
        best = np.full(grid.count, np.iinfo(np.int64).min)
        for need in needs:
            scores, _ = self._chooser.ranking.of(need)
            best = np.maximum(best, np.where(may, scores, np.iinfo(np.int32).min))
        fits = best > np.iinfo(np.int32).min
        near = may & grid.serves[: grid.count]
        order = np.lexsort((-self.free_slots(needs), ~near, -best, ~fits))
        found = []
        for row in order.tolist():
            host = grid.hosts[row]
            if host is not None:
                reason = "; ".join(self.missing_on(row, host, asked, needs)) or self._what_is_free(row, needs)
                found.append(Verdict(host.node_id, host.name, bool(fits[row]), reason))
            if len(found) == min(limit, MAX_VERDICTS):
                break
        return tuple(found)

    def may_use(self, asked: Asked) -> Bools:
        """Return the rows of open hosts that a job may use, whatever is free there."""
        bare = replace(asked, resources=replace(asked.resources, memory_bytes=0, anti_affinity=""))
        admitted, opened = self._admission.rows(bare), self._grid.open[: self._grid.count]
        return opened if admitted is None else opened & admitted

    def needs(self, asked: Asked) -> tuple[Need, ...]:
        """Return what one member would take: by the way that fits now, or else by those on the fewest hosts."""
        choice = self._chooser.choose(asked)
        if choice is not None:
            return (choice.way.need,)
        every = [way for group in self._chooser.ways(asked.resources) for way in group]
        fewest = min((way.node_count for way in every), default=0)
        return tuple(dict.fromkeys(way.need for way in every if way.node_count == fewest))

    def free_slots(self, needs: tuple[Need, ...]) -> Ints:
        """Return for each row how many slots there are that a need could take one of."""
        rows = np.arange(self._grid.count)
        free = np.zeros(rows.size, dtype=np.int64)
        for need in needs:
            if need.count:
                free = np.maximum(free, usable(self._grid, rows, need).sum(axis=1))
        return free

    def missing_on(self, row: int, host: Host, asked: Asked, needs: tuple[Need, ...]) -> list[str]:
        """Return what keeps one member of a job from a host; nothing if it fits."""
        grid, request = self._grid, asked.resources
        found = list(self._not_admitted(row, host, asked))
        at = np.array([row])
        possible = [need for need in needs if need.count == 0 or grid.kinds.mask(need.kinds)[grid.kind[row]].any()]
        if not possible:
            found.append(self._kinds_missing(request))
        elif not any(fitting(grid, at, need).size for need in possible):
            found.extend(self._gpus_missing(row, host, request, possible))
        cpu, memory = max(0, int(grid.cpu_free[row])), max(0, int(grid.memory_free[row]))
        if request.cpu_milli > cpu:
            found.append(f"{cpu / 1_000:g} cores free, {request.cpu_milli / 1_000:g} wanted")
        if request.memory_bytes > memory:
            found.append(f"{memory / GB:.4g} GB of memory free, {request.memory_bytes / GB:.4g} wanted")
        return found

    def _not_admitted(self, row: int, host: Host, asked: Asked) -> Iterator[str]:
        request, claims = asked.resources, self._on_host(host.node_id)
        if not host.open:
            yield "takes no jobs now"
        if host.name in request.exclude_nodes or host.node_id in request.exclude_nodes:
            yield "the job leaves it out"
        if stays_away(request, host.labels):
            yield f"its jobs are run by {host.labels[EXECUTOR]}; ask for that with --executor"
        for label in request.node_labels:
            if not has_labels(host.labels, (label,)):
                yield f"label {label[0]}={label[1]} missing"
        alone = [claim.job_id for claim in claims if claim.resources.exclusive_nodes]
        if alone:
            yield f"exclusively held by {alone[0]}"
        elif request.exclusive_nodes and self._grid.holders[row]:
            there = int(self._grid.holders[row])
            others = "a job runs" if there == 1 else f"{there} jobs run"
            yield f"{others} there, and the job wants a host to itself"
        if host.node_id in self._apart.nodes(asked):
            word = request.anti_affinity
            beside = [c.job_id for c in claims if c.resources.anti_affinity == word and c.team == asked.team]
            yield f"must not be beside {beside[0] if beside else 'another job'} ({word})"

    def _gpus_missing(self, row: int, host: Host, request: ResourceRequest, needs: list[Need]) -> Iterator[str]:
        grid, at = self._grid, np.array([row])
        what = what_of(request)
        if needs[0].count == 0:
            return
        if needs[0].shared:
            if not host.shares:
                yield "shares no GPUs"
                return
            kinds = np.logical_or.reduce([grid.kinds.mask(need.kinds)[grid.kind[row]] for need in needs])
            most = int(grid.gpu_free[row][kinds].max())
            if most < needs[0].milli:
                yield f"no {what} with {needs[0].milli / 10:g} % free, at most {most / 10:g} %"
            elif not any(usable(grid, at, need).any() for need in needs):
                yield f"no {what} with {needs[0].milli / 10:g} % free has memory enough free"
            return
        free, wanted = 0, needs[0].count
        for need in needs:
            slots = usable(grid, at, need)
            free = max(free, int(largest_group(grid, at, slots, by_island=need.island)[0]))
        if free < wanted:
            yield f"{free} {what} free{' in one NVLink island' if needs[0].island else ''}, {wanted} wanted"

    def _kinds_missing(self, request: ResourceRequest) -> str:
        return f"has no {what_of(request)}"

    def _what_is_free(self, row: int, needs: tuple[Need, ...]) -> str:
        need = needs[0]
        if need.count == 0:
            return f"fits: {self._grid.cpu_free[row] / 1_000:g} cores free"
        if need.shared:
            return f"fits: a GPU with {need.milli / 10:g} % free"
        return f"fits: {int(self.free_slots_of(row, needs))} such GPUs free, {need.count} wanted"

    def free_slots_of(self, row: int, needs: tuple[Need, ...]) -> int:
        """Return the same as `free_slots` for one row."""
        at = np.array([row])
        return max((int(usable(self._grid, at, need).sum()) for need in needs if need.count), default=0)
