"""GoalService: what a person wants done, in plain words."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Protocol

from typing_extensions import override

from control_plane.model.goal import Bill, Goal
from control_plane.model.identity import Principal, Role
from control_plane.model.ids import GOAL, GoalId, RunId
from control_plane.model.job import Job
from control_plane.model.money import to_micros
from control_plane.model.plan import Plan
from control_plane.model.record import Event, Noun
from control_plane.services import call_traces
from control_plane.services.bounded import Bounded
from control_plane.services.caller import owner_or, person
from control_plane.services.convert import goals as convert
from control_plane.services.convert.jobs import job as convert_job
from control_plane.services.convert.scalars import from_wire
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.validate import goals as validate
from control_plane.services.validate.fields import Fields
from control_plane.services.watch import Watched, Watcher
from control_plane.store import goals, jobs, runs
from control_plane.store.database import Store, Tx
from control_plane.store.goals import GoalFilter
from orquanta.v1 import goal_pb2
from orquanta.v1.goal_pb2_grpc import GoalServiceServicer

_STATES: Final = from_wire(convert.GOAL_STATE)


class GoalPlanner(Protocol):
    """Understands goals and carries them through the governor."""

    async def create_goal(
        self, principal: Principal, *, text: str, request_id: str, budget_usd: Decimal | None, timezone: str
    ) -> Goal:
        """Record, plan and propose a goal; the same request id gives the same goal."""
        ...

    async def preview(self, principal: Principal, text: str, *, timezone: str) -> Plan:
        """Return how a goal of this text would be understood if this person submitted it now."""
        ...

    def estimate_usd(self, plan: Plan) -> Decimal:
        """Return what the plan's jobs would reserve at most."""
        ...

    async def answer(self, principal: Principal, goal_id: GoalId, answers: Mapping[str, str], request_id: str) -> Goal:
        """Take answers to the goal's questions and plan it again."""
        ...

    async def cancel(self, principal: Principal, goal_id: GoalId, *, reason: str, request_id: str) -> Goal:
        """Cancel the goal and every job of it that has not ended."""
        ...


@dataclass(frozen=True, slots=True)
class _Whole:
    """A goal with its jobs and bill, as of one transaction."""

    goal: Goal
    jobs: tuple[Job, ...]
    bill: Bill
    run_id: RunId | None


