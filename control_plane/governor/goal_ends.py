"""Ends goals whose jobs have all ended: at once, or when the goal's run has had its say about a job that failed."""

from datetime import timedelta
from typing import Final

from control_plane.fleet import attempts
from control_plane.governor.recording import record
from control_plane.model.action import ActionState, LaunchJobs
from control_plane.model.goal import Goal, GoalState
from control_plane.model.ids import GoalId
from control_plane.model.job import Job, JobState
from control_plane.model.run_replan import Replan
from control_plane.store import actions, audit, goals, jobs, run_steps, runs
from control_plane.store.database import Tx
from control_plane.store.readable import readable

DECIDED_WITHIN: Final = timedelta(minutes=15)
"""A run has this long to decide about failed jobs when nothing else is under way; then the goal ends without it."""

ANSWERED_WITHIN: Final = timedelta(hours=25)
"""The same for a question about a failed job, which the run itself ends after 24 hours."""

_AT_ONCE = 100


def close_if_done(tx: Tx, goal_id: GoalId, *, left_over: str = "") -> bool:
    """End a goal whose jobs have all ended, and tell whether it was ended.

    A goal with a failed job is left to its run, which may run the job again, unless it is `left_over`: then that text
    says why nobody waits for the run any longer.
    """
    goal = goals.require(tx, goal_id)
    if goal.state.ended:
        return False
    known = jobs.of_goal(tx, goal_id, with_allocations=False)
    stopped = any(attempts.was_stopped(job) for job in known)
    if stopped:
        _withdraw(tx, goal_id, "a person has stopped jobs of its goal")
    if not all(job.state.ended for job in known):
        return False
    of_goal = jobs.of_goal(tx, goal_id)
    run = runs.of_goal(tx, goal_id)
    replans = () if run is None else attempts.replans(run_steps.of_run(tx, run.id))
    current = attempts.current(of_goal, attempts.replaced(of_goal, replans))
    failed = [job for job in current if job.state is JobState.FAILED]
    if failed and not stopped and not left_over and _run_decides(tx, goal_id):
        if goal.state is GoalState.RUNNING:
            reason = f"{failed[0].spec.name} failed: {failed[0].status_reason}; what can be done about it is looked at"
            goals.update(tx, goal_id, status_reason=reason)
        return False
    _end(tx, goal, of_goal, current, replans, left_over)
    return True


def has_left_over(tx: Tx) -> bool:
    """Tell whether `close_left_over` may have something to do."""
    return bool(_quiet(tx))


def close_left_over(tx: Tx) -> int:
    """End the goals about whose failed jobs no run has decided in time, whatever keeps it, and return how many."""
    text = "nothing was tried in its place, because its run did not decide in time: it is paused or held up"

    def close(goal_id: GoalId) -> bool:
        with tx.savepoint():
            return close_if_done(tx, goal_id, left_over=text)

    return sum(readable(tx, _quiet(tx), close, "a goal to end, or one of its jobs"))


def _quiet(tx: Tx) -> tuple[GoalId, ...]:
    found = (
        *goals.quiet(tx, GoalState.RUNNING, tx.now - DECIDED_WITHIN, limit=_AT_ONCE),
        *goals.quiet(tx, GoalState.NEEDS_INPUT, tx.now - ANSWERED_WITHIN, limit=_AT_ONCE),
    )
    return tuple(one for one in found if not actions.awaiting(tx, one))


def _run_decides(tx: Tx, goal_id: GoalId) -> bool:
    run = runs.of_goal(tx, goal_id)
    book = None if run is None else runs.book(tx, run.id)
    return book is not None and not book.run.state.ended and not book.stop_reason


def _withdraw(tx: Tx, goal_id: GoalId, reason: str) -> None:
    """Let nobody approve a launch any more that is not to be: jobs of its goal were stopped, or the goal has ended."""
    for action in actions.awaiting(tx, goal_id):
        if isinstance(action.effect, LaunchJobs):
            record(tx, actions.update(tx, action.id, ActionState.SUPERSEDED, outcome=reason), reason)


def _end(
    tx: Tx, goal: Goal, of_goal: tuple[Job, ...], current: tuple[Job, ...], replans: tuple[Replan, ...], left_over: str
) -> None:
    failed = [job for job in current if job.state is JobState.FAILED]
    if all(job.state is JobState.SUCCEEDED for job in current):
        again = len(of_goal) - len(current)
        state = GoalState.SUCCEEDED
        reason = "every job succeeded" if not again else "every job succeeded, after failed ones were run again"
    elif failed:
        state, reason = GoalState.FAILED, f"{failed[0].spec.name} failed: {failed[0].status_reason}"
        reason += f"; {left_over}" if left_over else ""
    else:
        state, reason = GoalState.CANCELLED, "its jobs were cancelled"
    _withdraw(tx, goal.id, f"its goal has ended: {state.value}")
    lines = [*attempts.told(of_goal, replans), attempts.cost(of_goal)]
    goals.update(tx, goal.id, state=state, status_reason=reason, result="\n".join(lines))
    audit.append(
        tx,
        agent_name="master_orchestrator",
        action=f"goal.{state.value}",
        reasoning=reason,
        outcome=state.value,
        goal_id=goal.id,
        user_id=goal.user_id,
    )
