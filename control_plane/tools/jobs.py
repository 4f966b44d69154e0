"""Tools that read jobs. Names, commands and messages are other people's and hosts' words."""

from typing import Annotated, Literal

from pydantic import Field

from control_plane.model.identity import Principal
from control_plane.model.job import Allocation, Job, JobState
from control_plane.store import jobs, nodes
from control_plane.store.database import Tx
from control_plane.store.jobs import JobFilter
from control_plane.store.pages import Page, PageRequest
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.output import Line, Moment, Number, Output, PageOutput, Part, Token, Usd
from control_plane.tools.references import (
    GoalReference,
    JobReference,
    Limit,
    NodeReference,
    PageToken,
    Person,
    goal_id,
    job_to_read,
    user_id,
)

StateName = Literal["queued", "placed", "running", "succeeded", "failed", "cancelled"]

_ATTEMPTS_TOLD = 10
_MEMBERS_TOLD = 64


class ListJobs(Input):
    """Which jobs; newest first."""

    state: Annotated[StateName | None, Field(description="Only jobs in this state")] = None
    user: Annotated[Person | None, Field(description='Only jobs of this person: an e-mail address, or "me"')] = None
    goal: GoalReference | None = None
    node: Annotated[NodeReference | None, Field(description="Only jobs that ever ran on this node")] = None
    limit: Limit = 20
    page: PageToken = ""


class JobLine(Part):
    """A job in a list. `reason` says why it is in its state."""

    evidence_id: str
    id: str
    name: Line
    user: Line
    goal_id: str
    state: StateName
    reason: Line
    gpu_types: tuple[Token, ...]
    gpu_count: int
    attempts: int
    cost_usd: Usd
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None


class JobPage(PageOutput):
    """A page of jobs, newest first."""

    jobs: tuple[JobLine, ...]


class GetJob(Input):
    """Which job."""

    job: JobReference


class MemberOut(Part):
    """The part of an attempt on one node."""

    rank: int
    node_id: str
    node: Token
    gpus: int
    state: str
    exit_reason: str
    exit_code: int | None
    signal: int | None
    message: Line
    peak_memory_bytes: int


class AttemptOut(Part):
    """An attempt. `waived` means that the fleet lost it and nobody pays."""

    number: int
    state: str
    gpu_type: Token
    gpus: int
    waived: bool
    moved: bool
    gpu_seconds: Number
    cost_usd: Usd
    started_at: Moment
    ended_at: Moment | None
    members: tuple[MemberOut, ...]


class JobOut(Output):
    """A job with its newest attempts, at most 10, oldest of them first."""

    job: JobLine
    command: Line
    image: Line
    template: Token
    nodes_wanted: int
    max_runtime_seconds: int
    max_attempts: int
    priority: str
    reserved_usd: Usd
    exit_code: int | None
    depends_on: tuple[str, ...]
    attempts: tuple[AttemptOut, ...]


class PlacementOut(Output):
    """Where a job runs and why there, or why it waits."""

    job_id: str
    state: StateName
    why: Line
    gpu_types: tuple[Token, ...]
    gpu_count: int
    nodes_wanted: int
    depends_on: tuple[str, ...]
    attempt: AttemptOut | None