class Goals(GoalServiceServicer):
    """Serves goals."""

    def __init__(self, *, store: Store, planner: GoalPlanner, watcher: Watcher, planning: Bounded) -> None:
        self._store = store
        self._planner = planner
        self._watcher = watcher
        self._planning = planning

    @override
    async def CreateGoal(self, request: goal_pb2.CreateGoalRequest, context: object) -> goal_pb2.CreateGoalResponse:
        fields = Fields()
        text = validate.goal_text(fields, request.text)
        timezone = validate.timezone(fields, request.timezone)
        fields.request_id(request.request_id)
        budget = None
        if request.HasField("budget_usd_micros"):
            budget = fields.usd("budget_usd_micros", request.budget_usd_micros)
        fields.check()
        change = mutation("CreateGoal", request, request.request_id)
        await call_traces.remember(self._store, change.id(GOAL))
        goal = await self._planner.create_goal(
            person(), text=text, request_id=change.request_id, budget_usd=budget, timezone=timezone
        )
        return goal_pb2.CreateGoalResponse(goal=await self._as_it_is(goal.id))

    @override
    async def PreviewGoal(self, request: goal_pb2.PreviewGoalRequest, context: object) -> goal_pb2.PreviewGoalResponse:
        fields = Fields()
        text = validate.goal_text(fields, request.text)
        timezone = validate.timezone(fields, request.timezone)
        fields.check()

        plan = await self._planning.wait(lambda: self._planner.preview(person(), text, timezone=timezone))
        estimate = to_micros(self._planner.estimate_usd(plan))
        return goal_pb2.PreviewGoalResponse(plan=convert.plan(plan), estimate_usd_micros=estimate)

    @override
    async def GetGoal(self, request: goal_pb2.GetGoalRequest, context: object) -> goal_pb2.GetGoalResponse:
        goal_id = _goal_id(request.goal_id)
        whole = await self._store.read(lambda tx: _whole(tx, goal_id))
        return goal_pb2.GetGoalResponse(
            goal=convert.goal(whole.goal, whole.bill, whole.run_id), jobs=[convert_job(job) for job in whole.jobs]
        )

    @override
    async def ListGoals(self, request: goal_pb2.ListGoalsRequest, context: object) -> goal_pb2.ListGoalsResponse:
        fields = Fields()
        which = GoalFilter(
            states=tuple(fields.enums("states", request.states, _STATES)),
            user_id=fields.optional_user_id("user_id", request.user_id),
        )
        fields.check()
        paging = Paging(request)

        def read(tx: Tx) -> tuple[list[tuple[Goal, Bill, RunId | None]], str]:
            page = goals.page(tx, which, paging.wanted)
            of_goals = runs.ids_of_goals(tx, [goal.id for goal in page.items])
            return [(goal, goals.bill(tx, goal.id), of_goals.get(goal.id)) for goal in page.items], page.next_token

        found, next_token = await self._store.read(read)
        return goal_pb2.ListGoalsResponse(
            goals=[convert.goal(*one) for one in found], next_page_token=paging.next(next_token)
        )

    @override
    async def WatchGoal(
        self, request: goal_pb2.WatchGoalRequest, context: object
    ) -> AsyncIterator[goal_pb2.WatchGoalResponse]:
        async for change in self._watcher.watch(_watched(_goal_id(request.goal_id)), request.resume_token):
            yield goal_pb2.WatchGoalResponse(
                goal=convert.goal(change.item.goal, change.item.bill, change.item.run_id),
                jobs=[convert_job(job) for job in change.item.jobs],
                resume_token=change.resume_token,
            )

    @override
    async def CancelGoal(self, request: goal_pb2.CancelGoalRequest, context: object) -> goal_pb2.CancelGoalResponse:
        fields = Fields()
        goal_id = fields.id("goal_id", GOAL, request.goal_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        await self._planner.cancel(
            await self._owner(goal_id),
            goal_id,
            reason=reason,
            request_id=mutation("CancelGoal", request, request.request_id).request_id,
        )
        return goal_pb2.CancelGoalResponse(goal=await self._as_it_is(goal_id))

    @override
    async def AnswerGoal(self, request: goal_pb2.AnswerGoalRequest, context: object) -> goal_pb2.AnswerGoalResponse:
        fields = Fields()
        goal_id = fields.id("goal_id", GOAL, request.goal_id)
        answers = validate.answers(fields, request.answers)
        fields.request_id(request.request_id)
        fields.check()
        await self._planner.answer(
            await self._owner(goal_id),
            goal_id,
            answers,
            mutation("AnswerGoal", request, request.request_id).request_id,
        )
        return goal_pb2.AnswerGoalResponse(goal=await self._as_it_is(goal_id))

    async def _owner(self, goal_id: GoalId) -> Principal:
        goal = await self._store.read(lambda tx: goals.require(tx, goal_id))
        return owner_or(Role.OPERATOR, goal.user_id, f"goal {goal_id}")

    async def _as_it_is(self, goal_id: GoalId) -> goal_pb2.Goal:
        whole = await self._store.read(lambda tx: _whole(tx, goal_id))
        return convert.goal(whole.goal, whole.bill, whole.run_id)


def _goal_id(text: str) -> GoalId:
    fields = Fields()
    goal_id = fields.id("goal_id", GOAL, text)
    fields.check()
    return goal_id


def _whole(tx: Tx, goal_id: GoalId) -> _Whole:
    goal = goals.require(tx, goal_id)
    run = runs.of_goal(tx, goal_id)
    return _Whole(goal, jobs.of_goal(tx, goal_id), goals.bill(tx, goal_id), None if run is None else run.id)


def _watched(goal_id: GoalId) -> Watched[GoalId, _Whole]:
    def concerns(event: Event) -> GoalId | None:
        if event.noun is Noun.GOAL and event.id == goal_id:
            return goal_id
        return goal_id if event.noun is Noun.JOB and event.parent_id == goal_id else None

    def current(tx: Tx) -> Sequence[_Whole]:
        return (_whole(tx, goal_id),)

    def load(tx: Tx, goal_ids: Iterable[GoalId]) -> Mapping[GoalId, _Whole]:
        return {wanted: _whole(tx, wanted) for wanted in goal_ids}

    def ended(tx: Tx) -> bool:
        return goals.require(tx, goal_id).state.ended and all(job.state.ended for job in jobs.of_goal(tx, goal_id))

    return Watched(scope=("goal", goal_id), concerns=concerns, current=current, load=load, ended=ended)
