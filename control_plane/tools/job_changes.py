"""Tools that launch and stop jobs: each a proposal to the governor."""

import hashlib
import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from control_plane.errors import InvalidArgument
from control_plane.model.action import LaunchJobs, NewJob, StopJob
from control_plane.model.identity import Role
from control_plane.model.ids import JOB, JobId
from control_plane.model.job import JobPriority, JobSpec, ResourceRequest
from control_plane.model.tool import ToolEffect
from control_plane.store.database import Tx
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Ask, Wish, WriteTool
from control_plane.tools.references import GpuType, JobReference, job_to_change

JOBS_MAX: Final = 20
_DAY_SECONDS: Final = 24 * 3600
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
_GPU_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")

Reason = Annotated[str, Field(max_length=500, description="Why, for the audit")]


class JobWish(Input):
    """One job. Exactly one of command, image and template says what runs."""

    name: Annotated[str, Field(min_length=1, max_length=63, description="Letters, digits, '.', '_' and '-'")]
    command: Annotated[str | None, Field(min_length=1, max_length=8_000, description="Shell command")] = None
    image: Annotated[str | None, Field(min_length=1, max_length=512, description="Container image")] = None
    template: Literal["train", "finetune", "batch", "inference", "benchmark"] | None = None
    gpu_count: Annotated[int, Field(ge=0, le=4_096, description="GPUs in total, over all nodes")]
    gpu_types: Annotated[tuple[GpuType, ...], Field(max_length=8, description="Any of these models; none: any")] = ()
    node_count: Annotated[int, Field(ge=0, le=512, description="Nodes to spread evenly over; 0: any number")] = 0
    max_runtime_seconds: Annotated[int | None, Field(ge=60, le=30 * _DAY_SECONDS, description="Time limit")] = None
    priority: Literal["low", "normal", "high", "urgent"] = "normal"
    after: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...],
        Field(max_length=16, description="Names of earlier jobs of this call that must succeed before"),
    ] = ()


class LaunchJobsInput(Input):
    """Which jobs, all or none, and what they may cost together."""

    jobs: Annotated[tuple[JobWish, ...], Field(min_length=1, max_length=JOBS_MAX)]
    budget_usd: Annotated[int | None, Field(ge=1, le=10_000_000, description="What all may cost, whole dollars")] = None


class StopJobInput(Input):
    """Which job, and why."""

    job: JobReference
    reason: Reason = ""


def _launch(_tx: Tx, ask: Ask, wanted: LaunchJobsInput) -> Wish:
    ids: dict[str, JobId] = {}
    new = []
    for position, job in enumerate(wanted.jobs):
        job_id = ask.id(JOB, str(position))
        new.append(NewJob(job_id, _spec(job, ids)))
        if job.name in ids:
            raise _wrong(f"two jobs are named {job.name!a}; give each a name of its own")
        ids[job.name] = job_id
    budget = None if wanted.budget_usd is None else Decimal(wanted.budget_usd)
    digest = hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()
    return Wish(
        LaunchJobs(tuple(new), budget_usd=budget),
        target=f"jobs:{digest}",  # they have no ids before they are launched: what is launched is the target
        job_id=new[0].id if len(new) == 1 else None,
    )


def _spec(job: JobWish, ids: dict[str, JobId]) -> JobSpec:
    if not _NAME.fullmatch(job.name):
        raise _wrong(f"{job.name!a} is not a job's name: use letters, digits, '.', '_' and '-'")
    if (job.command is None and job.image is None) is (job.template is None):
        raise _wrong(f"job {job.name}: give a command, an image or both, or else a template")
    if job.image is not None and not _IMAGE.fullmatch(job.image):
        raise _wrong(f"job {job.name}: {job.image[:60]!a} is not an image such as registry.example.com/train:1.0")
    if job.command is not None and "\x00" in job.command:
        raise _wrong(f"job {job.name}: the command holds a NUL character")
    if any(not _GPU_TYPE.fullmatch(gpu_type) for gpu_type in job.gpu_types):
        raise _wrong(f"job {job.name}: GPU models are such as H100; see fleet_summary")
    if job.gpu_count and job.node_count and job.gpu_count % job.node_count:
        raise _wrong(f"job {job.name}: {job.gpu_count} GPUs do not spread evenly over {job.node_count} nodes")
    unknown = [name for name in job.after if name not in ids]
    if unknown:
        raise _wrong(f"job {job.name} comes after {unknown[0]!a}, which is no earlier job of this call")
    return JobSpec(
        name=job.name,
        resources=ResourceRequest(
            gpu_types=job.gpu_types if job.gpu_count else (), gpu_count=job.gpu_count, node_count=job.node_count
        ),
        command=job.command or "",
        image=job.image or "",
        template=job.template or "",
        max_runtime_seconds=job.max_runtime_seconds or 0,  # 0: the governor writes the default out
        priority=JobPriority[job.priority.upper()],
        depends_on=tuple(ids[name] for name in dict.fromkeys(job.after)),
    )


def _wrong(text: str) -> InvalidArgument:
    return InvalidArgument(text, reason="ARGUMENTS_INVALID")


def _stop(tx: Tx, ask: Ask, wanted: StopJobInput) -> Wish:
    job = job_to_change(tx, wanted.job, ask.principal)
    why = f"by {ask.caller} for {ask.principal.email}" + (f": {wanted.reason}" if wanted.reason else "")
    return Wish(StopJob(job.id, why), target=job.id, job_id=job.id, goal_id=job.goal_id)


LAUNCH_JOBS = WriteTool(
    name="launch_jobs",
    description="Queues jobs on GPUs, all or none, and reserves what they may cost at most. The governor checks budget "
    "and limits; above a bound a person must approve.",
    arguments=LaunchJobsInput,
    effect=ToolEffect.WRITE,
    wish=_launch,
    undo_tool="stop_job",
    role=Role.USER,
    costs_money=True,
)
STOP_JOB = WriteTool(
    name="stop_job",
    description="Stops a job for good; what it has not saved is lost. Your own; anybody's for an operator.",
    arguments=StopJobInput,
    effect=ToolEffect.DESTRUCTIVE,
    wish=_stop,
    role=Role.USER,
)
