"""What the frozen arguments of an effect alone say about it. Pure."""

import json
from math import ceil
from typing import Final

from control_plane.governor.policy.inputs import ActionInput, EstimateInput, JobInput
from control_plane.model.action import (
    DrainNode,
    Effect,
    LaunchJobs,
    NewJob,
    PlaceJob,
    PreemptJob,
    QuarantineNode,
    RepairNode,
    RevokeNode,
    StopJob,
)
from control_plane.model.effects import effect_kind, effect_to_json
from control_plane.model.repair import Rung

_DESTRUCTIVE: Final = (StopJob, PreemptJob, DrainNode, QuarantineNode, RevokeNode)


def is_destructive(effect: Effect) -> bool:
    """Tell whether an effect stops work or takes a host away: a test of a host by itself does, a dry run does not."""
    if isinstance(effect, RepairNode):
        return not effect.dry_run
    return isinstance(effect, _DESTRUCTIVE)


def of_effect(effect: Effect, *, frozen: str = "") -> ActionInput:
    """Return what an effect says of itself; `frozen` is its JSON, if it is known already."""
    document = json.loads(frozen or effect_to_json(effect))
    jobs = tuple(_job(one) for one in effect.jobs) if isinstance(effect, LaunchJobs) else ()
    repair = effect if isinstance(effect, RepairNode) else None
    gpu_types = {gpu_type for job in jobs for gpu_type in job.gpu_types}
    if isinstance(effect, PlaceJob) and effect.gpu_type:
        gpu_types = {effect.gpu_type}
    return ActionInput(
        kind=effect_kind(effect),
        arguments=document["arguments"],
        destructive=is_destructive(effect),
        rung="" if repair is None else Rung(repair.rung).name.lower(),
        dry_run=repair is not None and repair.dry_run,
        job=jobs[0] if len(jobs) == 1 else JobInput(),
        jobs=jobs,
        gpu_types=tuple(sorted(gpu_types)),
    )


def size_of(effect: Effect, usd: float) -> EstimateInput:
    """Return how many GPUs, nodes and jobs an effect takes, beside its money."""
    match effect:
        case LaunchJobs():
            wanted = [job.spec.resources for job in effect.jobs]
            return EstimateInput(
                usd,
                sum(ceil(one.gpus) for one in wanted),
                sum(max(one.node_count, 1) for one in wanted),
                len(wanted),
            )
        case PlaceJob():
            gpus = sum(len(placement.gpu_uuids) for placement in effect.placements)
            return EstimateInput(usd, gpus, len(effect.placements), 1)
        case _:
            return EstimateInput(usd)


def _job(new: NewJob) -> JobInput:
    spec = new.spec
    return JobInput(
        id=new.id,
        name=spec.name,
        image=spec.image,
        template=spec.template,
        gpu_types=spec.resources.gpu_types,
        gpus=spec.resources.gpu_count,
        nodes=spec.resources.node_count,
        max_runtime_seconds=spec.max_runtime_seconds,
        max_attempts=spec.max_attempts,
        priority=spec.priority.name.lower(),
        gpu_milli=spec.resources.gpu_milli,
    )
