"""Goals, their plans and bills on the wire."""

from typing import Final

from control_plane.model.goal import Bill, BillLine, Goal, GoalState
from control_plane.model.ids import RunId
from control_plane.model.job import ResourceRequest
from control_plane.model.money import to_micros
from control_plane.model.plan import Budget, BudgetPeriod, Plan, PlannedJob
from control_plane.services.convert.jobs import resources
from control_plane.services.convert.scalars import timestamp, wire_enum
from orquanta.v1 import goal_pb2

GOAL_STATE: Final = wire_enum(GoalState, goal_pb2.GoalState.Value, "GOAL_STATE")


def goal(value: Goal, bill: Bill, run_id: RunId | None) -> goal_pb2.Goal:
    """Return a goal with its bill and the run that works on it."""
    return goal_pb2.Goal(
        id=value.id,
        user_id=value.user_id,
        user_email=value.user_email,
        text=value.text,
        state=GOAL_STATE[value.state],
        status_reason=value.status_reason,
        plan=None if value.plan is None else plan(value.plan),
        result=value.result,
        bill=_bill(bill),
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        version=value.version,
        run_id=run_id or "",
    )


def plan(value: Plan) -> goal_pb2.Plan:
    """Return a plan. What was not said is left unset."""
    constraints = value.constraints
    return goal_pb2.Plan(
        intent=value.intent.value,
        summary=value.summary,
        jobs=[_planned_job(job) for job in value.jobs],
        questions=[
            goal_pb2.Question(field=question.field, text=question.text, reason=question.reason.value)
            for question in value.questions
        ],
        refusal="" if value.refusal is None else value.refusal.reason,
        refusal_code="" if value.refusal is None else value.refusal.reason_code.value,
        infeasible="" if value.infeasible is None else value.infeasible.reason,
        budget_usd_micros=_total_micros(constraints.budget),
        budget_text=_budget_text(constraints.budget or constraints.rate_cap),
        deadline=timestamp(constraints.deadline_at),
        spot="" if constraints.spot is None else constraints.spot.value,
        providers=constraints.providers,
        regions=constraints.regions,
        priority="" if constraints.priority is None else constraints.priority.value,
        evidence=[
            goal_pb2.Evidence(field=words.field, text=words.text, start=words.start, end=words.end, source=words.source)
            for words in value.evidence
        ],
        planner=value.planner,
        plan_only=value.plan_only,
        notes=value.notes,
    )


def _planned_job(value: PlannedJob) -> goal_pb2.PlannedJob:
    gpu = value.gpu
    named = () if gpu.gpu_type is None else (gpu.gpu_type,)
    return goal_pb2.PlannedJob(
        name=value.name,
        intent=value.intent.value,
        resources=resources(
            ResourceRequest(
                gpu_types=(*named, *gpu.alternative_types),
                gpu_count=gpu.count or 0,
                node_count=gpu.nodes or 0,
                min_gpu_memory_bytes=gpu.min_memory_bytes or 0,
                exclude_gpu_types=gpu.exclude_types,
            )
        ),
        image=value.image or "",
        command=value.command or "",
        template=value.template or "",
        max_runtime_seconds=value.max_seconds or 0,
        depends_on=value.depends_on,
    )


def _total_micros(budget: Budget | None) -> int | None:
    """A budget per hour or day is no total; it is in `budget_text` alone."""
    if budget is None or budget.per is not BudgetPeriod.TOTAL:
        return None
    return to_micros(budget.amount_usd)


def _budget_text(budget: Budget | None) -> str:
    if budget is None:
        return ""
    period = "" if budget.per is BudgetPeriod.TOTAL else f" per {budget.per.value.replace('_', '-')}"
    return f"{budget.amount} {budget.currency}{period}"


def _bill(value: Bill) -> goal_pb2.Bill:
    return goal_pb2.Bill(
        cost_usd_micros=to_micros(value.cost_usd),
        reserved_usd_micros=to_micros(value.reserved_usd),
        gpu_seconds=value.gpu_seconds,
        waived_gpu_seconds=value.waived_gpu_seconds,
        lines=[_bill_line(line) for line in value.lines],
    )


def _bill_line(value: BillLine) -> goal_pb2.BillLine:
    return goal_pb2.BillLine(
        job_id=value.job_id,
        job_name=value.job_name,
        epoch=value.epoch,
        gpu_type=value.gpu_type,
        gpu_count=value.gpu_count,
        gpu_seconds=value.gpu_seconds,
        price_usd_micros_per_gpu_hour=to_micros(value.price_usd_per_gpu_hour),
        cost_usd_micros=to_micros(value.cost_usd),
        waived=value.waived,
        node_ids=value.node_ids,
    )
