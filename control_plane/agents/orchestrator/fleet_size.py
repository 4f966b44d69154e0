"""Whether the fleet is large enough for a plan at all, and in plain words what it lacks."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from control_plane.agents.orchestrator.jobs import gpu_count
from control_plane.clock import Clock
from control_plane.model.plan import Plan, PlannedJob
from control_plane.store import fleet_shapes
from control_plane.store.database import Store
from control_plane.store.fleet_shapes import HostShape

_KEPT_SECONDS = 60.0
"""So long a fleet that was large enough is taken to be so still; that it is too small is always read anew."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the hosts were made of, and when that was read."""

    shapes: Mapping[HostShape, int]
    at: float


class FleetSize:
    """Knows of what the hosts are made; a goal that fits what was known lately costs no read."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kept: _Kept | None = None

    async def noted(self, plan: Plan) -> Plan:
        """Return a plan that launches jobs with a note on each that nothing in the fleet is large enough for now."""
        if not plan.jobs or plan.refusal or plan.infeasible:
            return plan
        kept = self._kept
        if kept is None or self._clock.monotonic() - kept.at > _KEPT_SECONDS or shortfalls(plan.jobs, kept.shapes):
            kept = _Kept(await self._store.read(fleet_shapes.read), self._clock.monotonic())
            self._kept = kept
        return replace(plan, notes=(*plan.notes, *shortfalls(plan.jobs, kept.shapes)))


def shortfalls(jobs: Iterable[PlannedJob], shapes: Mapping[HostShape, int]) -> tuple[str, ...]:
    """Return in sentences what the fleet lacks for these jobs; nothing where each would fit if all GPUs were free."""
    found = (_shortfall(job, shapes) for job in jobs)
    return tuple(dict.fromkeys(one for one in found if one))


def _shortfall(job: PlannedJob, shapes: Mapping[HostShape, int]) -> str:
    if not shapes:
        return (
            "No host has joined the fleet yet, so this waits in the queue. Add one: orquanta node token create, then "
            "run the command that it shows on the host."
        )
    count, per_host = gpu_count(job), _fitting(job, shapes)
    wanted = " or ".join(one for one in (job.gpu.gpu_type, *job.gpu.alternative_types) if one) or "GPU"
    memory = f" with {job.gpu.min_memory_bytes / 10**9:g} GB" if job.gpu.min_memory_bytes else ""
    if not per_host:
        lacks = f"The fleet has no {wanted}{memory} now; it has {_listed(shapes)}."
        return f"{lacks} This waits in the queue until such a host joins: name GPUs that are there, or add a host."
    most = max(sum(one * hosts for one, hosts in sizes.items()) for sizes in per_host.values())
    if count > most:
        return (
            f"Nothing in the fleet is that large now: it has {most} {wanted}{memory}, and {count} are asked for. This "
            f"waits in the queue until hosts join: ask for at most {most}, or add hosts with: orquanta node token "
            "create."
        )
    nodes = job.gpu.nodes or 1
    each = count // nodes
    able = max(sum(hosts for one, hosts in sizes.items() if one >= each) for sizes in per_host.values())
    if nodes > 1 and able < nodes:
        return (
            f"Only {able} of {nodes} hosts in the fleet have {each} {wanted}{memory} now. This waits in the queue "
            "until hosts join: ask for fewer nodes, or leave their number open."
        )
    return ""


def _fitting(job: PlannedJob, shapes: Mapping[HostShape, int]) -> dict[str, Counter[int]]:
    """Return for each model that will do how many hosts have how many such GPUs."""
    wanted = {one.lower() for one in (job.gpu.gpu_type, *job.gpu.alternative_types) if one}
    unwanted = {one.lower() for one in job.gpu.exclude_types}
    found: dict[str, Counter[int]] = {}
    for shape, hosts in shapes.items():
        on_host: Counter[str] = Counter()
        for gpu_type, memory_bytes, number in shape:
            named = not wanted or gpu_type.lower() in wanted
            if named and gpu_type.lower() not in unwanted and memory_bytes >= (job.gpu.min_memory_bytes or 0):
                on_host[gpu_type] += number
        for gpu_type, number in on_host.items():
            found.setdefault(gpu_type, Counter())[number] += hosts
    return found


def _listed(shapes: Mapping[HostShape, int]) -> str:
    total: Counter[str] = Counter()
    for shape, hosts in shapes.items():
        for gpu_type, _, number in shape:
            total[gpu_type] += number * hosts
    return ", ".join(f"{number} {gpu_type}" for gpu_type, number in sorted(total.items())) or "no GPUs"
