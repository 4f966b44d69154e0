"""Runs failed jobs of a goal again, by a launch like any other: proposed to the governor, within the goal's budget."""

from dataclasses import replace

from control_plane.agents.orchestrator.jobs import budget_of
from control_plane.agents.orchestrator.names import NAME
from control_plane.fleet import attempts
from control_plane.governor.governor import Governor
from control_plane.model.action import Action, ActionState, LaunchJobs, NewJob, Proposal
from control_plane.model.goal import Goal
from control_plane.model.ids import ACTION, JobId, derived_id
from control_plane.model.job import Job, JobSpec
from control_plane.model.run_replan import Replan, replan_from_json
from control_plane.model.run_step import Outcome, RunStep
from control_plane.model.tool import ToolStatus
from control_plane.store import goals, jobs, run_steps
from control_plane.store.database import Tx

_STATUS = {
    ActionState.DONE: ToolStatus.OK,
    ActionState.AWAITING_APPROVAL: ToolStatus.APPROVAL_REQUIRED,
    ActionState.DENIED: ToolStatus.DENIED,
}


def relaunch(tx: Tx, governor: Governor, goal: Goal, step: RunStep) -> Outcome:
    """Propose the jobs that a step wants run again; the same step proposes the same action.

    What is proposed keeps the programs of the plan and stays within what was agreed: it was in the plan before a line
    of a log was read, so it is not tainted.
    """
    replan = replan_from_json(step.intent.arguments_json)
    of_goal = jobs.of_goal(tx, goal.id, with_allocations=False)
    if goals.require(tx, goal.id).state.ended or any(attempts.was_stopped(job) for job in of_goal):
        return _outcome(replan, ToolStatus.DENIED, "a person has stopped jobs of the goal meanwhile")
    deadline = None if goal.plan is None else goal.plan.constraints.deadline_at
    if deadline is not None and deadline <= tx.now:  # it was written down before an outage
        return _outcome(replan, ToolStatus.DENIED, "the goal's deadline has passed meanwhile")
    places = attempts.replaced(of_goal, attempts.replans(run_steps.of_run(tx, step.run_id)))
    action = governor.propose_in(
        tx,
        Proposal(
            id=derived_id(ACTION, NAME, step.key),
            effect=LaunchJobs(
                _again(replan, of_goal, places), goal.id, None if goal.plan is None else budget_of(goal.plan, goal)
            ),
            proposer=NAME,
            reasoning=step.intent.reasoning,
            is_person=False,
            user_id=goal.user_id,
            goal_id=goal.id,
            run_id=step.run_id,
        ),
    )
    if action.state is ActionState.DONE:
        goals.update(tx, goal.id, status_reason=step.intent.reasoning)
    return _outcome(replan, _STATUS.get(action.state, ToolStatus.ERROR), action.outcome, action)


def _again(replan: Replan, of_goal: tuple[Job, ...], places: dict[JobId, JobId]) -> tuple[NewJob, ...]:
    known = {job.id: job for job in of_goal}
    after = dict(replan.jobs)
    return tuple(NewJob(new, _spec(replan, known[old], after, places)) for old, new in replan.jobs)


def _spec(replan: Replan, job: Job, after: dict[JobId, JobId], places: dict[JobId, JobId]) -> JobSpec:
    """Return the job's own spec, with what the remedy changes; it waits for the jobs that are there now."""
    needs = tuple(attempts.newest(one, places) for one in job.spec.depends_on)
    spec = replace(job.spec, depends_on=tuple(after.get(one, one) for one in needs))
    if job.id != replan.job_id:
        return spec
    return replace(spec, resources=replan.resources, max_runtime_seconds=replan.max_runtime_seconds)


def _outcome(replan: Replan, status: ToolStatus, text: str, action: Action | None = None) -> Outcome:
    return Outcome(
        status.value,
        {
            "outcome": text,
            "state": "" if action is None else action.state.value,
            "decision": [] if action is None else list(action.decision),
            "evidence_ids": list(replan.evidence_ids),
        },
        shown=text,
        evidence_id="" if action is None else f"action:{action.id}",
        action_id=None if action is None else action.id,
    )
