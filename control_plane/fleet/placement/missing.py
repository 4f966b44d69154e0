"""What a job that finds no room lacks, and what would help: the same question is asked again with less in it."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from control_plane.fleet.executors import LABEL as EXECUTOR
from control_plane.fleet.placement.choice import Choice, Chooser
from control_plane.fleet.placement.concessions import Changes, could_give_up, leave_out, no_labels
from control_plane.fleet.placement.fits import pick
from control_plane.fleet.placement.grid import Grid
from control_plane.fleet.placement.needs import Need, slots_of
from control_plane.fleet.placement.packing.state import Ints
from control_plane.fleet.placement.phrases import GB, NEAR, amount_of, labels_of, names, of_host, spread_of, what_of
from control_plane.fleet.placement.room import Asked, Lack, Missing
from control_plane.fleet.placement.verdicts import Judge
from control_plane.model.job import ResourceRequest, TopologyDomain

_MOST_TYPES = 4  # GPU models named in one sentence


class Diviner:
    """Finds out what is missing. `now` chooses on the fleet as it is, without scores, `ever` on the empty one."""

    def __init__(self, grid: Grid, judge: Judge, now: Chooser, could_ever: Callable[[Asked], bool]) -> None:
        self._grid = grid
        self._judge = judge
        self._now = now
        self._could_ever = could_ever

    def missing(self, asked: Asked) -> Missing:
        """Return what the job lacks to start now."""
        if self._now.choose(asked) is not None:
            return Missing(Lack.NOTHING, "there is room for it")
        wanted, free, total = self._figures(asked)
        if not self._could_ever(asked):
            text, helps = self._why_never(asked, total), self._helps_ever(asked)
            return Missing(Lack.NEVER, text, wanted, free, total, tuple(helps))
        lack, text = self._why_not_now(asked, wanted, free, total)
        return Missing(lack, text, wanted, free, total, tuple(self._helps_now(asked)))

    # Not now.

    def _why_not_now(self, asked: Asked, wanted: int, free: int, total: int) -> tuple[Lack, str]:
        request = asked.resources

        def fits(**changes: object) -> bool:
            return self._now.choose(_less(asked, changes)) is not None

        if (request.cpu_milli or request.memory_bytes) and fits(cpu_milli=0, memory_bytes=0):
            return Lack.CPU_OR_MEMORY, self._too_little_of_hosts(asked, wanted, free)
        if request.exclusive_nodes and fits(exclusive_nodes=False):
            return Lack.IN_USE, "it wants its hosts to itself, and too few that would do are empty"
        if request.anti_affinity and fits(anti_affinity=""):
            word = request.anti_affinity
            return Lack.IN_USE, f"every host with room runs a job that it must be apart from ({word})"
        if request.topology is not TopologyDomain.ANY and fits(topology=TopologyDomain.ANY):
            return Lack.IN_PIECES, f"{amount_of(request)} are free, but not {NEAR[request.topology]}"
        if not slots_of(request):
            return Lack.IN_USE, self._too_little_of_hosts(asked, wanted, free)
        if request.gpu_milli:
            return self._part(asked)
        if free < wanted:
            are = "is" if free == 1 else "are"
            of = f"{free} of {total}{_there(request)} {are} free{self._idle_beside(asked)}"
            return Lack.IN_USE, f"it needs {spread_of(request)}, and {of}"
        return Lack.IN_PIECES, self._in_pieces(asked, free, wanted)

    def _idle_beside(self, asked: Asked) -> str:
        """Return how many GPUs more are not free for this reason alone: their host is one job's, and nobody else's."""
        grid, (_, _, alike) = self._grid, self._most_free(asked)
        if alike is None:
            return ""
        alone = self._judge.may_use(asked) & (grid.exclusive[: grid.count] > 0)
        if asked.resources.gpu_milli:
            alone &= grid.shares[: grid.count]
        here = self._judge.free_slots((alike,)) * alone
        idle, hosts = int(here.sum()), int(np.count_nonzero(here))
        if not idle:
            return ""
        where = "a host that one job has to itself" if hosts == 1 else f"{hosts} hosts that one job each has to itself"
        others = "1 other" if idle == 1 else f"{idle} others"
        if asked.resources.gpu_milli:  # the one job there may hold a part of them
            return f"; {others} could take it on {where}"
        return f"; {others} {'is' if idle == 1 else 'are'} idle on {where}"

    def _too_little_of_hosts(self, asked: Asked, wanted: int, free: int) -> str:
        request, grid = asked.resources, self._grid
        what = of_host(request)
        if slots_of(request):
            which = "too few hosts" if request.node_count > 1 else "no host"
            have = "have" if request.node_count > 1 else "has"
            return f"{which} with enough free GPUs {have} {what} free beside them"
        if wanted > 1:
            return f"it needs {what} on each of {wanted} hosts, and {free} {'has' if free == 1 else 'have'} that free"
        rows = np.flatnonzero(self._judge.may_use(asked) & grid.serves[: grid.count])
        if request.memory_bytes or not rows.size:
            return f"no host has {what} free"
        most = int(rows[grid.cpu_free[rows].argmax()])
        return f"no host has {what} free; at most {max(0, int(grid.cpu_free[most])) / 1_000:g} are ({self._name(most)})"

    def _in_pieces(self, asked: Asked, free: int, wanted: int) -> str:
        request, members = asked.resources, self._judge.needs(asked)
        every = [self._usable(asked, alike) for alike in _by_model(self._grid, members)]
        here = max(every, key=lambda one: int(one.sum()))  # of the model whose GPUs were counted as free
        each = members[0].count
        hosts = max(1, wanted // each)
        if hosts > 1:
            have = int(np.count_nonzero(here >= each))
            has = "host has" if have == 1 else "hosts have"
            return f"it needs {spread_of(request)}, and {have} {has} that many free; {free} are free in all"
        most = int(here.argmax())
        text = f"{free} {what_of(request)} are free, at most {int(here[most])} on one host ({self._name(most)})"
        needs = "on one host" if request.node_count == 1 else "on one host, or in equal parts on several"
        return f"{text}; it needs {wanted} {needs}"

    def _part(self, asked: Asked) -> tuple[Lack, str]:
        grid, request, most, parts = self._grid, asked.resources, 0, 0
        rows = np.flatnonzero(self._judge.may_use(asked) & grid.serves[: grid.count] & grid.shares[: grid.count])
        for need in self._judge.needs(asked):
            free = np.where(grid.kinds.mask(need.kinds)[grid.kind[rows]], grid.gpu_free[rows], 0)
            most, parts = max(most, int(free.max(initial=0))), parts + int(free.sum())
        lack = Lack.IN_PIECES if parts >= request.gpu_milli else Lack.IN_USE
        text, percent, idle = f"no {what_of(request)} has", f"{request.gpu_milli / 10:g} %", self._idle_beside(asked)
        if most < request.gpu_milli:
            return lack, f"{text} {percent} free; at most {most / 10:g} % of one is{idle}"
        if request.share_memory_bytes:
            return lack, f"{text} {percent} and {request.share_memory_bytes / GB:.4g} GB of its memory free{idle}"
        return lack, f"{text} {percent} of it and of its memory free{idle}"

    def _helps_now(self, asked: Asked) -> Iterator[str]:
        for text, changes, model_matters in could_give_up(asked.resources):
            less = _less(asked, changes)
            choice = self._now.choose(less)
            if choice is not None:
                yield f"{text}: {self._type_of(choice)} is free" if model_matters else text

    # Never.

    def _why_never(self, asked: Asked, total: int) -> str:
        grid, request = self._grid, asked.resources
        if not grid.open[: grid.count].any():
            return "no host is in service"
        if not self._judge.may_use(asked).any():
            return self._no_host(asked)
        if slots_of(request) and not total:
            what = what_of(replace(request, gpu_count=2, gpu_milli=0))
            types = self._types(request)
            return f"no host {_that_may(request)} has {what}" + (f"; there are {types}" if types else "")
        if slots_of(request) > total:
            return f"it needs {spread_of(request)}, and the fleet has {total}{_there(request)}"
        each = _on_each(request)
        if each and (largest := self._largest(asked)) < each:
            on = "each" if request.node_count > 1 else "one"
            needs = f"{amount_of(replace(request, gpu_count=each))} on {on} host"
            return f"it needs {needs}, and no host {_that_may(request)} has more than {largest}"
        for text, changes in leave_out(request):
            if self._could_ever(_less(asked, changes)):
                return text
        alone: Changes = {"node_count": 1, "gpu_count": each or 0, "topology": TopologyDomain.ANY}
        if request.node_count > 1 and self._could_ever(_less(asked, alone)):
            return f"fewer than {request.node_count} hosts could hold a part of it, even empty"
        return "no host could hold it, even empty"

    def _no_host(self, asked: Asked) -> str:
        """Say why no open host may be used: labels, hosts left out, or who runs their jobs."""
        request = asked.resources
        executors = [value for name, value in request.node_labels if name == EXECUTOR]
        if executors and not self._judge.may_use(_less(asked, {**no_labels(request), "exclude_nodes": ()})).any():
            return f"no host in service has its jobs run by {executors[0]}"
        if labels_of(request) and self._judge.may_use(_less(asked, no_labels(request))).any():
            return f"no host in service has the label {names(labels_of(request))}"
        if request.exclude_nodes and self._judge.may_use(_less(asked, {"exclude_nodes": ()})).any():
            return "it leaves out every host in service that it could use"
        if not executors and not request.exclude_nodes:
            return "every host in service has its jobs run by an engine of the site; ask for that with --executor"
        return "no host in service is one that it may use"

    def _largest(self, asked: Asked) -> int:
        rows = np.flatnonzero(self._judge.may_use(asked))
        kinds = self._grid.kind[rows]
        return max(
            (int(self._grid.kinds.mask(need.kinds)[kinds].sum(axis=1).max()) for need in self._judge.needs(asked)),
            default=0,
        )

    def _helps_ever(self, asked: Asked) -> Iterator[str]:
        if not self._grid.open[: self._grid.count].any():
            yield "put a host into service; see: orquanta node list"
            return
        for text, changes, model_matters in could_give_up(asked.resources):
            if self._could_ever(_less(asked, changes)):
                yield f"{text}: there are {self._types(asked.resources)}" if model_matters else text

    # Figures.

    def _figures(self, asked: Asked) -> tuple[int, int, int]:
        """Return what is wanted, free and there in all."""
        grid, request = self._grid, asked.resources
        rows = np.flatnonzero(self._judge.may_use(asked))
        if not slots_of(request):
            enough = grid.serves[rows] & (grid.cpu_free[rows] >= request.cpu_milli)
            enough &= grid.memory_free[rows] >= request.memory_bytes
            return max(1, request.node_count), int(enough.sum()), int(rows.size)
        free, total, _ = self._most_free(asked)
        return slots_of(request), free, total

    def _most_free(self, asked: Asked) -> tuple[int, int, Need | None]:
        """Return of the model with most free GPUs how many are free and there, and one slot of it; None if none is."""
        grid, rows = self._grid, np.flatnonzero(self._judge.may_use(asked))
        most: tuple[int, int, Need | None] = (0, 0, None)
        for alike in _by_model(grid, self._judge.needs(asked)):  # a job gets GPUs of one model
            there = int(grid.kinds.mask(alike.kinds)[grid.kind[rows]].sum())
            free = int(self._usable(asked, alike).sum())
            if (free, there) > most[:2]:
                most = free, there, alike
        return most

    def _usable(self, asked: Asked, need: Need) -> Ints:
        """Return for each row how many slots the job could use there now, were there CPU and memory enough."""
        serves = self._judge.may_use(asked) & self._grid.serves[: self._grid.count]
        return self._judge.free_slots((need,)) * serves

    def _types(self, request: ResourceRequest) -> str:
        """Return the models of the GPUs, or MIG devices, of open hosts with how many there are, most first."""
        grid, counts = self._grid, Counter[str]()
        numbers, found = np.unique(grid.kind[np.flatnonzero(grid.open[: grid.count])], return_counts=True)
        for number, count in zip(numbers.tolist(), found.tolist(), strict=True):
            kind = grid.kinds.all[number]
            if number and kind.mig_profile == request.mig_profile:
                memory = f" with {kind.memory_bytes / GB:.4g} GB" if request.min_gpu_memory_bytes else ""
                counts[f"{kind.gpu_type}{memory}"] += count
        ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        return ", ".join(f"{count} {name}" for name, count in ranked[:_MOST_TYPES])

    def _type_of(self, choice: Choice) -> str:
        row, need = choice.rows[0], choice.way.need
        slot = pick(self._grid, row, need, choice.slot)[0]
        return self._grid.kinds.all[int(self._grid.kind[row, slot])].gpu_type

    def _name(self, row: int) -> str:
        host = self._grid.hosts[row]
        return "" if host is None else host.name


def _by_model(grid: Grid, needs: tuple[Need, ...]) -> Iterator[Need]:
    """Yield one slot of each GPU model that the needs take."""
    for need in needs:
        models = grid.kinds.model_of[list(need.kinds)].tolist()
        for model in dict.fromkeys(models):
            kinds = tuple(kind for kind, its in zip(need.kinds, models, strict=True) if its == model)
            yield Need(0, 1, need.milli, need.share_memory_bytes, kinds)


def _on_each(request: ResourceRequest) -> int:
    """Return the GPUs that each host must have; 0 if that is left open."""
    near = request.topology in (TopologyDomain.NVLINK, TopologyDomain.NODE)
    return request.gpu_count // max(1, request.node_count) if request.node_count or near else 0


def _that_may(request: ResourceRequest) -> str:
    return "that it may use" if request.node_labels or request.exclude_nodes else "in service"


def _there(request: ResourceRequest) -> str:
    """Return where what was counted is, if that is not the whole fleet."""
    return " on the hosts that it may use" if request.node_labels or request.exclude_nodes else ""


def _less(asked: Asked, changes: Changes) -> Asked:
    return replace(asked, resources=replace(asked.resources, **changes))  # type: ignore[arg-type] # fields by their names
