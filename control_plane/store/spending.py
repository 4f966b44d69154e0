"""What attempts have cost, added up by the database."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum

from sqlalchemy import ColumnElement, Label, SQLColumnExpression, func, or_, select
from sqlmodel import col

from control_plane.model.ids import GoalId
from control_plane.model.money import from_micros
from control_plane.store import teams
from control_plane.store.database import Tx
from control_plane.store.pages import batched
from control_plane.store.tables import AllocationMemberRow, AllocationRow, JobRow


class SpendingKey(Enum):
    """By what spending is added up."""

    USER = "user"
    TEAM = "team"
    GOAL = "goal"
    JOB = "job"
    DAY = "day"
    GPU_TYPE = "gpu_type"


@dataclass(frozen=True, slots=True)
class SpendingFilter:
    """Which attempts: begun at `since` or later, of people whose address holds `who` in any case; "" is everybody.

    With `until`, only those begun before it; with `team`, only those of jobs of the team and of the teams in it.
    """

    since: datetime
    who: str = ""
    until: datetime | None = None
    team: str = ""


@dataclass(frozen=True, slots=True)
class Spending:
    """What one user, team, goal, job, day (UTC, of an attempt's beginning) or GPU model came to.

    `key` "" is no goal, or no team.
    """

    key: str
    cost_usd: Decimal
    attempts: int
    gpu_seconds: float


def by(tx: Tx, key: SpendingKey, which: SpendingFilter, *, limit: int) -> tuple[Spending, ...]:
    """Return the largest sums first; days newest first."""
    column: Label[str] = _column(tx, key).label("key")
    seconds = (
        select(
            col(AllocationMemberRow.allocation_id).label("allocation_id"),
            func.sum(col(AllocationMemberRow.gpu_seconds)).label("gpu_seconds"),
        )
        .group_by(col(AllocationMemberRow.allocation_id))
        .subquery()
    )
    cost = func.coalesce(func.sum(col(AllocationRow.cost_usd_micros)), 0)
    query = (
        select(column, cost, func.count(), func.coalesce(func.sum(seconds.c.gpu_seconds), 0.0))
        .select_from(AllocationRow)
        .join(JobRow, col(JobRow.id) == col(AllocationRow.job_id))
        .outerjoin(seconds, seconds.c.allocation_id == col(AllocationRow.id))
        .where(*_which(which))
        .group_by(column)
        .order_by(*((column.desc(),) if key is SpendingKey.DAY else (cost.desc(), column)))
        .limit(limit)
    )
    return tuple(
        Spending(str(name), from_micros(int(micros)), int(attempts), float(gpu_seconds))
        for name, micros, attempts, gpu_seconds in tx.session.execute(query)
    )


def total_usd(tx: Tx, which: SpendingFilter) -> Decimal:
    """Return what all of the attempts have cost."""
    query = (
        select(func.coalesce(func.sum(col(AllocationRow.cost_usd_micros)), 0))
        .join(JobRow, col(JobRow.id) == col(AllocationRow.job_id))
        .where(*_which(which))
    )
    return from_micros(int(tx.session.execute(query).scalar_one()))


def reserved_usd(tx: Tx, which: SpendingFilter) -> Decimal:
    """Return what is reserved for the jobs of these people and teams that have not ended, whenever they began."""
    query = select(func.coalesce(func.sum(col(JobRow.reserved_usd_micros)), 0)).where(*_of(which))
    return from_micros(int(tx.session.execute(query).scalar_one()))


def people(tx: Tx, which: SpendingFilter, *, limit: int) -> tuple[str, ...]:
    """Return the addresses that are meant and have jobs, of any time."""
    query = select(col(JobRow.user_email)).where(*_of(which)).distinct().order_by(col(JobRow.user_email)).limit(limit)
    return tuple(tx.session.execute(query).scalars())


def has_jobs(tx: Tx, team: str) -> bool:
    """Tell whether any job was a team's, be it gone since."""
    found = select(col(JobRow.id)).where(_in_team(team)).limit(1)
    return tx.session.execute(found).first() is not None


def of_goals(tx: Tx, goal_ids: Collection[GoalId]) -> dict[GoalId, Decimal]:
    """Return what each of the goals that has jobs has cost."""
    found: dict[GoalId, Decimal] = {}
    for ids in batched(goal_ids):
        query = (
            select(col(JobRow.goal_id), func.sum(col(JobRow.cost_usd_micros)))
            .where(col(JobRow.goal_id).in_(ids))
            .group_by(col(JobRow.goal_id))
        )
        for goal_id, micros in tx.session.execute(query):
            found[GoalId(goal_id)] = from_micros(int(micros))
    return found


def _which(which: SpendingFilter) -> tuple[ColumnElement[bool], ...]:
    before = () if which.until is None else (col(AllocationRow.created_at) < which.until,)
    return (col(AllocationRow.created_at) >= which.since, *before, *_of(which))


def _of(which: SpendingFilter) -> tuple[ColumnElement[bool], ...]:
    email = func.lower(col(JobRow.user_email))
    people = (email.contains(which.who.lower(), autoescape=True),) if which.who else ()
    return (*people, _in_team(which.team)) if which.team else people


def _in_team(path: str) -> ColumnElement[bool]:
    return or_(col(JobRow.team) == path, teams.inside(col(JobRow.team), path))


def _column(tx: Tx, key: SpendingKey) -> SQLColumnExpression[str]:
    match key:
        case SpendingKey.USER:
            return col(JobRow.user_email)
        case SpendingKey.TEAM:
            return col(JobRow.team)
        case SpendingKey.GOAL:
            return func.coalesce(col(JobRow.goal_id), "")
        case SpendingKey.JOB:
            return col(JobRow.id)
        case SpendingKey.GPU_TYPE:
            return col(AllocationRow.gpu_type)
        case SpendingKey.DAY:
            begun = col(AllocationRow.created_at)
            if tx.session.get_bind().dialect.name == "sqlite":
                return func.date(begun)
            return func.to_char(func.timezone("UTC", begun), "YYYY-MM-DD")
