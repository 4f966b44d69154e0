"""Which trace a goal or a job belongs to."""

from control_plane.model.ids import GoalId, JobId
from control_plane.store import traces
from control_plane.store.database import Tx
from control_plane.tracing.spans import root
from orquanta.tracing import TraceContext


def of_goal(tx: Tx, goal_id: GoalId) -> tuple[TraceContext, str]:
    """Return the context of a goal's own span, and its parent's span id, "" for none."""
    return root(goal_id, traces.caller(tx, goal_id))


def of_job(tx: Tx, job_id: JobId, goal_id: GoalId | None) -> tuple[TraceContext, str]:
    """Return the same of a job: in its goal's trace if it has one."""
    if goal_id is None:
        return root(job_id, traces.caller(tx, job_id))
    context, _ = of_goal(tx, goal_id)
    return context.child(job_id), context.span_id
