"""Goals, plans and bills from the wire."""

from orquanta.convert.jobs import read_job, read_resources
from orquanta.convert.scalars import read_enum, read_time, read_usd
from orquanta.types.goals import (
    Bill,
    BillLine,
    Evidence,
    Goal,
    GoalState,
    GoalView,
    Plan,
    PlannedJob,
    Preview,
    Question,
)
from orquanta.v1 import goal_pb2 as pb


def read_goal(message: pb.Goal) -> Goal:
    """A goal."""
    return Goal(
        id=message.id,
        user_id=message.user_id,
        user_email=message.user_email,
        text=message.text,
        state=read_enum(GoalState, pb.GoalState, message.state),
        status_reason=message.status_reason,
        plan=read_plan(message.plan) if message.HasField("plan") else None,
        result=message.result,
        bill=read_bill(message.bill),
        created_at=read_time(message.created_at),
        updated_at=read_time(message.updated_at),
        version=message.version,
        run_id=message.run_id,
    )


def read_goal_view(message: pb.GetGoalResponse | pb.WatchGoalResponse) -> GoalView:
    """A goal with its jobs."""
    return GoalView(goal=read_goal(message.goal), jobs=tuple(read_job(job) for job in message.jobs))


def read_preview(message: pb.PreviewGoalResponse) -> Preview:
    """How a text would be understood."""
    return Preview(plan=read_plan(message.plan), estimate_usd=read_usd(message.estimate_usd_micros))


def read_plan(message: pb.Plan) -> Plan:
    """A goal as it was understood."""
    return Plan(
        intent=message.intent,
        summary=message.summary,
        jobs=tuple(_read_planned_job(job) for job in message.jobs),
        questions=tuple(Question(field=q.field, text=q.text, reason=q.reason) for q in message.questions),
        refusal=message.refusal,
        refusal_code=message.refusal_code,
        infeasible=message.infeasible,
        budget_usd=read_usd(message.budget_usd_micros) if message.HasField("budget_usd_micros") else None,
        budget_text=message.budget_text,
        deadline=read_time(message.deadline),
        spot=message.spot,
        providers=tuple(message.providers),
        regions=tuple(message.regions),
        priority=message.priority,
        evidence=tuple(
            Evidence(field=e.field, text=e.text, start=e.start, end=e.end, source=e.source) for e in message.evidence
        ),
        planner=message.planner,
        plan_only=message.plan_only,
        notes=tuple(message.notes),
    )


def _read_planned_job(message: pb.PlannedJob) -> PlannedJob:
    return PlannedJob(
        name=message.name,
        intent=message.intent,
        resources=read_resources(message.resources),
        image=message.image,
        command=message.command,
        template=message.template,
        max_runtime_seconds=message.max_runtime_seconds,
        depends_on=tuple(message.depends_on),
    )


def read_bill(message: pb.Bill) -> Bill:
    """What a goal came to."""
    return Bill(
        cost_usd=read_usd(message.cost_usd_micros),
        reserved_usd=read_usd(message.reserved_usd_micros),
        gpu_seconds=message.gpu_seconds,
        waived_gpu_seconds=message.waived_gpu_seconds,
        lines=tuple(_read_bill_line(line) for line in message.lines),
    )


def _read_bill_line(message: pb.BillLine) -> BillLine:
    return BillLine(
        job_id=message.job_id,
        job_name=message.job_name,
        epoch=message.epoch,
        gpu_type=message.gpu_type,
        gpu_count=message.gpu_count,
        gpu_seconds=message.gpu_seconds,
        price_usd_per_gpu_hour=read_usd(message.price_usd_micros_per_gpu_hour),
        cost_usd=read_usd(message.cost_usd_micros),
        waived=message.waived,
        node_ids=tuple(message.node_ids),
    )
