"""Attempts that make way for other jobs: when they may, what becomes of them, and what they are billed. Pure."""

from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.fleet import progress
from control_plane.model.ids import JobId
from control_plane.model.job import Allocation, AllocationState, ExitReason, Job


def started_at(allocation: Allocation) -> datetime:
    """Return when the attempt's first process started, or when it was placed."""
    return min((one.started_at for one in allocation.members if one.started_at), default=allocation.created_at)


def protected_until(allocation: Allocation, min_runtime_seconds: float) -> datetime:
    """Return from when on the attempt may be preempted."""
    return started_at(allocation) + timedelta(seconds=min_runtime_seconds)


def request_preemption(allocation: Allocation, for_job_id: JobId, now: datetime) -> Allocation:
    """Return the attempt asked to stop, so that another job can start; one that stops already stays as it is."""
    moved = progress.request_move(allocation, now)
    return allocation if moved == allocation else replace(moved, preempted_for=for_job_id)


def settled(job: Job, allocation: Allocation) -> Allocation:
    """Return an ended attempt as it is billed.

    One that made way is billed for what it ran if the job could save its work. What was lost by it is not.
    """
    cause = progress.first_failure(allocation)
    stopped = cause is not None and cause.exit_reason is not None and not cause.exit_reason.is_infrastructure
    if allocation.preempted_for is None or not job.spec.checkpoint_signal or not stopped:
        return allocation
    return replace(allocation, waived=False)


def time_left_seconds(job: Job) -> int:
    """Return how long the next attempt may run: the limit less the time of attempts that were billed, at least 1 s."""
    billed = timedelta()
    for attempt in job.allocations:
        if attempt.state is AllocationState.ENDED and not attempt.waived and attempt.ended_at is not None:
            billed += attempt.ended_at - started_at(attempt)
    return max(1, job.spec.max_runtime_seconds - int(billed.total_seconds()))


def finished_by_itself(allocation: Allocation) -> bool:
    """Tell whether every process of the attempt ended with exit code 0."""
    return all(one.exit_reason is ExitReason.EXITED and one.exit_code == 0 for one in allocation.members)
