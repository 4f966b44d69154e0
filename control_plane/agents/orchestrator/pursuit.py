"""Carries out what code has planned for a goal: ask, refuse, end, propose its jobs, or leave it to its run."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from graphlib import TopologicalSorter

from control_plane.agents.orchestrator.jobs import budget_of, jobs_of
from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.relaunch import relaunch
from control_plane.agents.orchestrator.replies import NOT_YET, UNCLEAR, reply
from control_plane.agents.orchestrator.runs import begin
from control_plane.agents.orchestrator.runs.state import RUN_INTENTS
from control_plane.agents.orchestrator.zones import zone_of
from control_plane.errors import PreconditionFailed, ResourceExhausted
from control_plane.fleet.prices import PriceTable
from control_plane.governor.governor import Governor, denial_error
from control_plane.model.action import ActionState, LaunchJobs, Proposal, StopJob
from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import ACTION, GoalId, JobId, derived_id
from control_plane.model.job import Job, JobState
from control_plane.model.plan import Intent, Plan
from control_plane.model.run import RunUsage
from control_plane.model.run_step import Outcome, RunStep
from control_plane.store import actions, audit, goals, job_names, jobs, runs
from control_plane.store.database import Tx
from control_plane.store.jobs import JobFilter
from control_plane.store.pages import PageRequest

_UNENDED = tuple(state for state in JobState if not state.ended)
_CANCELLED_AT_ONCE_MAX = 200  # each is an action of its own, all in one transaction


class Pursuit:
    """Lets planned goals go as far as they can. With `run_limits`, goals have runs; without, plain answers."""

    def __init__(self, governor: Governor, *, fx_usd: Mapping[str, Decimal], run_limits: RunUsage | None) -> None:
        self._governor = governor
        self._fx_usd = fx_usd
        self._run_limits = run_limits

    def agree(self, goal: Goal, said: object, model: str) -> Plan:
        """Return the goal's plan with the doubts of a model added. Raises LookupError for a goal without a plan."""
        if goal.plan is None:
            raise LookupError(f"goal {goal.id} has no plan")
        # Its patterns take half of a cold start to compile: only who has a model waits for them.
        from control_plane.agents.orchestrator.planner.cross_check import cross_check  # noqa: PLC0415 - see above
        from control_plane.agents.orchestrator.planner.model_reading import Terms, read_reply  # noqa: PLC0415 - as well

        terms = Terms(now=goal.created_at, timezone=zone_of(goal.timezone), fx_usd=self._fx_usd)
        reading = read_reply(said, goal.text, terms)
        answered = frozenset(name for name, _ in goal.answers)
        return cross_check(goal.plan, reading, model=model, answered=answered)

    def pursue(self, tx: Tx, principal: Principal, goal_id: GoalId, plan: Plan, *, attempt: str) -> Goal:
        """Let a freshly planned goal go as far as it can.

        `principal` is who spoke last; the jobs are the owner's, who pays for them.
        """
        goal = goals.update(tx, goal_id, state=GoalState.PLANNING, plan=plan, status_reason="")
        if self._run_limits is not None and runs.get(tx, begin.run_id_of(goal_id)) is not None:
            begin.tell_plan(tx, begin.run_id_of(goal_id), plan)
        blocked = self._blocked(tx, principal, goal, plan)
        if blocked is not None:
            return blocked
        if plan.intent is Intent.CANCEL:
            return self._cancel_targets(tx, principal, goal_id, plan)
        if plan.intent is Intent.AMBIGUOUS:
            return self._end(tx, principal, goal_id, GoalState.FAILED, UNCLEAR)
        if self._run_limits is not None and plan.intent in RUN_INTENTS:
            begin.begin_working(tx, goal, plan, self._run_limits)
            return goals.require(tx, goal_id)
        if plan.intent in NOT_YET:
            return self._end(tx, principal, goal_id, GoalState.FAILED, NOT_YET[plan.intent])
        if not plan.jobs:
            return self._end(tx, principal, goal_id, GoalState.SUCCEEDED, reply(tx, principal, plan))
        return self._launch(tx, principal, goal, plan, attempt=attempt)

    def _blocked(self, tx: Tx, principal: Principal, goal: Goal, plan: Plan) -> Goal | None:
        """End the goal, or ask, where its plan must not or cannot be carried out; None if nothing is in the way."""
        if plan.refusal is not None:
            return self._end(tx, principal, goal.id, GoalState.REFUSED, plan.refusal.reason)
        if plan.questions:
            return self._ask(tx, goal, plan)
        if plan.infeasible is not None:
            return self._end(tx, principal, goal.id, GoalState.FAILED, plan.infeasible.reason)
        if plan.plan_only:
            return self._end(tx, principal, goal.id, GoalState.SUCCEEDED, f"plan only, nothing was run: {plan.summary}")
        return None

    def withdraw(self, tx: Tx, goal_id: GoalId, reason: str) -> None:
        """End the goal's actions that still wait for an approval."""
        for action in actions.awaiting(tx, goal_id):
            self._governor.withdraw(tx, action, reason)

    def _ask(self, tx: Tx, goal: Goal, plan: Plan) -> Goal:
        if self._run_limits is not None:
            begin.ask(tx, goal, plan, self._run_limits)
        text = " ".join(question.text for question in plan.questions)
        return goals.update(tx, goal.id, state=GoalState.NEEDS_INPUT, status_reason=text)

    def _launch(self, tx: Tx, principal: Principal, goal: Goal, plan: Plan, *, attempt: str) -> Goal:
        try:
            new = jobs_of(plan, goal.id, attempt=attempt, now=tx.now)
        except ValueError as error:
            return self._end(tx, principal, goal.id, GoalState.FAILED, str(error))
        action = self._governor.propose_in(
            tx,
            Proposal(
                id=derived_id(ACTION, NAME, goal.id, attempt),
                effect=LaunchJobs(new, goal.id, budget_of(plan, goal)),
                proposer=NAME,
                reasoning=plan.summary,
                is_person=False,
                user_id=goal.user_id,
                goal_id=goal.id,
                run_id=None if self._run_limits is None else begin.run_id_of(goal.id),
            ),
        )
        if self._run_limits is not None:
            waits = (action.id,) if action.state is ActionState.AWAITING_APPROVAL else ()
            begin.begin_watching(tx, goal, self._run_limits, waits, plan=plan, action=action)
        return goals.require(tx, goal.id)

    def _cancel_targets(self, tx: Tx, principal: Principal, goal_id: GoalId, plan: Plan) -> Goal:
        """Stop the jobs that a goal names, if they are its owner's own.

        An operator may stop anybody's by a goal of their own, but lends no rights to the goal of somebody else.
        """
        goal = goals.require(tx, goal_id)
        owner = goal.user_id
        anybodys = principal.user_id == owner and principal.role.allows(Role.OPERATOR)
        if plan.targets.all_of_mine:
            return self._cancel_all(tx, principal, goal)
        lines = []
        denied = False
        found = list(_named_jobs(tx, goal, plan))
        for text, job in found:
            if job is None:
                lines.append(f"there is no job {text}")
            elif job.user_id != owner and not anybodys:
                lines.append(f"{text} is not yours; its owner or an operator can cancel it")
            elif job.state.ended:
                lines.append(f"{text} has ended already: {job.state.value}")
            else:
                try:
                    lines.append(self.stop(tx, principal, goal_id, job.id, f"goal {goal_id} asked for it", goal_id))
                except (PreconditionFailed, ResourceExhausted) as error:  # the denial is on record; say why
                    denied = True
                    lines.append(f"{text}: {error.message}")
        done = any(job is not None for _, job in found) and not denied
        result = "\n".join(lines) or "name the job to cancel; list them with: orquanta job list"
        return self._end(tx, principal, goal_id, GoalState.SUCCEEDED if done else GoalState.FAILED, result)

    def _cancel_all(self, tx: Tx, principal: Principal, goal: Goal) -> Goal:
        """Stop every job of the goal's owner that has not ended, each as an act of its own, and tell of each."""
        which = JobFilter(states=_UNENDED, user_id=goal.user_id)
        found = jobs.page(tx, which, PageRequest(_CANCELLED_AT_ONCE_MAX))
        lines, done = [], False
        for job in _last_first(found.items):
            current = jobs.require(tx, job.id, with_allocations=False)
            if current.state.ended:
                lines.append(f"{job.spec.name} ({job.id}) is {current.state.value} with what it waited for")
            elif current.cancel_requested:
                lines.append(f"{job.spec.name} ({job.id}) is being stopped already")
            else:
                try:
                    reason = f"goal {goal.id} asked for it"
                    lines.append(self.stop(tx, principal, goal.id, job.id, reason, goal.id))
                except (PreconditionFailed, ResourceExhausted) as denied:
                    lines.append(f"{job.spec.name} ({job.id}) goes on: {denied}")
                    continue
            done = True
        if not found.items:
            return self._end(tx, principal, goal.id, GoalState.SUCCEEDED, "you have no job that has not ended")
        if found.next_token:
            lines.append(f"these are {len(lines)}; there are more: ask again for the rest")
        state = GoalState.SUCCEEDED if done else GoalState.FAILED
        return self._end(tx, principal, goal.id, state, "\n".join(lines))

    @property
    def prices(self) -> PriceTable:
        """What GPUs cost."""
        return self._governor.prices

    def relaunch(self, tx: Tx, goal: Goal, step: RunStep) -> Outcome:
        """Propose the jobs that a step of the goal's run wants run again; the same step proposes the same action."""
        return relaunch(tx, self._governor, goal, step)

    def stop(self, tx: Tx, principal: Principal, goal_id: GoalId, job_id: JobId, reason: str, request_id: str) -> str:
        """Propose to stop a job as the act of who asks; return what came of it. Raises the error of a denial."""
        action = self._governor.propose_in(
            tx,
            Proposal(
                id=derived_id(ACTION, principal.user_id, "stop", job_id, request_id),
                effect=StopJob(job_id, reason),
                proposer=principal.email,
                reasoning=reason,
                is_person=not principal.for_agent,
                user_id=principal.user_id,
                goal_id=goal_id,
                job_id=job_id,
            ),
        )
        if action.state in (ActionState.DENIED, ActionState.FAILED):
            raise denial_error(action)
        if action.state is ActionState.AWAITING_APPROVAL:
            return f"{action.summary}: needs approval: orquanta action approve {action.id}"
        return action.outcome

    def _end(self, tx: Tx, principal: Principal, goal_id: GoalId, state: GoalState, text: str) -> Goal:
        record(tx, goal_id, principal, f"goal.{state.value}", text, {})
        reason = text if state is not GoalState.SUCCEEDED else ""
        return goals.update(tx, goal_id, state=state, status_reason=reason, result=text)


