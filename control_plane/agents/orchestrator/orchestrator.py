"""The orchestrator: turns a goal in plain words into a plan, and proposes the plan's jobs to the governor."""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial

from control_plane.agents.orchestrator import known, run_answers
from control_plane.agents.orchestrator.fleet_size import FleetSize
from control_plane.agents.orchestrator.jobs import jobs_of
from control_plane.agents.orchestrator.names import NAME
from control_plane.agents.orchestrator.planning import Planner, plan_by_rules
from control_plane.agents.orchestrator.pursuit import Pursuit, record
from control_plane.agents.orchestrator.runs import begin
from control_plane.agents.orchestrator.zones import zone_of
from control_plane.clock import Clock
from control_plane.errors import Conflict, InvalidArgument, PermissionDenied, PreconditionFailed, ResourceExhausted
from control_plane.fleet.cost import estimate_usd
from control_plane.governor.defaults import JobDefaults, complete
from control_plane.governor.governor import Governor
from control_plane.model.action import LaunchJobs
from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GOAL, GoalId, UserId, derived_id
from control_plane.model.plan import Plan
from control_plane.model.run import RunUsage
from control_plane.reasoning.contract import Reasoner
from control_plane.store import agents, goals, jobs, requests
from control_plane.store.database import Store, Tx

_PLANS_AT_ONCE = 2  # planning holds the interpreter, which heartbeats need as well
_PLANS_WAITING_MAX = 64

# What one unit of a currency is worth in US dollars. Set your own with the setting `fx_usd`.
DEFAULT_FX_USD: Mapping[str, Decimal] = {
    "USD": Decimal(1),
    "EUR": Decimal("1.10"),
    "GBP": Decimal("1.30"),
    "CNY": Decimal("0.14"),
    "JPY": Decimal("0.0065"),
}


