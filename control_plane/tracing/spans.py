"""From the books to spans. Ids follow from what a span is about, so that telling of it twice is telling of it once."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from control_plane.model.action import Action, ActionState
from control_plane.model.goal import Goal, GoalState
from control_plane.model.job import Allocation, AllocationMember, ExitReason, Job, JobState
from control_plane.model.run_step import RunStep
from control_plane.tracing.span import Span, Value
from orquanta.tracing import TraceContext

_FAILED_ACTIONS = (ActionState.FAILED, ActionState.DENIED)


def root(item_id: str, caller: TraceContext | None) -> tuple[TraceContext, str]:
    """Return the context of a goal's or a job's own span, and its parent: what its submitter was in, if they said."""
    if caller is None:
        return TraceContext.named(item_id), ""
    return caller.child(item_id), caller.span_id


def of_goal(
    goal: Goal, context: TraceContext, parent: str, steps: Sequence[RunStep], actions: Sequence[Action]
) -> Iterator[Span]:
    """Yield the spans of a goal that has ended: itself, the steps of its run, what was proposed for it."""
    error = goal.status_reason if goal.state is GoalState.FAILED else ""
    attributes = {"orquanta.goal.id": goal.id, "orquanta.goal.state": goal.state.value}
    yield Span("goal", context, parent, goal.created_at, goal.updated_at, attributes, error)
    for step in steps:
        if step.outcome is not None and step.finished_at is not None:
            yield Span(
                f"step {step.intent.kind.value}",
                context.child(f"step/{step.number}"),
                context.span_id,
                step.started_at,
                step.finished_at,
                {"orquanta.step.name": step.intent.name, "orquanta.step.status": step.outcome.status},
            )
    for action in actions:
        if action.job_id is None:
            yield _of_action(action, context)


def of_job(job: Job, context: TraceContext, parent: str, actions: Sequence[Action]) -> Iterator[Span]:
    """Yield the spans of a job that has ended: itself, waits, attempts, what each host ran, what was proposed."""
    ended_at = job.finished_at or job.created_at
    attributes: dict[str, Value] = {
        "orquanta.job.id": job.id,
        "orquanta.job.state": job.state.value,
        "orquanta.job.attempts": job.epoch,
        "orquanta.job.gpus": job.spec.resources.gpu_count,
    }
    error = job.status_reason if job.state is JobState.FAILED else ""
    yield Span("job", context, parent, job.created_at, ended_at, attributes, error)
    waited_since: datetime = job.created_at
    for attempt in job.allocations:
        name = f"attempt/{attempt.epoch}"
        placed_at = max(waited_since, attempt.created_at)
        yield Span("queue", context.child(f"{name}/queue"), context.span_id, waited_since, placed_at)
        yield from _of_attempt(attempt, context.child(name), context.span_id, ended_at)
        waited_since = attempt.ended_at or ended_at
    for action in actions:
        if action.job_id == job.id:
            yield _of_action(action, context)


def _of_attempt(attempt: Allocation, context: TraceContext, parent: str, until: datetime) -> Iterator[Span]:
    ended_at = attempt.ended_at or until
    attributes: dict[str, Value] = {
        "orquanta.allocation.id": attempt.id,
        "orquanta.attempt": attempt.epoch,
        "orquanta.gpu.type": attempt.gpu_type,
        "orquanta.gpu.count": attempt.gpu_count,
    }
    yield Span("attempt", context, parent, attempt.created_at, ended_at, attributes)
    for member in attempt.members:
        if member.started_at is not None and member.ended_at is not None:
            yield _of_member(member, context)


def _of_member(member: AllocationMember, context: TraceContext) -> Span:
    assert member.started_at is not None
    assert member.ended_at is not None
    attributes: dict[str, Value] = {
        "host.id": member.node_id,
        "host.name": member.node_name,
        "orquanta.rank": member.rank,
        "orquanta.exit.reason": member.exit_reason.value if member.exit_reason else "",
    }
    if member.exit_code is not None:
        attributes["process.exit.code"] = member.exit_code
    well = member.exit_reason is ExitReason.EXITED and member.exit_code == 0
    error = "" if well else attributes["orquanta.exit.reason"]
    return Span(
        "run on host",
        context.child(f"rank/{member.rank}"),
        context.span_id,
        member.started_at,
        max(member.started_at, member.ended_at),
        attributes,
        str(error),
    )


def _of_action(action: Action, context: TraceContext) -> Span:
    attributes = {
        "orquanta.action.id": action.id,
        "orquanta.action.state": action.state.value,
        "orquanta.action.proposer": "person" if action.is_person else action.proposer,
        "orquanta.policy.version": action.policy_version,
    }
    return Span(
        f"governor {action.kind}",
        context.child(f"action/{action.id}"),
        context.span_id,
        action.created_at,
        max(action.created_at, action.finished_at or action.created_at),
        attributes,
        action.outcome if action.state in _FAILED_ACTIONS else "",
    )
