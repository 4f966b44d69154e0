"""Completes what a job leaves open, before it is frozen: a person approves and pays for what is written out."""

from dataclasses import dataclass, replace

from control_plane.fleet.templates import TEMPLATES
from control_plane.model.action import LaunchJobs, NewJob
from control_plane.model.job import JobSpec


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """What a job gets when it does not say. Times in seconds."""

    max_runtime_seconds: int
    stop_grace_seconds: int
    max_attempts: int


def complete(effect: LaunchJobs, defaults: JobDefaults) -> LaunchJobs:
    """Return the launch with every job's limits written out."""
    return replace(effect, jobs=tuple(NewJob(job.id, _complete_job(job.spec, defaults)) for job in effect.jobs))


def _complete_job(spec: JobSpec, defaults: JobDefaults) -> JobSpec:
    template = TEMPLATES.get(spec.template) if not spec.command and not spec.image else None
    runtime = template.default_max_runtime_seconds if template else defaults.max_runtime_seconds
    return replace(
        spec,
        max_runtime_seconds=spec.max_runtime_seconds or min(runtime, defaults.max_runtime_seconds),
        stop_grace_seconds=spec.stop_grace_seconds or defaults.stop_grace_seconds,
        max_attempts=spec.max_attempts or defaults.max_attempts,
    )
