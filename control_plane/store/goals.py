"""Goals in the database."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.fleet import lifecycle
from control_plane.model.goal import Bill, BillLine, Goal, GoalState
from control_plane.model.ids import GoalId, UserId
from control_plane.model.job import JobState
from control_plane.model.money import optional_from_micros, optional_to_micros
from control_plane.model.plan import Plan
from control_plane.model.record import Noun
from control_plane.store import jobs
from control_plane.store.database import Tx
from control_plane.store.documents import PLAN
from control_plane.store.pages import Page, PageRequest, newest_first
from control_plane.store.readable import readable
from control_plane.store.tables import GoalRow, JobRow


@dataclass(frozen=True, slots=True)
class GoalFilter:
    """Which goals; empty means all."""

    states: tuple[GoalState, ...] = ()
    user_id: UserId | None = None


def _model(row: GoalRow) -> Goal:
    return Goal(
        id=GoalId(row.id),
        user_id=UserId(row.user_id),
        user_email=row.user_email,
        text=row.raw_text,
        timezone=row.timezone,
        state=GoalState(row.status),
        status_reason=row.status_reason,
        plan=None if row.plan is None else PLAN.load(row.plan),
        answers=tuple(sorted(row.answers.items())),
        budget_usd=optional_from_micros(row.budget_usd_micros),
        result=row.result,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )


def get(tx: Tx, goal_id: GoalId) -> Goal | None:
    """Return the goal, or None."""
    row = tx.session.get(GoalRow, goal_id)
    return None if row is None else _model(row)


def require(tx: Tx, goal_id: GoalId) -> Goal:
    """Return the goal. Raises NotFound."""
    goal = get(tx, goal_id)
    if goal is None:
        raise NotFound(f"there is no goal {goal_id}; list them with: orquanta goal list", reason="GOAL_NOT_FOUND")
    return goal


def page(tx: Tx, which: GoalFilter, request: PageRequest) -> Page[Goal]:
    """Return a page of goals, newest first."""
    query = select(GoalRow)
    if which.states:
        query = query.where(col(GoalRow.status).in_([state.value for state in which.states]))
    if which.user_id:
        query = query.where(col(GoalRow.user_id) == which.user_id)
    rows, token = newest_first(tx.session, query, request, col(GoalRow.created_at), col(GoalRow.id))
    return Page(tuple(readable(tx, rows, _model)), token)


def insert(tx: Tx, goal: Goal) -> None:
    """Record a goal."""
    row = GoalRow(
        id=goal.id,
        user_id=goal.user_id,
        user_email=goal.user_email,
        raw_text=goal.text,
        timezone=goal.timezone,
        status=goal.state.value,
        status_reason=goal.status_reason,
        plan=None if goal.plan is None else PLAN.dump(goal.plan),
        answers=dict(goal.answers),
        budget_usd_micros=optional_to_micros(goal.budget_usd),
        result=goal.result,
        created_at=goal.created_at,
        updated_at=goal.updated_at,
        version=goal.version,
    )
    tx.session.add(row)
    tx.session.flush()
    tx.emit(Noun.GOAL, goal.id, f"goal.{goal.state.value}", goal.status_reason, parent_id=goal.id)


def update(
    tx: Tx,
    goal_id: GoalId,
    *,
    state: GoalState | None = None,
    status_reason: str | None = None,
    plan: Plan | None = None,
    answers: dict[str, str] | None = None,
    result: str | None = None,
) -> Goal:
    """Change what is given and return the goal. Raises NotFound, or LifecycleError for an impossible change."""
    row = tx.session.get(GoalRow, goal_id)
    if row is None:
        raise NotFound(f"there is no goal {goal_id}", reason="GOAL_NOT_FOUND")
    if state is not None and state.value != row.status:
        lifecycle.GOAL.check(GoalState(row.status), state)
        row.status = state.value
    if status_reason is not None:
        row.status_reason = status_reason
    if plan is not None:
        row.plan = PLAN.dump(plan)
    if answers is not None:
        row.answers = answers
    if result is not None:
        row.result = result
    row.updated_at = tx.now
    row.version += 1
    tx.session.add(row)
    tx.emit(Noun.GOAL, goal_id, f"goal.{row.status}", row.status_reason, parent_id=goal_id)
    return _model(row)


def bill(tx: Tx, goal_id: GoalId) -> Bill:
    """Return what the goal costs so far, one line for each attempt in the order in which they began."""
    of_goal = jobs.of_goal(tx, goal_id)
    attempts = [(job, attempt) for job in of_goal for attempt in job.allocations]
    attempts.sort(key=lambda pair: (pair[1].created_at, pair[1].id))
    lines = tuple(
        BillLine(
            job_id=job.id,
            job_name=job.spec.name,
            epoch=attempt.epoch,
            gpu_type=attempt.gpu_type,
            gpu_count=attempt.gpu_count,
            gpu_seconds=attempt.gpu_seconds,
            price_usd_per_gpu_hour=attempt.price_usd_per_gpu_hour,
            cost_usd=attempt.cost_usd,
            waived=attempt.waived,
            node_ids=tuple(member.node_id for member in attempt.members),
        )
        for job, attempt in attempts
    )
    return Bill(
        cost_usd=sum((line.cost_usd for line in lines), Decimal(0)),
        reserved_usd=sum((job.reserved_usd for job in of_goal), Decimal(0)),
        gpu_seconds=sum(line.gpu_seconds for line in lines if not line.waived),
        waived_gpu_seconds=sum(line.gpu_seconds for line in lines if line.waived),
        lines=lines,
    )


def quiet(tx: Tx, state: GoalState, since: datetime, *, limit: int) -> tuple[GoalId, ...]:
    """Return the goals in a state, unchanged since then, whose jobs have all ended, longest unchanged first."""
    its_jobs = select(col(JobRow.id)).where(col(JobRow.goal_id) == col(GoalRow.id))
    query = select(col(GoalRow.id)).where(
        col(GoalRow.status) == state.value,
        col(GoalRow.updated_at) < since,
        its_jobs.exists(),
        ~its_jobs.where(col(JobRow.status).not_in([one.value for one in JobState if one.ended])).exists(),
    )
    rows = tx.session.execute(query.order_by(col(GoalRow.updated_at), col(GoalRow.id)).limit(limit)).scalars()
    return tuple(GoalId(one) for one in rows)


def count_by_state(tx: Tx) -> dict[GoalState, int]:
    """Return how many goals are in each state."""
    rows = tx.session.execute(select(col(GoalRow.status), func.count()).group_by(col(GoalRow.status)))
    return dict(readable(tx, rows, lambda row: (GoalState(row[0]), int(row[1])), "the state of goals"))
