"""Notices: what the outside is to be told, each once for each endpoint, and how far telling it has come."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, select
from sqlmodel import col

from control_plane.model.action import Action, ActionState
from control_plane.model.ids import ActionId, IncidentId
from control_plane.model.incident import Incident, IncidentState
from control_plane.store import actions, incidents
from control_plane.store.approval_tables import NoticeRow
from control_plane.store.database import Tx
from control_plane.store.health_tables import IncidentRow
from control_plane.store.incidents import Parts
from control_plane.store.readable import readable
from control_plane.store.tables import ActionRow

REQUESTED: Final = "approval.requested"
EXPIRING: Final = "approval.expiring"
DECIDED: Final = "approval.decided"
ESCALATED: Final = "incident.escalated"

FOUND_MAX: Final = 100
"""Things that are found at once to tell of; the others follow."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one endpoint. `subject_id` is the action or incident it tells of; `body` is ready to be sent."""

    subject_id: str
    kind: str
    endpoint: str
    body: str
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """How many notices wait to be sent, have arrived, and were given up."""

    waiting: int
    sent: int
    dead: int


def untold_waiting(tx: Tx, kind: str, endpoint: str, *, expires_before: datetime | None = None) -> tuple[Action, ...]:
    """Return actions that wait for an approval and of which the endpoint has no such notice, oldest first."""
    query = select(col(ActionRow.id)).where(
        col(ActionRow.state) == ActionState.AWAITING_APPROVAL.value,
        ~_told(col(ActionRow.id), kind, endpoint),
        col(ActionRow.expires_at) > tx.now,
    )
    if expires_before is not None:
        query = query.where(col(ActionRow.expires_at) <= expires_before)
    return _actions(tx, query.order_by(col(ActionRow.created_at)))


def _actions(tx: Tx, query: Select[str]) -> tuple[Action, ...]:
    found = tx.session.execute(query.limit(FOUND_MAX)).scalars().all()
    return tuple(readable(tx, found, lambda action_id: actions.require(tx, ActionId(action_id)), "a row of actions"))


def untold_decided(tx: Tx, endpoint: str) -> tuple[Action, ...]:
    """Return actions that the endpoint was asked to have approved and that wait no more."""
    asked = exists().where(
        and_(
            col(NoticeRow.subject_id) == col(ActionRow.id),
            col(NoticeRow.kind) == REQUESTED,
            col(NoticeRow.endpoint) == endpoint,
        )
    )
    query = select(col(ActionRow.id)).where(
        col(ActionRow.state) != ActionState.AWAITING_APPROVAL.value,
        asked,
        ~_told(col(ActionRow.id), DECIDED, endpoint),
    )
    return _actions(tx, query.order_by(col(ActionRow.created_at)))


def untold_escalated(tx: Tx, endpoint: str, *, since: datetime) -> tuple[Incident, ...]:
    """Return incidents that wait for a person since a time, and of which the endpoint has no notice."""
    query = select(col(IncidentRow.id)).where(
        col(IncidentRow.state) == IncidentState.ESCALATED.value,
        col(IncidentRow.closed_at) >= since,
        ~_told(col(IncidentRow.id), ESCALATED, endpoint),
    )
    found = tx.session.execute(query.order_by(col(IncidentRow.created_at)).limit(FOUND_MAX)).scalars().all()
    return tuple(
        readable(tx, found, lambda one: incidents.require(tx, IncidentId(one), Parts.NONE), "a row of incidents")
    )


def _told(subject_id: object, kind: str, endpoint: str) -> ColumnElement[bool]:
    return exists().where(
        and_(
            col(NoticeRow.subject_id) == subject_id,
            col(NoticeRow.kind) == kind,
            col(NoticeRow.endpoint) == endpoint,
        )
    )


def add(tx: Tx, fresh: Iterable[Notice]) -> int:
    """Record notices that are to be sent, and return how many there were not before.

    What was decided needs no more asking: requests for it that were not sent yet are dropped.
    """
    added = 0
    for notice in fresh:
        if tx.session.get(NoticeRow, (notice.subject_id, notice.kind, notice.endpoint)) is not None:
            continue
        if notice.kind == DECIDED:
            for stale in (REQUESTED, EXPIRING):
                _drop(tx, notice.subject_id, stale, notice.endpoint)
        tx.session.add(
            NoticeRow(
                subject_id=notice.subject_id,
                kind=notice.kind,
                endpoint=notice.endpoint,
                body=notice.body,
                next_at=tx.now,
                created_at=tx.now,
            )
        )
        added += 1
    tx.session.flush()
    return added


def _drop(tx: Tx, subject_id: str, kind: str, endpoint: str) -> None:
    row = tx.session.get(NoticeRow, (subject_id, kind, endpoint))
    if row is not None and row.next_at is not None:
        row.next_at = None
        row.last_error = "it was decided before this could be sent"
        tx.session.add(row)


def due(tx: Tx, endpoints: Iterable[str], *, limit: int) -> tuple[Notice, ...]:
    """Return notices to these endpoints whose time has come, those that have waited longest first."""
    query = select(NoticeRow).where(
        col(NoticeRow.next_at) <= tx.now, col(NoticeRow.endpoint).in_(sorted(set(endpoints)))
    )
    rows = tx.session.execute(query.order_by(col(NoticeRow.next_at)).limit(limit)).scalars()
    return tuple(Notice(row.subject_id, row.kind, row.endpoint, row.body, row.attempts) for row in rows)


def sent(tx: Tx, notice: Notice) -> None:
    """Note that a notice has arrived."""
    row = tx.session.get(NoticeRow, (notice.subject_id, notice.kind, notice.endpoint))
    if row is not None:
        row.attempts += 1
        row.sent_at = tx.now
        row.next_at = None
        row.last_error = ""
        tx.session.add(row)
        tx.session.flush()


def failed(tx: Tx, notice: Notice, error: str, *, again_after: timedelta | None) -> None:
    """Note that a notice has not arrived; without a time to try it again it is given up."""
    row = tx.session.get(NoticeRow, (notice.subject_id, notice.kind, notice.endpoint))
    if row is None:
        return
    row.attempts += 1
    row.last_error = error
    if row.next_at is not None:  # else it was dropped meanwhile
        row.next_at = None if again_after is None else tx.now + again_after
        row.dead_at = tx.now if again_after is None else None
    tx.session.add(row)
    tx.session.flush()


def counts(tx: Tx) -> Counts:
    """Return how many notices wait, have arrived and were given up."""
    query = select(
        func.count(col(NoticeRow.next_at)), func.count(col(NoticeRow.sent_at)), func.count(col(NoticeRow.dead_at))
    )
    waiting, arrived, dead = tx.session.execute(query).one()
    return Counts(int(waiting), int(arrived), int(dead))


def prune(tx: Tx, *, before: datetime) -> None:
    """Forget old notices that are not to be sent any more, unless what they tell of is still open."""
    open_actions = select(col(ActionRow.id)).where(col(ActionRow.state) == ActionState.AWAITING_APPROVAL.value)
    tx.session.execute(
        delete(NoticeRow).where(
            col(NoticeRow.created_at) < before,
            col(NoticeRow.next_at).is_(None),
            col(NoticeRow.subject_id).not_in(open_actions),
        )
    )
