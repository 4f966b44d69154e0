"""One line for a person: exactly what an effect would do."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from control_plane.model.action import (
    CordonNode,
    DrainNode,
    Effect,
    LaunchJobs,
    NewJob,
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
from control_plane.model.ids import NodeId
from control_plane.model.job import ResourceRequest
from control_plane.model.money import format_usd
from control_plane.model.repair import Rung


def summarize(effect: Effect, estimate_usd: Decimal, *, node_name: str = "") -> str:
    """Return the effect in one line. `node_name` is how people call the one node that it is about."""
    line = _line(effect, estimate_usd)
    node_id = node_of(effect)
    return line.replace(node_id, node_name, 1) if node_id and node_name else line


def node_of(effect: Effect) -> NodeId | None:
    """Return the one node that an effect is about, if it is about one that its summary names."""
    match effect:
        case LaunchJobs() | PlaceJob() | StopJob() | RequeueJob() | PreemptJob():
            return None
        case _:
            return effect.node_id


def _line(effect: Effect, estimate_usd: Decimal) -> str:
    match effect:
        case LaunchJobs():
            return f"run {'; '.join(_job(job) for job in effect.jobs)}, for at most {format_usd(estimate_usd)}"
        case PlaceJob():
            return f"start {effect.job_id}, attempt {effect.epoch}: {effect.reason}"
        case StopJob():
            return f"stop {effect.job_id}: {effect.reason}"
        case RequeueJob():
            return f"give up {effect.allocation_id} and queue {effect.job_id} again: {effect.reason}"
        case PreemptJob():
            return f"have {effect.job_id} make way for {effect.for_job_id} and queue it again: {effect.reason}"
        case RepairNode():
            return _repair(effect)
        case UpdateCondition():
            verb = "clear" if effect.clear else "acknowledge"
            return f"{verb} {effect.condition_id} of {effect.node_id}: {effect.reason}"
        case CordonNode() | UncordonNode() | RevokeNode() | DrainNode() | QuarantineNode() | ReleaseNode():
            return f"{_VERBS[type(effect)]} {effect.node_id}: {effect.reason}"


_VERBS: Final[Mapping[type, str]] = {
    CordonNode: "cordon",
    UncordonNode: "uncordon",
    RevokeNode: "revoke",
    DrainNode: "drain",
    QuarantineNode: "quarantine",
    ReleaseNode: "release",
}


def _job(new: NewJob) -> str:
    spec = new.spec
    resources = spec.resources
    program = spec.command or spec.image or f"template {spec.template}"
    gpus = _gpus(resources) if resources.gpu_count else "CPU only"
    nodes = f" on {resources.node_count} nodes" if resources.node_count > 1 else ""
    return f"{spec.name} [{program}] on {gpus}{nodes} for at most {_duration(spec.max_runtime_seconds)}"


def _gpus(resources: ResourceRequest) -> str:
    kinds = " or ".join(resources.gpu_types)
    if resources.mig_profile:
        return f"{resources.gpu_count} MIG {resources.mig_profile}{f' of {kinds}' if kinds else ''}"
    number = f"{resources.gpus:g}"
    return f"{number} {kinds or ('GPU' if number == '1' else 'GPUs')}"


def _duration(seconds: int) -> str:
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if minutes else []
    parts += [f"{seconds % 60} s"] if not hours and seconds % 60 else []
    return " ".join(parts) or "0 s"


def _repair(effect: RepairNode) -> str:
    of = ""
    if effect.rung is Rung.RESTART_SERVICE:
        of = f" {effect.service}"
    elif effect.rung is Rung.STOP_PROCESS:
        of = f" {', '.join(map(str, effect.process_ids))}"
    elif effect.gpu_uuids:
        of = f" {', '.join(effect.gpu_uuids)}"
    dry = "say what this would do: " if effect.dry_run else ""
    return f"{dry}{effect.rung.words}{of} on {effect.node_id}: {effect.reason}"
