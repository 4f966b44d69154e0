"""Teams in the database: who shares the fleet, and what each is entitled to."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, SQLColumnExpression, func, or_, select
from sqlmodel import col

from control_plane.errors import NotFound
from control_plane.model.job import JobState
from control_plane.model.record import Noun
from control_plane.model.team import Team
from control_plane.store.database import Tx
from control_plane.store.tables import JobRow, TeamRow, UserRow

TERMS_CHANGED = "queue.terms_changed"
"""Kind of the event after what teams or accounts may hold has changed."""

_QUEUE = "scheduler_agent"
_LIVE = (JobState.QUEUED.value, JobState.PLACED.value, JobState.RUNNING.value)


def _model(row: TeamRow) -> Team:
    return Team(row.path, row.weight, row.guaranteed_gpus, row.max_gpus)


def get(tx: Tx, path: str) -> Team | None:
    """Return the team, or None."""
    row = tx.session.get(TeamRow, path)
    return None if row is None else _model(row)


def require(tx: Tx, path: str) -> Team:
    """Return the team. Raises NotFound."""
    team = get(tx, path)
    if team is None:
        raise NotFound(f"there is no team {path}; list them with: orquanta quota list", reason="TEAM_NOT_FOUND")
    return team


def inside(column: SQLColumnExpression[str], path: str) -> ColumnElement[bool]:
    """Return the condition that a column names a team in this one. LIKE would not do: SQLite's ignores the case."""
    prefix = f"{path}/"
    return func.substr(column, 1, len(prefix)) == prefix


def every(tx: Tx) -> tuple[Team, ...]:
    """Return all teams by path."""
    return tuple(_model(row) for row in tx.session.execute(select(TeamRow).order_by(col(TeamRow.path))).scalars())


def put(tx: Tx, team: Team) -> None:
    """Record a team as it is from now on."""
    row = tx.session.get(TeamRow, team.path) or TeamRow(path=team.path)
    row.weight = team.weight
    row.guaranteed_gpus = team.guaranteed_gpus
    row.max_gpus = team.max_gpus
    tx.session.add(row)
    tx.session.flush()
    announce(tx, f"team {team.path} is entitled to {team.guaranteed_gpus} GPUs")


def remove(tx: Tx, path: str) -> None:
    """Forget a team. Raises NotFound."""
    row = tx.session.get(TeamRow, path)
    if row is None:
        raise NotFound(f"there is no team {path}; list them with: orquanta quota list", reason="TEAM_NOT_FOUND")
    tx.session.delete(row)
    tx.session.flush()
    announce(tx, f"team {path} is gone")


def announce(tx: Tx, what: str) -> None:
    """Let everybody know that what teams or accounts may hold has changed."""
    tx.emit(Noun.AGENT, _QUEUE, TERMS_CHANGED, what)


def members(tx: Tx) -> Mapping[str, tuple[str, ...]]:
    """Return the e-mails of the accounts in each team."""
    query = select(col(UserRow.team), col(UserRow.email)).where(col(UserRow.team) != "")
    found: dict[str, tuple[str, ...]] = {}
    for path, email in tx.session.execute(query.order_by(col(UserRow.email))):
        found[path] = (*found.get(path, ()), email)
    return found


def in_use(tx: Tx, path: str) -> tuple[int, int, int]:
    """Return how many accounts, teams in it and jobs that have not ended a team has."""
    accounts = select(func.count()).select_from(UserRow).where(col(UserRow.team) == path)
    below = select(func.count()).select_from(TeamRow).where(inside(col(TeamRow.path), path))
    there = or_(col(JobRow.team) == path, inside(col(JobRow.team), path))
    jobs = select(func.count()).select_from(JobRow).where(there, col(JobRow.status).in_(_LIVE))
    counts = [int(tx.session.execute(query).scalar_one()) for query in (accounts, below, jobs)]
    return counts[0], counts[1], counts[2]
