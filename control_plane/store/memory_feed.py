"""What has ended and is to be remembered, in the order in which the books learned of it, and how far that has come.

Events have one order that no clock can change, so they are followed by their sequence. What was there before the first
event that is kept (they are pruned) is looked for once by when it ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, tuple_
from sqlalchemy.sql import ColumnElement
from sqlmodel import col

from control_plane.model.goal import GoalState
from control_plane.model.ids import IncidentId
from control_plane.model.incident import Incident, IncidentState
from control_plane.model.job import JobState
from control_plane.model.record import Noun
from control_plane.store import events, incidents
from control_plane.store.database import Tx
from control_plane.store.health_tables import IncidentRow
from control_plane.store.incidents import Parts
from control_plane.store.memory_tables import MemoryCursorRow
from control_plane.store.tables import EventRow, GoalRow, JobRow

_LATER_MAX: Final = 20
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOVE_AFTER: Final = 1000
"""So many events of other things are read again rather than writing the cursor at each look."""
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""A time that is further ahead was written before the clock was set back: it says nothing about how long ago it was."""
_SET_BACK: Final = timedelta(hours=1)
"""How far a clock may have been set back just when events are missing that were pruned."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where all is remembered: an event, or with `sequence` None the record that ended last, by time and id."""

    ended_at: datetime = _BEGINNING
    record_id: str = ""
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """One kind of record: when one ended, and in which states it has. `name` is its cursor's."""

    name: str
    noun: Noun
    record_id: Any  # Any: a column, which is a str to mypy
    ended_at: Any  # Any: likewise a datetime
    state: Any  # Any: likewise a str
    ends: tuple[str, ...]

    @property
    def which(self) -> ColumnElement[bool]:
        """Those that have ended."""
        return col(self.state).in_(self.ends)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the events are called with which they ended."""
        return tuple(f"{self.noun.value}.{end}" for end in self.ends)


@dataclass(frozen=True, slots=True)
class Batch:
    """What has ended, oldest first, the cursor after it (None: it stays), and whether there may be more at once."""

    record_ids: tuple[str, ...]
    to: Cursor | None
    more: bool


INCIDENTS: Final = Feed(
    "incidents",
    Noun.INCIDENT,
    IncidentRow.id,
    IncidentRow.closed_at,
    IncidentRow.state,
    tuple(state.value for state in IncidentState if state.ended),
)
GOALS: Final = Feed(
    "goals",
    Noun.GOAL,
    GoalRow.id,
    GoalRow.updated_at,
    GoalRow.status,
    tuple(state.value for state in GoalState if state.ended),
)
"""A goal that changes after its end comes again."""
FAILED_JOBS: Final = Feed("jobs", Noun.JOB, JobRow.id, JobRow.finished_at, JobRow.status, (JobState.FAILED.value,))


def cursor(tx: Tx, name: str) -> Cursor:
    """Return up to where records of this kind were remembered."""
    row = tx.session.get(MemoryCursorRow, name)
    if row is None:
        return Cursor()
    if row.record_id.isdigit():  # ids of records have letters
        return Cursor(row.ended_at, "", int(row.record_id))
    return Cursor(row.ended_at, row.record_id)


def move(tx: Tx, name: str, to: Cursor) -> None:
    """Remember up to where it has come."""
    record_id = to.record_id if to.sequence is None else str(to.sequence)
    tx.session.merge(MemoryCursorRow(name=name, ended_at=to.ended_at, record_id=record_id))


def ended(tx: Tx, feed: Feed, *, settled: timedelta, limit: int) -> Batch:
    """Return what has ended after the cursor, and at least `settled` ago."""
    place = cursor(tx, feed.name)
    if place.sequence is None:
        return _by_time(tx, feed, place, settled, limit)
    if events.oldest(tx) > place.sequence + 1:
        return _by_time(tx, feed, Cursor(place.ended_at - _SET_BACK), settled, limit)
    return _by_sequence(tx, feed, place.sequence, settled, limit)


def _by_sequence(tx: Tx, feed: Feed, after: int, settled: timedelta, limit: int) -> Batch:
    newest = events.newest(tx)
    query = (
        select(col(EventRow.sequence), col(EventRow.id), col(EventRow.created_at))
        .join_from(EventRow, feed.record_id.class_, col(feed.record_id) == col(EventRow.id))
        .where(
            col(EventRow.sequence) > after,
            col(EventRow.sequence) <= newest,
            col(EventRow.noun) == feed.noun.value,
            col(EventRow.kind).in_(feed.kinds),
            feed.which,
            col(feed.ended_at) == col(EventRow.created_at),  # what was said of it later is no further end
        )
        .order_by(col(EventRow.sequence))
        .limit(limit)
    )
    rows: Sequence[Any] = tx.session.execute(query).all()  # Any: rows of three columns
    taken: list[Any] = []
    for row in rows:
        if tx.now - settled < row.created_at <= tx.now + _CLOCKS_DIFFER:
            break
        taken.append(row)
    if len(taken) < len(rows):
        sequence = rows[len(taken)].sequence - 1
    else:
        sequence = taken[-1].sequence if len(taken) == limit else newest
    ids = tuple(dict.fromkeys(row.id for row in taken))
    ended_at = taken[-1].created_at if taken else tx.now - settled
    moves = bool(ids) or sequence - after >= _MOVE_AFTER
    return Batch(ids, Cursor(ended_at, "", sequence) if moves else None, len(taken) == limit)


def _by_time(tx: Tx, feed: Feed, after: Cursor, settled: timedelta, limit: int) -> Batch:
    until = tx.now - settled
    found_id, ended_at = col(feed.record_id), col(feed.ended_at)
    query = (
        select(ended_at, found_id)
        .where(feed.which, tuple_(ended_at, found_id) > (after.ended_at, after.record_id), ended_at <= until)
        .order_by(ended_at, found_id)
        .limit(limit)
    )
    found = tuple(Cursor(when, one) for when, one in tx.session.execute(query))
    ids = tuple(one.record_id for one in found)
    if len(found) == limit:
        return Batch(ids, found[-1], more=True)
    return Batch(ids, Cursor(until, "", _last_before(tx, until)), more=True)


def _last_before(tx: Tx, at: datetime) -> int:
    """Return the event before the first one that is later than this: all up to it are of what ended by then."""
    first = tx.session.execute(select(func.min(col(EventRow.sequence))).where(col(EventRow.created_at) > at)).scalar()
    return events.newest(tx) if first is None else int(first) - 1


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