class Orchestrator:
    """Plans goals. What it wants done, it proposes; the governor decides.

    With `run_limits`, each goal that is not refused has a reasoning run; with a `reasoner` as well, a model reads the
    goal first. `answer_seconds` is how long whoever asks waits for an answer that needs no model: for a question that
    rules can answer, that is the time of a few reads.
    """

    def __init__(
        self,
        store: Store,
        governor: Governor,
        *,
        defaults: JobDefaults,
        clock: Clock,
        fx_usd: Mapping[str, Decimal] = DEFAULT_FX_USD,
        planner: Planner = plan_by_rules,
        reasoner: Reasoner | None = None,
        run_limits: RunUsage | None = None,
        answer_seconds: float = 0.0,
    ) -> None:
        self._store = store
        self._governor = governor
        self._defaults = defaults
        self._clock = clock
        self._fx_usd = fx_usd
        self._planner = planner
        self._reasoner = reasoner
        self._run_limits = run_limits
        self._answer_seconds = answer_seconds
        self.pursuit = Pursuit(governor, fx_usd=fx_usd, run_limits=run_limits)
        self._fleet_size = FleetSize(store, clock)
        self._planning = asyncio.Semaphore(_PLANS_AT_ONCE)
        self._plans_waiting = 0
        self._floor_prices = {price.gpu_type: price.usd_per_gpu_hour for price in governor.prices.prices}

    async def start(self) -> None:
        """Register, so that people see the orchestrator among the agents."""
        await self._store.write(lambda tx: agents.register(tx, NAME))

    async def create_goal(
        self, principal: Principal, *, text: str, request_id: str, budget_usd: Decimal | None, timezone: str
    ) -> Goal:
        """Record, plan and propose a goal in one transaction. The same request id returns the same goal.

        Raises InvalidArgument for a text that cannot be planned, AlreadyExists for a reused request id,
        ResourceExhausted when too many are being planned.
        """
        now = self._clock.now()
        plan = await self._plan(principal.user_id, text, timezone, now, {})
        goal_id = derived_id(GOAL, principal.user_id, "CreateGoal", request_id)
        fingerprint = hashlib.sha256(repr((text, budget_usd, timezone)).encode()).hexdigest()

        def write(tx: Tx) -> Goal:
            if not _is_first(tx, principal, "CreateGoal", request_id, fingerprint, goal_id):
                return goals.require(tx, goal_id)
            goals.insert(tx, _new_goal(goal_id, principal, text, timezone, budget_usd, tx.now))
            record(tx, goal_id, principal, "goal.submitted", "a person asked for it", {"text": text})
            return self._pursue(tx, principal, goal_id, plan, attempt="1")

        return await self._answered(await self._store.write(write))

    async def _answered(self, goal: Goal) -> Goal:
        """Wait a moment for what rules answer at once; return the goal as it is then."""
        by_model = self._reasoner is not None and self._reasoner.available
        if goal.state is not GoalState.PLANNING or by_model or not self._answer_seconds:
            return goal
        try:
            async with asyncio.timeout(self._answer_seconds):
                while goal.state is GoalState.PLANNING:
                    seen = self._store.changes.newest
                    goal = await self._store.read(partial(goals.require, goal_id=goal.id))
                    if goal.state is GoalState.PLANNING:
                        await self._store.changes.wait_beyond(seen)
        except TimeoutError:
            pass
        return goal

    async def preview(self, principal: Principal, text: str, *, timezone: str) -> Plan:
        """Return how a goal of this text would be understood, names of the fleet included, and record nothing."""
        return await self._plan(principal.user_id, text, timezone, self._clock.now(), {})

    def estimate_usd(self, plan: Plan) -> Decimal:
        """Return the most the plan's jobs may cost."""
        if not plan.jobs or plan.refusal or plan.infeasible:
            return Decimal(0)
        launch = LaunchJobs(jobs_of(plan, GoalId("g-preview"), attempt="1", now=self._clock.now()))
        return sum(
            (estimate_usd(job.spec, self._governor.prices) for job in complete(launch, self._defaults).jobs), Decimal(0)
        )

    async def answer(self, principal: Principal, goal_id: GoalId, answers: Mapping[str, str], request_id: str) -> Goal:
        """Plan a goal again with a person's answers, or let it go on where its run asked about a failed job.

        Repeating the same answers changes nothing.

        Raises NotFound, PermissionDenied, PreconditionFailed if the goal asks nothing, InvalidArgument.
        """
        goal, of_run = await self._store.read(lambda tx: _asking(tx, goal_id))
        _check_owner(principal, goal)
        together = {**dict(goal.answers), **answers}
        fingerprint = hashlib.sha256(repr((goal_id, sorted(answers.items()))).encode()).hexdigest()
        now = self._clock.now()
        plan = goal.plan if of_run else await self._plan(goal.user_id, goal.text, goal.timezone, now, together)

        def write(tx: Tx) -> Goal:
            if not _is_first(tx, principal, "AnswerGoal", request_id, fingerprint, goal_id):
                return goals.require(tx, goal_id)
            current = goals.require(tx, goal_id)
            if current.state is not GoalState.NEEDS_INPUT:
                raise PreconditionFailed(
                    f"goal {goal_id} asks nothing at the moment (its state is {current.state.value})",
                    reason="GOAL_ASKS_NOTHING",
                )
            if current.version != goal.version:
                raise Conflict(f"somebody else has just answered goal {goal_id}; look at it again")
            asked = {question.field for question in current.plan.questions} if current.plan else set()
            unknown = sorted(set(answers) - asked)
            if unknown:
                raise InvalidArgument(
                    f"goal {goal_id} did not ask for {', '.join(unknown)}; it asks for {', '.join(sorted(asked))}",
                    reason="ANSWER_UNKNOWN",
                )
            record(tx, goal_id, principal, "goal.answered", "a person answered", dict(answers))
            if of_run or plan is None:
                return run_answers.take_answer(tx, current, answers)
            goals.update(tx, goal_id, answers=together)
            return self._pursue(tx, principal, goal_id, plan, attempt=str(current.version))

        return await self._store.write(write)

    async def cancel(self, principal: Principal, goal_id: GoalId, *, reason: str, request_id: str) -> Goal:
        """Stop every job of a goal that has not ended, and the goal with them. Cancelling twice is cancelling once.

        Raises NotFound, PermissionDenied, PreconditionFailed when the governor refuses.
        """
        why = reason or f"{principal.email} cancelled the goal"

        def write(tx: Tx) -> Goal:
            goal = goals.require(tx, goal_id)
            _check_owner(principal, goal)
            if goal.state.ended:
                return goal
            record(tx, goal_id, principal, "goal.cancel", why, {})
            self.pursuit.withdraw(tx, goal_id, why)
            # Later jobs first: stopping an earlier one would cancel those that wait for it, for another reason.
            for job in reversed(jobs.of_goal(tx, goal_id, with_allocations=False)):
                current = jobs.require(tx, job.id, with_allocations=False)
                if not current.state.ended and not current.cancel_requested:
                    self.pursuit.stop(tx, principal, goal_id, job.id, why, request_id)
            goal = goals.require(tx, goal_id)
            if goal.state.ended:
                return goal
            if all(job.state.ended for job in jobs.of_goal(tx, goal_id, with_allocations=False)):
                return goals.update(tx, goal_id, state=GoalState.CANCELLED, status_reason=why)
            return goals.update(tx, goal_id, status_reason=f"is being cancelled: {why}")

        return await self._store.write(write)

    async def _plan(self, user_id: UserId, text: str, timezone: str, now: datetime, answers: Mapping[str, str]) -> Plan:
        # Planning is pure but may take a second on a long text made to be slow: other calls must not wait for it.
        if self._plans_waiting >= _PLANS_WAITING_MAX:
            raise ResourceExhausted(
                "too many goals are being planned at this moment; retry in a second", reason="TOO_BUSY"
            )
        self._plans_waiting += 1
        try:
            async with self._planning:
                plan = await asyncio.to_thread(self._plan_now, text, timezone, now, answers)
                plan = await known.with_known_names(self._store, user_id, plan, text)
                return await self._fleet_size.noted(plan)
        finally:
            self._plans_waiting -= 1

    def _plan_now(self, text: str, timezone: str, now: datetime, answers: Mapping[str, str]) -> Plan:
        return self._planner(
            text,
            now=now,
            timezone=zone_of(timezone),
            fx_usd=self._fx_usd,
            floor_price_usd_per_hour=self._floor_prices,
            answers=answers,
        )

    def _pursue(self, tx: Tx, principal: Principal, goal_id: GoalId, plan: Plan, *, attempt: str) -> Goal:
        """Have a model read the goal first, if one can be asked and the rules would act; else go on by rules."""
        reasoner, limits = self._reasoner, self._run_limits
        blocked = plan.refusal or plan.questions or plan.infeasible or plan.plan_only
        if reasoner is None or limits is None or blocked or not reasoner.available:
            return self.pursuit.pursue(tx, principal, goal_id, plan, attempt=attempt)
        goal = goals.update(tx, goal_id, state=GoalState.PLANNING, plan=plan, status_reason="")
        begin.begin_reading(tx, goal, reasoner.model_name, limits, for_agent=principal.for_agent)
        return goal


