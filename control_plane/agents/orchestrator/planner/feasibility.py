"""What cannot be done: budgets below any price, deadlines that have passed, counts that are not positive."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from control_plane.agents.orchestrator.planner.gpu import MEMORY_GB
from control_plane.agents.orchestrator.planner.places import ON_PREM
from control_plane.model.plan import (
    LAUNCH_INTENTS,
    BudgetPeriod,
    Constraints,
    Infeasible,
    InfeasibleCode,
    Intent,
    PlannedJob,
)

_SECONDS_PER_HOUR = 3600
_MEMORY_SLACK = Decimal("0.9")


def find_infeasible(
    intent: Intent, jobs: Sequence[PlannedJob], constraints: Constraints, now: datetime, floors: Mapping[str, Decimal]
) -> Infeasible | None:
    """Return why a plan cannot be met, or None. `floors` are lowest prices in US dollars per GPU-hour."""
    if intent not in LAUNCH_INTENTS and intent is not Intent.SCALE:
        return None
    return (
        _bad_count(intent, jobs)
        or _bad_memory(jobs)
        or _bad_deadline(constraints, now)
        or _bad_budget(jobs, constraints, floors)
    )


def _bad_count(intent: Intent, jobs: Sequence[PlannedJob]) -> Infeasible | None:
    for job in jobs:
        count = job.gpu.count
        if count is not None and (count < 0 or (count == 0 and intent is not Intent.SCALE)):
            return Infeasible(
                InfeasibleCode.GPU_COUNT_NOT_POSITIVE, f"{count} GPUs cannot run anything; ask for at least 1."
            )
    return None


def _bad_memory(jobs: Sequence[PlannedJob]) -> Infeasible | None:
    for job in jobs:
        wanted, model = job.gpu.min_memory_bytes, job.gpu.gpu_type
        sizes = MEMORY_GB.get(model or "")
        if (
            wanted is not None
            and sizes
            and not job.gpu.alternative_types
            and wanted * _MEMORY_SLACK > max(sizes) * 10**9
        ):
            return Infeasible(
                InfeasibleCode.GPU_MEMORY_TOO_SMALL,
                f"{model} has at most {max(sizes)} GB of memory, and {wanted // 10**9} GB are asked for.",
            )
    return None


def _bad_deadline(constraints: Constraints, now: datetime) -> Infeasible | None:
    deadline = constraints.deadline_at
    if deadline is None:
        return None
    if deadline <= now:
        return Infeasible(InfeasibleCode.DEADLINE_PASSED, f"The deadline {deadline:%Y-%m-%d %H:%M} UTC has passed.")
    start = max(now, constraints.start_at or now)
    if start >= deadline:
        return Infeasible(InfeasibleCode.DEADLINE_TOO_SHORT, "The start is not before the deadline.")
    return None


def _bad_budget(
    jobs: Sequence[PlannedJob], constraints: Constraints, floors: Mapping[str, Decimal]
) -> Infeasible | None:
    if ON_PREM in constraints.providers:
        return None
    budget, rate = constraints.budget, constraints.rate_cap
    if budget is not None:
        least = sum((_least_cost(job, floors) for job in jobs), Decimal(0))
        if least > budget.amount_usd:
            return Infeasible(
                InfeasibleCode.BUDGET_BELOW_FLOOR,
                f"At the lowest prices known this costs at least ${least:.2f}, more than the budget o"
                f"f ${budget.amount_usd:.2f}. "
                "Ask for fewer GPUs, a cheaper type or less time, or raise the budget.",
            )
    if rate is not None and rate.per in (BudgetPeriod.HOUR, BudgetPeriod.GPU_HOUR):
        return _bad_rate(jobs, rate.amount_usd, floors, per_gpu=rate.per is BudgetPeriod.GPU_HOUR)
    return None


def _bad_rate(
    jobs: Sequence[PlannedJob], cap: Decimal, floors: Mapping[str, Decimal], *, per_gpu: bool
) -> Infeasible | None:
    for job in jobs:
        least = _floor(job, floors) * (1 if per_gpu else job.gpu.count or 0)
        if least > cap:
            what = "one GPU-hour" if per_gpu else "one hour"
            return Infeasible(
                InfeasibleCode.BUDGET_BELOW_FLOOR,
                f"At the lowest prices known {what} costs at least ${least:.2f}, more than the cap of ${cap:.2f}.",
            )
    return None


def _least_cost(job: PlannedJob, floors: Mapping[str, Decimal]) -> Decimal:
    """Return the least a job can cost if it runs for as long as it may; nothing where that is not said."""
    if job.gpu.count is None or job.max_seconds is None:
        return Decimal(0)
    return _floor(job, floors) * job.gpu.count * Decimal(job.max_seconds) / _SECONDS_PER_HOUR


def _floor(job: PlannedJob, floors: Mapping[str, Decimal]) -> Decimal:
    models = [model for model in (job.gpu.gpu_type, *job.gpu.alternative_types) if model]
    known = [floors[model] for model in models if model in floors]
    if models and len(known) == len(models):
        return min(known)
    return Decimal(0) if models else min(floors.values(), default=Decimal(0))


def too_short(jobs: Sequence[PlannedJob], constraints: Constraints, now: datetime) -> timedelta | None:
    """Return by how much the longest chain of time limits overruns the deadline, or None."""
    if constraints.deadline_at is None:
        return None
    ends: dict[str, int] = {}
    for job in jobs:
        ends[job.name] = max((ends.get(name, 0) for name in job.depends_on), default=0) + (job.max_seconds or 0)
    start = max(now, constraints.start_at or now)
    over = start + timedelta(seconds=max(ends.values(), default=0)) - constraints.deadline_at
    return over if over > timedelta(0) else None