def record(
    tx: Tx, goal_id: GoalId, principal: Principal, action: str, reasoning: str, payload: Mapping[str, object]
) -> None:
    """Write into the audit what a person did to a goal, or what became of it."""
    audit.append(
        tx,
        agent_name=principal.email if action in ("goal.submitted", "goal.answered", "goal.cancel") else NAME,
        action=action,
        reasoning=reasoning,
        outcome=action.partition(".")[2],
        payload=payload,
        goal_id=goal_id,
        user_id=principal.user_id,
    )


def _named_jobs(tx: Tx, goal: Goal, plan: Plan) -> Iterable[tuple[str, Job | None]]:
    """Return what each name of a job stands for: an id, or the name of the owner's newest unended job."""
    for text in plan.targets.job_ids:
        job = jobs.get(tx, JobId(text), with_allocations=False)
        if job is None:
            named = job_names.newest(tx, text, limit=1, user_id=goal.user_id, unended=True)
            job = jobs.get(tx, named[0], with_allocations=False) if named else None
        yield text, job


def _last_first(found: Iterable[Job]) -> Iterable[Job]:
    """Order jobs so that stopping one cancels none that comes behind it, for another reason than that asked for."""
    by_id = {job.id: job for job in found}
    order = TopologicalSorter({job.id: job.spec.depends_on for job in by_id.values()}).static_order()
    return [by_id[job_id] for job_id in reversed(tuple(order)) if job_id in by_id]
