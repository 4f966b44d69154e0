"""Tools that read goals. A goal's text is its owner's words."""

from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from control_plane.model.goal import Goal, GoalState
from control_plane.model.identity import Principal
from control_plane.store import goals, jobs, spending
from control_plane.store.database import Tx
from control_plane.store.goals import GoalFilter
from control_plane.store.pages import PageRequest
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.jobs import JobLine, job_line
from control_plane.tools.output import Line, Moment, Output, PageOutput, Part, Text, Usd
from control_plane.tools.references import GoalReference, Limit, PageToken, Person, goal_id, user_id

StateName = Literal[
    "submitted",
    "planning",
    "needs_input",
    "awaiting_approval",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "refused",
]


_NOTHING: Final = Decimal(0)


class ListGoals(Input):
    """Which goals; newest first."""

    state: Annotated[StateName | None, Field(description="Only goals in this state")] = None
    user: Annotated[Person | None, Field(description='Only goals of this person: an e-mail address, or "me"')] = None
    limit: Limit = 20
    page: PageToken = ""


class GoalLine(Part):
    """A goal in a list."""

    evidence_id: str
    id: str
    text: Line
    user: Line
    state: StateName
    reason: Line
    cost_usd: Usd
    budget_usd: Usd | None
    created_at: Moment


class GoalPage(PageOutput):
    """A page of goals, newest first."""

    goals: tuple[GoalLine, ...]


class GetGoal(Input):
    """Which goal."""

    goal: GoalReference


class GoalOut(Output):
    """A goal with its jobs, in the order of its plan."""

    goal: GoalLine
    text: Text
    result: Text
    summary: Line
    questions: tuple[Line, ...]
    reserved_usd: Usd
    jobs: tuple[JobLine, ...]


def _line(goal: Goal, cost_usd: Decimal) -> GoalLine:
    return GoalLine(
        evidence_id=f"goal:{goal.id}",
        id=goal.id,
        text=goal.text,
        user=goal.user_email,
        state=goal.state.value,
        reason=goal.status_reason,
        cost_usd=cost_usd,
        budget_usd=goal.budget_usd,
        created_at=goal.created_at,
    )


async def _list(sources: Sources, principal: Principal, wanted: ListGoals) -> Found[GoalPage]:
    def read(tx: Tx) -> GoalPage:
        which = GoalFilter(
            states=(GoalState(wanted.state),) if wanted.state else (),
            user_id=user_id(tx, wanted.user, principal) if wanted.user else None,
        )
        page = goals.page(tx, which, PageRequest(wanted.limit, wanted.page))
        costs = spending.of_goals(tx, [goal.id for goal in page.items])
        lines = tuple(_line(goal, costs.get(goal.id, _NOTHING)) for goal in page.items)
        return GoalPage(goals=lines, next_page=page.next_token)

    output = await sources.store.read(read)
    return Found(output, "goals", empty=not output.goals)


async def _get(sources: Sources, _principal: Principal, wanted: GetGoal) -> Found[GoalOut]:
    wanted_id = goal_id(wanted.goal)

    def read(tx: Tx) -> GoalOut:
        goal = goals.require(tx, wanted_id)
        of_goal = jobs.of_goal(tx, goal.id)
        plan = goal.plan
        return GoalOut(
            goal=_line(goal, sum((job.cost_usd for job in of_goal), _NOTHING)),
            text=goal.text,
            result=goal.result,
            summary=plan.summary if plan is not None else "",
            questions=tuple(question.text for question in plan.questions) if plan is not None else (),
            reserved_usd=sum((job.reserved_usd for job in of_goal), _NOTHING),
            jobs=tuple(job_line(job) for job in of_goal),
        )

    output = await sources.store.read(read)
    return Found(output, output.goal.evidence_id)


LIST_GOALS = ReadTool(
    name="list_goals",
    description="Lists goals, newest first, with what was asked for, state, reason and cost.",
    arguments=ListGoals,
    result=GoalPage,
    read=_list,
)
GET_GOAL = ReadTool(
    name="get_goal",
    description="Tells all about one goal: its words, what came of it, open questions, and its jobs.",
    arguments=GetGoal,
    result=GoalOut,
    read=_get,
)
