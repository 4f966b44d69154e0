"""A goal's jobs over all its tries: which took whose place, and what is told of it at the end. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from control_plane.fleet.preemption import started_at
from control_plane.fleet.progress import NEEDED
from control_plane.fleet.templates import stood_in
from control_plane.model.ids import JobId
from control_plane.model.job import Allocation, Job, JobState
from control_plane.model.money import format_usd
from control_plane.model.run_replan import Replan, replan_from_json
from control_plane.model.run_step import RunStep, StepKind

_TRIES_TOLD = 10


def replans(steps: Iterable[RunStep]) -> tuple[Replan, ...]:
    """Return what the steps of a run have planned in the places of failed jobs, in its order."""
    return tuple(replan_from_json(one.intent.arguments_json) for one in steps if one.intent.kind is StepKind.REPLAN)


def replaced(jobs: Iterable[Job], replans: Iterable[Replan]) -> dict[JobId, JobId]:
    """Return which job took the place of which. One that was planned and never launched took nobody's."""
    known = {job.id for job in jobs}
    return {old: after for replan in replans for old, after in replan.jobs if after in known}


def current(jobs: Sequence[Job], places: Mapping[JobId, JobId]) -> tuple[Job, ...]:
    """Return the jobs whose place no other took: the goal is done if all of them succeeded."""
    return tuple(job for job in jobs if job.id not in places)


def line_of(job: Job, places: Mapping[JobId, JobId]) -> tuple[JobId, ...]:
    """Return the job's id and those of the jobs before it whose places it took, newest first."""
    before = {after: old for old, after in places.items()}
    ids = [job.id]
    while ids[-1] in before and len(ids) <= len(before):
        ids.append(before[ids[-1]])
    return tuple(ids)


def was_stopped(job: Job) -> bool:
    """Tell whether somebody stopped a job; one that was cancelled because another failed was not."""
    return job.cancel_requested or (job.state is JobState.CANCELLED and NEEDED not in job.status_reason)


def waits_with(failed: Job, jobs: Sequence[Job], places: Mapping[JobId, JobId]) -> tuple[Job, ...]:
    """Return the jobs that a job's failure cancelled and that can be run once it has succeeded, in their order.

    Others that they need must have succeeded, or still be on their way.
    """
    now = {job.id: job for job in current(jobs, places)}
    again = {failed.id}
    found: list[Job] = []
    grown = True
    while grown:
        grown = False
        for job in now.values():
            if job.id in again or job.state is not JobState.CANCELLED or was_stopped(job) or job.epoch:
                continue
            needs = [newest(one, places) for one in job.spec.depends_on]
            if again.isdisjoint(needs):
                continue
            if all(one in again or _can_succeed(now.get(one)) for one in needs):
                again.add(job.id)
                found.append(job)
                grown = True
    return tuple(found)


def newest(job_id: JobId, places: Mapping[JobId, JobId]) -> JobId:
    """Return the job that has a job's place now."""
    for _ in range(len(places)):
        if job_id not in places:
            break
        job_id = places[job_id]
    return job_id


def _can_succeed(job: Job | None) -> bool:
    return job is None or not job.state.ended or job.state is JobState.SUCCEEDED


def told(jobs: Sequence[Job], replans: Sequence[Replan]) -> list[str]:
    """Return how each job ended and what was tried in the place of those that failed, one line each."""
    places = replaced(jobs, replans)
    before = {after: old for old, after in places.items()}
    lines = []
    for job in jobs:
        place = f" in place of {before[job.id]}" if job.id in before else ""
        named = f"{job.spec.name} ({job.id})" if places else job.spec.name
        lines.append(f"{named}{place}: {job.state.value} ({job.status_reason})")
    shown = [job for job in jobs if job.spec.template and job.started_at is not None]
    lines += [f"{job.spec.name}: {stood_in(job.spec.template)}" for job in shown]
    names = {job.id: job.spec.name for job in jobs}
    made = [replan for replan in replans if any(after in names for _, after in replan.jobs)]
    lines += [_tried(replan, names) for replan in made[:_TRIES_TOLD]]
    return lines


def _tried(replan: Replan, names: Mapping[JobId, str]) -> str:
    cited = f" [{', '.join(replan.evidence_ids[:3])}]" if replan.evidence_ids else ""
    failed = f"{names.get(replan.job_id, 'a job')} ({replan.job_id})"
    after = dict(replan.jobs).get(replan.job_id, "")
    return f"Because of {replan.cause}{cited}, {failed} was {replan.why}: {after}."


def seconds_of(attempt: Allocation) -> float:
    """Return how long an attempt ran: by the time of its GPUs, of which a part counts whole here, or by the clock."""
    if attempt.gpus:
        return attempt.gpu_seconds / attempt.gpus
    return 0.0 if attempt.ended_at is None else (attempt.ended_at - started_at(attempt)).total_seconds()


def cost(jobs: Sequence[Job]) -> str:
    """Return what the goal came to over all its jobs and their attempts, in one line."""
    spent = sum((job.cost_usd for job in jobs), Decimal(0))
    seconds = sum(one.gpu_seconds for job in jobs for one in job.allocations if not one.waived)
    return f"cost {format_usd(spent)} for {seconds:,.1f} GPU-seconds"