def job_line(job: Job) -> JobLine:
    """Return a job as a list tells it."""
    return JobLine(
        evidence_id=f"job:{job.id}",
        id=job.id,
        name=job.spec.name,
        user=job.user_email,
        goal_id=job.goal_id or "",
        state=job.state.value,
        reason=job.status_reason,
        gpu_types=job.spec.resources.gpu_types,
        gpu_count=job.spec.resources.gpu_count,
        attempts=job.epoch,
        cost_usd=job.cost_usd,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _is_own(job: Job, principal: Principal) -> bool:
    """Tell whether what is told of a job is the caller's own words and ours: what failed is told by its host."""
    said = (member.message for attempt in job.allocations for member in attempt.members)
    return job.user_id == principal.user_id and job.state is not JobState.FAILED and not any(said)


def _attempt(attempt: Allocation) -> AttemptOut:
    return AttemptOut(
        number=attempt.epoch,
        state=attempt.state.value,
        gpu_type=attempt.gpu_type,
        gpus=attempt.gpu_count,
        waived=attempt.waived,
        moved=attempt.moved,
        gpu_seconds=attempt.gpu_seconds,
        cost_usd=attempt.cost_usd,
        started_at=attempt.created_at,
        ended_at=attempt.ended_at,
        members=tuple(
            MemberOut(
                rank=member.rank,
                node_id=member.node_id,
                node=member.node_name,
                gpus=len(member.gpu_uuids),
                state=member.state.value,
                exit_reason=member.exit_reason.value if member.exit_reason is not None else "",
                exit_code=member.exit_code,
                signal=member.signal,
                message=member.message,
                peak_memory_bytes=member.peak_memory_bytes,
            )
            for member in attempt.members[:_MEMBERS_TOLD]
        ),
    )


async def _list(sources: Sources, principal: Principal, wanted: ListJobs) -> Found[JobPage]:
    def read(tx: Tx) -> Page[Job]:
        which = JobFilter(
            states=(JobState(wanted.state),) if wanted.state else (),
            goal_id=goal_id(wanted.goal) if wanted.goal else None,
            user_id=user_id(tx, wanted.user, principal) if wanted.user else None,
            node_id=nodes.resolve(tx, wanted.node).id if wanted.node else None,
        )
        return jobs.page(tx, which, PageRequest(wanted.limit, wanted.page))

    page = await sources.store.read(read)
    output = JobPage(jobs=tuple(job_line(job) for job in page.items), next_page=page.next_token)
    own = all(_is_own(job, principal) for job in page.items)
    return Found(output, "jobs", empty=not output.jobs, own_words=own)


async def _get(sources: Sources, principal: Principal, wanted: GetJob) -> Found[JobOut]:
    job = await sources.store.read(lambda tx: job_to_read(tx, wanted.job, principal))
    spec = job.spec
    output = JobOut(
        job=job_line(job),
        command=spec.command,
        image=spec.image,
        template=spec.template,
        nodes_wanted=spec.resources.node_count,
        max_runtime_seconds=spec.max_runtime_seconds,
        max_attempts=spec.max_attempts,
        priority=spec.priority.name.lower(),
        reserved_usd=job.reserved_usd,
        exit_code=job.exit_code,
        depends_on=spec.depends_on,
        attempts=tuple(_attempt(attempt) for attempt in job.allocations[-_ATTEMPTS_TOLD:]),
    )
    return Found(output, output.job.evidence_id, own_words=_is_own(job, principal))


async def _placement(sources: Sources, principal: Principal, wanted: GetJob) -> Found[PlacementOut]:
    job = await sources.store.read(lambda tx: job_to_read(tx, wanted.job, principal))
    newest = job.allocations[-1] if job.allocations and job.state is not JobState.QUEUED else None
    output = PlacementOut(
        job_id=job.id,
        state=job.state.value,
        why=job.status_reason if newest is None else newest.placement_reason,
        gpu_types=job.spec.resources.gpu_types,
        gpu_count=job.spec.resources.gpu_count,
        nodes_wanted=job.spec.resources.node_count,
        depends_on=job.spec.depends_on,
        attempt=None if newest is None else _attempt(newest),
    )
    return Found(output, f"job:{job.id}", own_words=_is_own(job, principal))


LIST_JOBS = ReadTool(
    name="list_jobs",
    description="Lists jobs, newest first, with state, reason, GPUs and cost; by state, person, goal or node.",
    arguments=ListJobs,
    result=JobPage,
    read=_list,
)
GET_JOB = ReadTool(
    name="get_job",
    description="Tells all about one job: what it runs and needs, and how each attempt went on each node (exit code, "
    "signal, out of memory, node lost).",
    arguments=GetJob,
    result=JobOut,
    read=_get,
)
JOB_PLACEMENT = ReadTool(
    name="job_placement",
    description="Tells where a job runs and why there, or why it still waits for GPUs.",
    arguments=GetJob,
    result=PlacementOut,
    read=_placement,
)
