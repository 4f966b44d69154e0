"""What has ended and is to be remembered, in the order in which it ended, and how far that has come."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, tuple_
from sqlalchemy.sql import ColumnElement
from sqlmodel import col

from control_plane.model.goal import GoalState
from control_plane.model.ids import IncidentId
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.job import JobState
from control_plane.store import incidents
from control_plane.store.database import Tx
from control_plane.store.health_tables import IncidentRow
from control_plane.store.incidents import Parts
from control_plane.store.memory_tables import MemoryCursorRow
from control_plane.store.tables import GoalRow, JobRow

_LATER_MAX: Final = 20
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A record, and when it ended."""

    ended_at: datetime = _BEGINNING
    record_id: str = ""


def cursor(tx: Tx, name: str) -> Cursor:
    """Return the last record of this kind that was remembered."""
    row = tx.session.get(MemoryCursorRow, name)
    return Cursor() if row is None else Cursor(row.ended_at, row.record_id)


def move(tx: Tx, name: str, to: Cursor) -> None:
    """Remember up to where it has come."""
    tx.session.merge(MemoryCursorRow(name=name, ended_at=to.ended_at, record_id=to.record_id))


def ended_incidents(tx: Tx, after: Cursor, until: datetime, limit: int) -> tuple[Cursor, ...]:
    """Return incidents that ended after the cursor and not after `until`, oldest end first."""
    states = [state.value for state in IncidentState if state.ended]
    return _ended(tx, IncidentRow.id, IncidentRow.closed_at, col(IncidentRow.state).in_(states), after, until, limit)


def ended_goals(tx: Tx, after: Cursor, until: datetime, limit: int) -> tuple[Cursor, ...]:
    """Return goals likewise. A goal that changes after its end comes again."""
    states = [state.value for state in GoalState if state.ended]
    return _ended(tx, GoalRow.id, GoalRow.updated_at, col(GoalRow.status).in_(states), after, until, limit)


def failed_jobs(tx: Tx, after: Cursor, until: datetime, limit: int) -> tuple[Cursor, ...]:
    """Return jobs that failed, likewise."""
    failed = col(JobRow.status) == JobState.FAILED.value
    return _ended(tx, JobRow.id, JobRow.finished_at, failed, after, until, limit)


def begun_after(tx: Tx, incident: Incident, within: timedelta) -> tuple[Incident, ...]:
    """Return the incidents of the same node that began so soon after the end of this one."""
    if incident.closed_at is None:
        return ()
    query = (
        select(col(IncidentRow.id))
        .where(
            col(IncidentRow.node_id) == incident.node_id,
            col(IncidentRow.id) != incident.id,
            col(IncidentRow.created_at) >= incident.closed_at,
            col(IncidentRow.created_at) <= incident.closed_at + within,
        )
        .order_by(col(IncidentRow.created_at))
        .limit(_LATER_MAX)
    )
    found = (incidents.get(tx, IncidentId(row), Parts.NONE) for row in tx.session.execute(query).scalars())
    return tuple(one for one in found if one is not None)


def _ended(
    tx: Tx,
    record_id: Any,  # Any: a column, which is a str to mypy
    ended_at: Any,  # Any: likewise a datetime
    which: ColumnElement[bool],
    after: Cursor,
    until: datetime,
    limit: int,
) -> tuple[Cursor, ...]:
    query = (
        select(col(ended_at), col(record_id))
        .where(which, tuple_(col(ended_at), col(record_id)) > (after.ended_at, after.record_id), col(ended_at) <= until)
        .order_by(col(ended_at), col(record_id))
        .limit(limit)
    )
    return tuple(Cursor(when, one) for when, one in tx.session.execute(query))
