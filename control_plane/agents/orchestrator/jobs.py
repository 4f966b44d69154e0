"""Turns a plan into jobs: what was said stays as it was said, what was not is left for the governor's defaults."""

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from control_plane.model.action import NewJob
from control_plane.model.goal import Goal
from control_plane.model.ids import JOB, GoalId, JobId, derived_id
from control_plane.model.job import JobPriority, JobSpec, ResourceRequest
from control_plane.model.plan import BudgetPeriod, Plan, PlannedJob, Priority

_PRIORITIES = {
    Priority.LOW: JobPriority.LOW,
    Priority.NORMAL: JobPriority.NORMAL,
    Priority.HIGH: JobPriority.HIGH,
    Priority.URGENT: JobPriority.URGENT,
}
_NAME_MAX = 63
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def jobs_of(plan: Plan, goal_id: GoalId, *, attempt: str, now: datetime) -> tuple[NewJob, ...]:
    """Return the plan's jobs, in an order in which each comes after those it needs.

    `attempt` keeps ids apart when a goal is planned again. Raises ValueError if dependencies form a circle.
    """
    ids = {job.name: derived_id(JOB, goal_id, attempt, job.name) for job in plan.jobs}
    return tuple(NewJob(ids[job.name], _spec(plan, job, ids, now)) for job in _ordered(plan.jobs))


def _spec(plan: Plan, job: PlannedJob, ids: dict[str, JobId], now: datetime) -> JobSpec:
    gpu = job.gpu
    wanted = (gpu.gpu_type, *gpu.alternative_types)
    return JobSpec(
        name=_NOT_IN_NAMES.sub("-", job.name).strip("-.")[:_NAME_MAX] or "job",
        resources=ResourceRequest(
            gpu_types=tuple(gpu_type for gpu_type in wanted if gpu_type),
            gpu_count=gpu_count(job),
            node_count=gpu.nodes or 0,
            min_gpu_memory_bytes=gpu.min_memory_bytes or 0,
            exclude_gpu_types=gpu.exclude_types,
        ),
        command=job.command or "",
        image=job.image or "",
        template="" if job.command or job.image else job.template or job.intent.value,
        max_runtime_seconds=_runtime_seconds(plan, job, now),
        priority=_PRIORITIES[plan.constraints.priority] if plan.constraints.priority else JobPriority.NORMAL,
        depends_on=tuple(ids[name] for name in job.depends_on if name in ids),
    )


def budget_of(plan: Plan, goal: Goal) -> Decimal | None:
    """Return the stricter of the caller's cap and the total that the text names, or None without either."""
    said = plan.constraints.budget
    caps = [goal.budget_usd, said.amount_usd if said is not None and said.per is BudgetPeriod.TOTAL else None]
    return min((cap for cap in caps if cap is not None), default=None)


def gpu_count(job: PlannedJob) -> int:
    """Return the GPUs to reserve: what was said, or one when only "whatever is idle" or a model was said."""
    if job.gpu.count is not None:
        return job.gpu.count
    if job.gpu.nodes is not None and job.gpu.gpus_per_node is not None:
        return job.gpu.nodes * job.gpu.gpus_per_node
    return job.gpu.nodes or 1


def _runtime_seconds(plan: Plan, job: PlannedJob, now: datetime) -> int:
    """Return the time limit: what was said, cut at the deadline; 0 leaves it to the defaults."""
    if plan.constraints.deadline_at is None:
        return job.max_seconds or 0
    left = max(1, int((plan.constraints.deadline_at - now).total_seconds()))
    return min(job.max_seconds or left, left)


def _ordered(jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    names = {job.name for job in jobs}
    done: set[str] = set()
    ordered: list[PlannedJob] = []
    waiting = list(jobs)
    while waiting:
        ready = [job for job in waiting if all(name in done or name not in names for name in job.depends_on)]
        if not ready:
            raise ValueError(f"these jobs wait for each other: {', '.join(job.name for job in waiting)}")
        ordered.extend(ready)
        done.update(job.name for job in ready)
        waiting = [job for job in waiting if job.name not in done]
    return ordered
