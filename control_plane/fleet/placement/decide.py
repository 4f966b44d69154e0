"""Decides which queued jobs start now, on which GPUs, and tells every other job what it waits for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from control_plane.fleet.placement.snapshot import FreeGpu, HostView, Snapshot
from control_plane.model.action import PlaceJob, Placement
from control_plane.model.ids import JobId
from control_plane.model.job import Job, JobState, ResourceRequest


@dataclass(frozen=True, slots=True)
class Decision:
    """The placements to propose, and for each job that stays queued why it does."""

    placements: tuple[PlaceJob, ...]
    reasons: tuple[tuple[JobId, str], ...]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A way to spread a gang: so many GPUs of one model on each of so many hosts."""

    gpu_type: str
    node_count: int
    gpus_per_node: int


def decide(snapshot: Snapshot) -> Decision:
    """Place as much of the queue as fits, in order. A gang gets all its GPUs or none."""
    hosts = {host.node_id: host for host in snapshot.hosts}
    held = dict(snapshot.gpus_held)
    placements: list[PlaceJob] = []
    waiting: list[tuple[Job, str]] = []
    too_large: set[ResourceRequest] = set()  # hosts only fill up, so what did not fit once fits no more
    for job in snapshot.queue:
        resources = job.spec.resources
        blocked = _blocked(job, snapshot, held.get(job.user_id, 0))
        found = None if blocked or resources in too_large else _find(resources, tuple(hosts.values()))
        if found is None:
            waiting.append((job, blocked))
            if not blocked:
                too_large.add(resources)
            continue
        shape, chosen = found
        members = []
        for rank, host in enumerate(chosen):
            gpus = _pick(host, shape, resources)
            members.append(Placement(rank, host.node_id, tuple(gpu.uuid for gpu in gpus)))
            hosts[host.node_id] = _take(host, gpus, resources)
        held[job.user_id] = held.get(job.user_id, 0) + resources.gpu_count
        placements.append(PlaceJob(job.id, job.epoch + 1, shape.gpu_type, tuple(members), _why(shape, chosen)))
    left = tuple(hosts.values())
    texts = {resources: _waits_for(resources, left) for resources in too_large}
    return Decision(
        tuple(placements), tuple((job.id, blocked or texts[job.spec.resources]) for job, blocked in waiting)
    )


def _blocked(job: Job, snapshot: Snapshot, held: int) -> str:
    """Return why the job may not start whatever is free, or an empty text."""
    unfinished = [
        dependency
        for dependency in job.spec.depends_on
        if snapshot.dependency_states.get(dependency) is not JobState.SUCCEEDED
    ]
    if unfinished:
        return f"waits for {', '.join(unfinished)} to succeed"
    limit = snapshot.max_gpus.get(job.user_id)
    wanted = job.spec.resources.gpu_count
    if limit is not None and held + wanted > limit:
        return f"waits: {job.user_email} holds {held} GPUs and may hold {limit}; this job needs {wanted}"
    return ""


def _find(request: ResourceRequest, hosts: Sequence[HostView]) -> tuple[_Shape, tuple[HostView, ...]] | None:
    """Return the first way to spread the gang that fits, on the hosts that it fills best."""
    for shape in _shapes(request, hosts):
        fitting = [host for host in hosts if _fits(host, shape, request)]
        if len(fitting) >= shape.node_count:
            fitting.sort(key=lambda host: (_left_over(host, shape, request), host.name, host.node_id))
            return shape, tuple(fitting[: shape.node_count])
    return None


