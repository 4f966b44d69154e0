"""Whether an effect can be carried out in the present state; if not, the first reason why."""

from control_plane.fleet.templates import TEMPLATES
from control_plane.governor import repair_validity
from control_plane.governor.hosts import lost_nodes
from control_plane.governor.repair_validity import Invalid, node_invalid
from control_plane.model.action import (
    CordonNode,
    DrainNode,
    Effect,
    LaunchJobs,
    PlaceJob,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RequeueJob,
    RevokeNode,
    StopJob,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.ids import JobId, UserId
from control_plane.model.job import AllocationState, Job, JobSpec, JobState
from control_plane.model.node import GpuHealth, Node, NodeState
from control_plane.store import allocations, conditions, goals, jobs, nodes
from control_plane.store.database import Tx

_MAX_JOBS = 100
_MAX_GPUS = 4096
_MAX_RUNTIME_SECONDS = 366 * 24 * 3600
_MAX_GRACE_SECONDS = 3600
_MAX_ATTEMPTS = 100


def invalid(tx: Tx, effect: Effect, user_id: UserId | None) -> Invalid:
    """Return the reason code and text of what stands in the way of an effect for this user, or None."""
    match effect:
        case LaunchJobs():
            return _launch(tx, effect, user_id)
        case PlaceJob():
            return _place(tx, effect)
        case StopJob():
            return _stop(tx, effect)
        case RequeueJob():
            return _requeue(tx, effect)
        case CordonNode() | UncordonNode() | RevokeNode():
            return node_invalid(tx, effect.node_id)
        case DrainNode() | RepairNode() | QuarantineNode() | ReleaseNode() | UpdateCondition():
            return repair_validity.invalid(tx, effect)


def _launch(tx: Tx, effect: LaunchJobs, user_id: UserId | None) -> Invalid:
    if not 1 <= len(effect.jobs) <= _MAX_JOBS:
        return "JOB_COUNT", f"{len(effect.jobs)} jobs at once; 1 to {_MAX_JOBS} are possible"
    if effect.goal_id is not None:
        goal = goals.get(tx, effect.goal_id)
        if goal is None or goal.state.ended:
            return "GOAL_ENDED", f"goal {effect.goal_id} has ended"
    together = {job.id for job in effect.jobs}
    if len(together) != len(effect.jobs):
        return "JOB_EXISTS", "two jobs have the same id"
    seen: set[JobId] = set()
    for job in effect.jobs:
        if jobs.get(tx, job.id, with_allocations=False) is not None:
            return "JOB_EXISTS", f"job {job.id} exists already"
        found = _spec(job.spec) or _dependencies(tx, job.spec, together, seen, user_id)
        if found is not None:
            return found
        seen.add(job.id)
    return None


def _spec(spec: JobSpec) -> Invalid:
    resources = spec.resources
    if not 0 <= resources.gpu_count <= _MAX_GPUS:
        return "GPU_COUNT", f"{spec.name} asks for {resources.gpu_count} GPUs; 0 to {_MAX_GPUS} are possible"
    if not 0 <= resources.node_count <= _MAX_GPUS or resources.gpu_count % max(resources.node_count, 1):
        return (
            "NODE_COUNT",
            f"{spec.name}: {resources.gpu_count} GPUs do not spread evenly over {resources.node_count} nodes",
        )
    if min(resources.min_gpu_memory_bytes, resources.cpu_milli, resources.memory_bytes) < 0:
        return "RESOURCES", f"{spec.name} asks for less than no memory or CPU"
    if not 1 <= spec.max_runtime_seconds <= _MAX_RUNTIME_SECONDS:
        return "RUNTIME", f"{spec.name} may run for 1 to {_MAX_RUNTIME_SECONDS} seconds, not {spec.max_runtime_seconds}"
    if not 0 <= spec.stop_grace_seconds <= _MAX_GRACE_SECONDS:
        return "GRACE", f"{spec.name} may take 0 to {_MAX_GRACE_SECONDS} seconds to stop, not {spec.stop_grace_seconds}"
    if not 1 <= spec.max_attempts <= _MAX_ATTEMPTS:
        return "ATTEMPTS", f"{spec.name} may have 1 to {_MAX_ATTEMPTS} attempts, not {spec.max_attempts}"
    if not spec.command and not spec.image and spec.template not in TEMPLATES:
        return (
            "NO_PROGRAM",
            f"{spec.name} has no command, no image and none of the templates {', '.join(TEMPLATES)}",
        )
    if set(resources.gpu_types) & set(resources.exclude_gpu_types):
        return "GPU_TYPES", f"{spec.name} both wants and excludes {', '.join(resources.gpu_types)}"
    return None


def _dependencies(tx: Tx, spec: JobSpec, together: set[JobId], seen: set[JobId], user_id: UserId | None) -> Invalid:
    """A job may wait for earlier ones of the same launch, and for jobs of the same user that can still succeed."""
    known = jobs.owners(tx, [dependency for dependency in spec.depends_on if dependency not in together])
    for dependency in spec.depends_on:
        if dependency in together:
            if dependency not in seen:
                return "DEPENDENCY_ORDER", f"{spec.name} needs {dependency}, which must come before it"
            continue
        owner, state = known.get(dependency, (None, JobState.FAILED))
        if owner is None or owner != user_id:
            return "DEPENDENCY_UNKNOWN", f"{spec.name} needs {dependency}, which is none of this user's jobs"
        if state.ended and state is not JobState.SUCCEEDED:
            return "DEPENDENCY_ENDED", f"{spec.name} needs {dependency}, which has {state.value} and will not succeed"
    return None


def _place(tx: Tx, effect: PlaceJob) -> Invalid:
    job = jobs.get(tx, effect.job_id, with_allocations=False)
    if job is None or job.state is not JobState.QUEUED or job.epoch + 1 != effect.epoch:
        return "STALE", f"job {effect.job_id} is no longer queued for attempt {effect.epoch}"
    waiting = [
        key for key, state in jobs.states(tx, set(job.spec.depends_on)).items() if state is not JobState.SUCCEEDED
    ]
    if waiting:
        return "DEPENDENCY_UNFINISHED", f"job {job.id} waits for {', '.join(waiting)}"
    found = _gang(job, effect)
    if found is not None:
        return found
    for placement in effect.placements:
        node = nodes.get(tx, placement.node_id)
        found = _gpus(tx, node, placement.gpu_uuids, effect.gpu_type, job.spec.resources.min_gpu_memory_bytes)
        if found is not None:
            return found
    return None


def _gang(job: Job, effect: PlaceJob) -> Invalid:
    """All or nothing, evenly spread, on as many nodes and on a model that the job asked for."""
    resources, placements = job.spec.resources, effect.placements
    gpu_count = sum(len(set(placement.gpu_uuids)) for placement in placements)
    if gpu_count != resources.gpu_count or not placements:
        return "GANG", f"job {job.id} needs {resources.gpu_count} GPUs, not {gpu_count}: all or nothing"
    if len({placement.node_id for placement in placements}) != len(placements):
        return "GANG", f"job {job.id} has two members on one node"
    if [placement.rank for placement in placements] != list(range(len(placements))):
        return "GANG", f"the members of job {job.id} are not numbered from 0"
    if len(placements) != (resources.node_count or len(placements)):
        return "GANG", f"job {job.id} needs {resources.node_count} nodes, not {len(placements)}"
    if len({len(placement.gpu_uuids) for placement in placements}) != 1:
        return "GANG", f"the GPUs of job {job.id} are not spread evenly"
    acceptable = not resources.gpu_types or effect.gpu_type in resources.gpu_types
    if effect.gpu_type in resources.exclude_gpu_types or not acceptable or bool(effect.gpu_type) != bool(gpu_count):
        return "GPU_TYPES", f"job {job.id} does not run on {effect.gpu_type or 'no GPU'}"
    return None


def _gpus(tx: Tx, node: Node | None, gpu_uuids: tuple[str, ...], gpu_type: str, min_memory_bytes: int) -> Invalid:
    if node is None or node.state is not NodeState.READY or node.inventory is None:
        return "STALE", f"node {node.name if node else '?'} is not ready"
    if conditions.closed_hosts(tx, node.id):
        return "STALE", f"node {node.name} has a fatal condition"
    unwell = conditions.gpu_health(tx, node.id).get(node.id, {})
    here = {gpu.uuid: gpu for gpu in node.inventory.gpus}
    held = allocations.holds(tx, node_id=node.id)
    for gpu_uuid in gpu_uuids:
        gpu = here.get(gpu_uuid)
        if gpu is None or GpuHealth.FAILED in (gpu.health, unwell.get(gpu_uuid)) or gpu.gpu_type != gpu_type:
            return "STALE", f"GPU {gpu_uuid} does not serve on {node.name} as a {gpu_type}"
        if gpu.memory_bytes < min_memory_bytes:
            return "GPU_MEMORY", f"GPU {gpu_uuid} on {node.name} has less memory than the job needs"
        if gpu_uuid in held:
            return "STALE", f"GPU {gpu_uuid} is held by {held[gpu_uuid].job_id}"
    return None


def _stop(tx: Tx, effect: StopJob) -> Invalid:
    job = jobs.get(tx, effect.job_id, with_allocations=False)
    if job is None:
        return "JOB_UNKNOWN", f"there is no job {effect.job_id}"
    if job.state.ended:
        return "JOB_ENDED", f"job {job.id} has {job.state.value} already"
    return None


def _requeue(tx: Tx, effect: RequeueJob) -> Invalid:
    allocation = allocations.get(tx, effect.allocation_id)
    if allocation is None or allocation.job_id != effect.job_id or allocation.state is AllocationState.ENDED:
        return "STALE", f"attempt {effect.allocation_id} of {effect.job_id} has ended already"
    if lost_nodes(tx, allocation, effect):
        return None
    return "NODE_NOT_LOST", f"no node of attempt {effect.allocation_id} is lost"