def _is_first(tx: Tx, principal: Principal, method: str, request_id: str, fingerprint: str, result_id: str) -> bool:
    """Tell whether this is the first call with its request id, and remember it."""
    user_id = principal.user_id
    known = requests.remembered(tx, user_id=user_id, method=method, request_id=request_id, fingerprint=fingerprint)
    if known is None:
        requests.remember(
            tx, user_id=user_id, method=method, request_id=request_id, fingerprint=fingerprint, result_id=result_id
        )
    return known is None


def _asking(tx: Tx, goal_id: GoalId) -> tuple[Goal, bool]:
    """Return the goal, and whether it was its run that asked."""
    goal = goals.require(tx, goal_id)
    return goal, run_answers.asks_about_a_job(tx, goal)


def _new_goal(
    goal_id: GoalId, principal: Principal, text: str, timezone: str, budget_usd: Decimal | None, now: datetime
) -> Goal:
    return Goal(
        id=goal_id,
        user_id=principal.user_id,
        user_email=principal.email,
        text=text,
        timezone=timezone,
        state=GoalState.SUBMITTED,
        status_reason="",
        plan=None,
        answers=(),
        budget_usd=budget_usd,
        result="",
        created_at=now,
        updated_at=now,
        version=1,
    )


def _check_owner(principal: Principal, goal: Goal) -> None:
    if goal.user_id != principal.user_id and not principal.role.allows(Role.OPERATOR):
        raise PermissionDenied(
            f"goal {goal.id} belongs to {goal.user_email}; its owner or an operator can change it", reason="NOT_OWNER"
        )
