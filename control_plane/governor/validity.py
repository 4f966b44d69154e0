"""Whether an effect can be carried out in the present state; if not, the first reason why."""

from control_plane.fleet.executors import EXECUTORS, is_known
from control_plane.fleet.progress import MOVES_MAX
from control_plane.fleet.signals import CHECKPOINT_SIGNALS
from control_plane.fleet.templates import TEMPLATES
from control_plane.governor import place_validity, repair_validity
from control_plane.governor.hosts import lost_nodes
from control_plane.governor.repair_validity import Invalid, node_invalid
from control_plane.model.action import (
    CordonNode,
    DrainNode,
    Effect,
    LaunchJobs,
    PlaceJob,
    PreemptJob,
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
from control_plane.model.job import WHOLE_GPU_MILLI, AllocationState, JobSpec, JobState, ResourceRequest
from control_plane.store import allocations, goals, jobs
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
            return place_validity.invalid(tx, effect)
        case StopJob():
            return _stop(tx, effect)
        case RequeueJob():
            return _requeue(tx, effect)
        case PreemptJob():
            return _preempt(tx, effect)
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
    return _part(spec.name, resources) or _limits(spec)


def _part(name: str, resources: ResourceRequest) -> Invalid:
    """A part is of one GPU, and is none of a MIG device."""
    if resources.gpu_milli and (
        not 0 < resources.gpu_milli < WHOLE_GPU_MILLI or resources.gpu_count != 1 or resources.mig_profile
    ):
        return "GPU_SHARE", f"{name} asks for {resources.gpu_milli} thousandths of {resources.gpu_count} GPUs"
    if resources.share_memory_bytes and not resources.gpu_milli:
        return "GPU_SHARE", f"{name} asks for the memory of a part, and for no part of a GPU"
    return None


def _limits(spec: JobSpec) -> Invalid:
    resources = spec.resources
    if not is_known(spec.executor):
        return "EXECUTOR", f"{spec.name}: {spec.executor} is none of the executors {', '.join(EXECUTORS)}"
    if spec.checkpoint_signal and spec.checkpoint_signal not in CHECKPOINT_SIGNALS:
        return "CHECKPOINT_SIGNAL", f"{spec.name}: {spec.checkpoint_signal} cannot ask for a checkpoint"
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


def _preempt(tx: Tx, effect: PreemptJob) -> Invalid:
    """Only what runs makes way, and only for a job that waits."""
    allocation = allocations.get(tx, effect.allocation_id)
    if allocation is None or allocation.job_id != effect.job_id or allocation.state is AllocationState.ENDED:
        return "STALE", f"attempt {effect.allocation_id} of {effect.job_id} has ended already"
    if allocation.stop_requested:
        return "STALE", f"attempt {effect.allocation_id} of {effect.job_id} is being stopped already"
    job = jobs.get(tx, effect.job_id, with_allocations=False)
    waiting = jobs.get(tx, effect.for_job_id, with_allocations=False)
    if waiting is None or waiting.state is not JobState.QUEUED or waiting.id == effect.job_id:
        return "STALE", f"job {effect.for_job_id} does not wait"
    if job is None or job.cancel_requested:
        return "STALE", f"job {effect.job_id} is being stopped already"
    if job.moves >= MOVES_MAX - 1:
        return "PREEMPTED_TOO_OFTEN", f"job {job.id} was moved {job.moves} times already; it is left to end"
    return None
