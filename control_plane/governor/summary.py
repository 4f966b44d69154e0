"""One line for a person: exactly what an effect would do."""

from decimal import Decimal

from control_plane.model.action import (
    CordonNode,
    Effect,
    LaunchJobs,
    NewJob,
    PlaceJob,
    RequeueJob,
    RevokeNode,
    StopJob,
    UncordonNode,
)
from control_plane.model.money import format_usd


def summarize(effect: Effect, estimate_usd: Decimal) -> str:
    """Return the effect in one line."""
    match effect:
        case LaunchJobs():
            return f"run {'; '.join(_job(job) for job in effect.jobs)}, for at most {format_usd(estimate_usd)}"
        case PlaceJob():
            return f"start {effect.job_id}, attempt {effect.epoch}: {effect.reason}"
        case StopJob():
            return f"stop {effect.job_id}: {effect.reason}"
        case RequeueJob():
            return f"give up {effect.allocation_id} and queue {effect.job_id} again: {effect.reason}"
        case CordonNode():
            return f"cordon {effect.node_id}: {effect.reason}"
        case UncordonNode():
            return f"uncordon {effect.node_id}: {effect.reason}"
        case RevokeNode():
            return f"revoke {effect.node_id}: {effect.reason}"


def _job(new: NewJob) -> str:
    spec = new.spec
    resources = spec.resources
    program = spec.command or spec.image or f"template {spec.template}"
    gpus = f"{resources.gpu_count} {' or '.join(resources.gpu_types) or 'GPUs'}" if resources.gpu_count else "CPU only"
    nodes = f" on {resources.node_count} nodes" if resources.node_count > 1 else ""
    return f"{spec.name} [{program}] on {gpus}{nodes} for at most {spec.max_runtime_seconds / 3600:g} h"
