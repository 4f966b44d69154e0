"""Ends runs, and with them the goals that have nothing else under way."""

from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.runs import recording
from control_plane.agents.orchestrator.runs.bounds import RESULT_CHARS_MAX, plain
from control_plane.agents.orchestrator.runs.moves import Finish
from control_plane.agents.orchestrator.runs.ports import GoalPursuit
from control_plane.agents.orchestrator.runs.view import RunView
from control_plane.fleet import lifecycle
from control_plane.model.agent import AgentStatus
from control_plane.model.diagnosis import Diagnosis, EvidenceItem, EvidenceKind, FaultDomain
from control_plane.model.goal import GoalState
from control_plane.model.job import Job
from control_plane.model.redaction import redact
from control_plane.model.run import EventType, RunState
from control_plane.store import audit, goals, jobs, run_events, runs
from control_plane.store.database import Tx

_GOAL_STATES = {
    RunState.SUCCEEDED: GoalState.SUCCEEDED,
    RunState.FAILED: GoalState.FAILED,
    RunState.LIMITED: GoalState.FAILED,
    RunState.STOPPED: GoalState.CANCELLED,
}


def end(tx: Tx, view: RunView, move: Finish, pursuit: GoalPursuit) -> bool:
    """End the run with its result, and its goal unless jobs of it go on."""
    current = runs.require(tx, view.run.id)
    if current.state.ended:
        return False
    result = plain(redact(move.result), RESULT_CHARS_MAX)
    reason = plain(redact(move.reason), 500)
    runs.set_state(tx, view.run.id, move.state, reason, result=result)  # first: the audit tells the state as it is then
    run_events.append(
        tx,
        view.run.id,
        EventType.RUN_FINISHED,
        reason or result.partition("\n")[0],
        data={"state": move.state.value, "result": result[:4_000], "reasoner": current.reasoner},
        evidence_ids=move.evidence_ids,
        tainted=current.tainted,
    )
    recording.show_status(tx, AgentStatus.IDLE, f"{view.run.id} has ended: {move.state.value}")
    _end_goal(tx, view, move.state, result, reason, pursuit)
    return False


def _end_goal(tx: Tx, view: RunView, state: RunState, result: str, reason: str, pursuit: GoalPursuit) -> None:
    if view.goal is None:
        return
    goal = goals.require(tx, view.goal.id)
    if goal.state.ended or any(not job.state.ended for job in jobs.of_goal(tx, goal.id, with_allocations=False)):
        return
    after = _GOAL_STATES[state]
    if after is not GoalState.SUCCEEDED:
        pursuit.withdraw(tx, goal.id, reason or "its run has ended")
    if not lifecycle.GOAL.allows(goal.state, after):
        return
    audit.append(
        tx,
        agent_name=NAME,
        action=f"goal.{after.value}",
        reasoning=reason or result.partition("\n")[0],
        outcome=after.value,
        goal_id=goal.id,
        user_id=goal.user_id,
    )
    goals.update(
        tx, goal.id, state=after, status_reason="" if after is GoalState.SUCCEEDED else reason or result, result=result
    )


def fallback_diagnosis(job: Job) -> Diagnosis:
    """Return what the books alone say about a failed job."""
    return Diagnosis(
        cause="UNKNOWN",
        summary=f"{job.spec.name} failed: {job.status_reason or 'no reason is recorded'}.",
        advice=f"Read its last lines: orquanta job logs {job.id}",
        fault=FaultDomain.UNKNOWN,
        confidence=0.0,
        evidence=(EvidenceItem(f"job:{job.id}", EvidenceKind.JOB, job.status_reason[:500], job.finished_at),),
    )