def _shapes(request: ResourceRequest, hosts: Sequence[HostView]) -> Iterator[_Shape]:
    """Yield the ways to spread a gang, tightest first: fewer hosts mean a faster interconnect."""
    if request.gpu_count == 0:
        yield _Shape("", max(1, request.node_count), 0)
        return
    counts = [request.node_count] if request.node_count else range(1, request.gpu_count + 1)
    types = _types(request, hosts)
    for node_count in counts:
        if request.gpu_count % node_count == 0:
            for gpu_type in types:
                yield _Shape(gpu_type, node_count, request.gpu_count // node_count)


def _types(request: ResourceRequest, hosts: Sequence[HostView]) -> tuple[str, ...]:
    present = {gpu_type for host in hosts for gpu_type in host.total_by_type}
    wanted = request.gpu_types or tuple(sorted(present))
    return tuple(gpu_type for gpu_type in wanted if gpu_type in present and gpu_type not in request.exclude_gpu_types)


def _suitable(host: HostView, gpu_type: str, request: ResourceRequest) -> list[FreeGpu]:
    return [
        gpu for gpu in host.free_gpus if gpu.gpu_type == gpu_type and gpu.memory_bytes >= request.min_gpu_memory_bytes
    ]


def _fits(host: HostView, shape: _Shape, request: ResourceRequest) -> bool:
    return (
        len(_suitable(host, shape.gpu_type, request)) >= shape.gpus_per_node
        and host.free_cpu_milli >= request.cpu_milli
        and host.free_memory_bytes >= request.memory_bytes
    )


def _left_over(host: HostView, shape: _Shape, request: ResourceRequest) -> int:
    """Fewer GPUs left over is better: it keeps whole hosts free for gangs. CPU jobs avoid hosts with free GPUs."""
    if shape.gpus_per_node == 0:
        return len(host.free_gpus)
    return len(_suitable(host, shape.gpu_type, request)) - shape.gpus_per_node


def _pick(host: HostView, shape: _Shape, request: ResourceRequest) -> tuple[FreeGpu, ...]:
    suitable = _suitable(host, shape.gpu_type, request)
    # The smallest GPUs that will do; neighbours in index order share the fastest links.
    suitable.sort(key=lambda gpu: (gpu.memory_bytes, gpu.index))
    return tuple(suitable[: shape.gpus_per_node])


def _take(host: HostView, gpus: Sequence[FreeGpu], request: ResourceRequest) -> HostView:
    taken = {gpu.uuid for gpu in gpus}
    return replace(
        host,
        free_gpus=tuple(gpu for gpu in host.free_gpus if gpu.uuid not in taken),
        free_cpu_milli=host.free_cpu_milli - request.cpu_milli,
        free_memory_bytes=host.free_memory_bytes - request.memory_bytes,
    )


def _why(shape: _Shape, hosts: Sequence[HostView]) -> str:
    names = ", ".join(host.name for host in hosts)
    if shape.gpus_per_node == 0:
        return f"needs no GPU; {names} has the fewest free GPUs"
    if len(hosts) == 1:
        return f"{shape.gpus_per_node} {shape.gpu_type} on {names}, the host it fills best"
    return f"{shape.gpus_per_node} {shape.gpu_type} on each of {names}: the fewest hosts that hold it"


def _waits_for(request: ResourceRequest, hosts: Sequence[HostView]) -> str:
    """Return what a job that does not fit waits for, in words."""
    if not hosts:
        return "waits: no host is ready; see: orquanta node list"
    anywhere = replace(request, cpu_milli=0, memory_bytes=0)
    if anywhere != request and _find(anywhere, hosts) is not None:
        return f"waits: too few hosts have enough CPU or memory free{' beside free GPUs' if request.gpu_count else ''}"
    if request.gpu_count == 0:
        return f"waits: {len(hosts)} of {request.node_count} hosts are ready"
    wanted = " or ".join(request.gpu_types) or "GPUs"
    types = _types(request, hosts)
    if not types:
        return f"waits: no ready host has {wanted}"
    best, total, whole = 0, 0, 0
    for gpu_type in types:
        per_host = [len(_suitable(host, gpu_type, request)) for host in hosts]
        best, total = max(best, *per_host), max(total, sum(per_host))
        whole = max(whole, *(host.total_by_type.get(gpu_type, 0) for host in hosts))
    memory = f" with {request.min_gpu_memory_bytes // 10**9} GB" if request.min_gpu_memory_bytes else ""
    if request.node_count > 1:
        each = request.gpu_count // request.node_count
        ready = sum(1 for host in hosts if any(len(_suitable(host, one, request)) >= each for one in types))
        return f"waits: {ready} of {request.node_count} hosts have {each} {wanted}{memory} free"
    if request.gpu_count <= whole:
        return f"waits: {best} of {request.gpu_count} {wanted}{memory} free on any one node"
    return f"waits: {total} of {request.gpu_count} {wanted}{memory} free in the fleet"
