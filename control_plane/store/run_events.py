"""What agents think and do, as it is shown: one function writes it for those who watch and into the audit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.model.ids import GoalId, RunId, UserId
from control_plane.model.record import Noun
from control_plane.model.redaction import Json, redact, redact_json
from control_plane.model.run import EventType, ReasoningEvent
from control_plane.store import audit
from control_plane.store.database import Tx
from control_plane.store.run_tables import RunEventRow, RunRow

DATA_CHARS_MAX = 8_192
"""Of an event's details; longer ones are left out, and the event says so."""

MESSAGE_CHARS_MAX = 500
EVIDENCE_MAX = 32
_PAGE = 500


@dataclass(frozen=True, slots=True)
class PlacedEvent:
    """An event with its place among the events of all runs, and the person for whom its run is."""

    position: int
    event: ReasoningEvent
    user_id: UserId | None


def _placed(row: RunEventRow) -> PlacedEvent:
    return PlacedEvent(row.id or 0, _model(row), None if row.user_id is None else UserId(row.user_id))


def _model(row: RunEventRow) -> ReasoningEvent:
    return ReasoningEvent(
        run_id=RunId(row.run_id),
        sequence=row.sequence,
        agent_name=row.agent_name,
        goal_id=None if row.goal_id is None else GoalId(row.goal_id),
        type=EventType(row.type),
        message=row.message,
        data_json=row.data_json,
        evidence_ids=tuple(row.evidence_ids),
        tainted=row.tainted,
        created_at=row.created_at,
    )


def append(
    tx: Tx,
    run_id: RunId,
    kind: EventType,
    message: str,
    *,
    data: Mapping[str, Json] | None = None,
    evidence_ids: Sequence[str] = (),
    tainted: bool = False,
    action_id: str = "",
) -> ReasoningEvent:
    """Tell one thing about a run: in its stream, in the audit, and to those who wait.

    Secrets are taken out first. `data` is JSON-compatible. Raises LookupError if there is no such run.
    """
    if kind is EventType.MODEL_DELTA:
        raise ValueError("deltas are not stored; what they show is in model.replied")
    run = tx.session.get(RunRow, run_id)
    if run is None:
        raise LookupError(f"there is no run {run_id}")
    run.events += 1
    tx.session.add(run)
    text = json.dumps(redact_json(data or {}), sort_keys=True)
    if len(text) > DATA_CHARS_MAX:
        text = json.dumps({"left_out": f"{len(text)} characters of details are too many to show"})
    row = RunEventRow(
        run_id=run_id,
        sequence=run.events,
        agent_name=run.agent_name,
        goal_id=run.goal_id,
        user_id=run.user_id,
        type=kind.value,
        message=redact(message)[:MESSAGE_CHARS_MAX],
        data_json=text,
        evidence_ids=list(evidence_ids)[:EVIDENCE_MAX],
        tainted=tainted,
        created_at=tx.now,
    )
    tx.session.add(row)
    tx.session.flush()
    audit.append(
        tx,
        agent_name=run.agent_name,
        action=kind.value,
        reasoning=row.message,
        outcome=run.state,
        payload={
            "run_id": run_id,
            "sequence": row.sequence,
            "data": json.loads(text),
            "evidence_ids": row.evidence_ids,
            "tainted": tainted,
        },
        action_id=action_id,
        goal_id=run.goal_id or "",
        run_id=run_id,
        user_id=run.user_id or "",
    )
    tx.emit(Noun.RUN, run_id, kind.value, row.message, parent_id=run.goal_id or "")
    return _model(row)


def of_run(tx: Tx, run_id: RunId, *, after: int = 0, limit: int = _PAGE) -> tuple[ReasoningEvent, ...]:
    """Return a run's events after `after`, oldest first, at most `limit`."""
    query = select(RunEventRow).where(col(RunEventRow.run_id) == run_id, col(RunEventRow.sequence) > after)
    rows = tx.session.execute(query.order_by(col(RunEventRow.sequence)).limit(limit)).scalars()
    return tuple(_model(row) for row in rows)


def newest_of_run(tx: Tx, run_id: RunId, *, limit: int = _PAGE) -> tuple[ReasoningEvent, ...]:
    """Return a run's newest events, at most `limit`, oldest first."""
    query = select(RunEventRow).where(col(RunEventRow.run_id) == run_id)
    rows = list(tx.session.execute(query.order_by(col(RunEventRow.sequence).desc()).limit(limit)).scalars())
    return tuple(_model(row) for row in reversed(rows))


def after(
    tx: Tx,
    position: int,
    *,
    limit: int = _PAGE,
    run_id: RunId | None = None,
    goal_id: GoalId | None = None,
    agent_name: str = "",
    user_id: UserId | None = None,
) -> tuple[PlacedEvent, ...]:
    """Return the events of all runs after `position`, oldest first, at most `limit`; empty filters mean all."""
    query = select(RunEventRow).where(col(RunEventRow.id) > position)
    if run_id:
        query = query.where(col(RunEventRow.run_id) == run_id)
    if goal_id:
        query = query.where(col(RunEventRow.goal_id) == goal_id)
    if agent_name:
        query = query.where(col(RunEventRow.agent_name) == agent_name)
    if user_id:
        query = query.where(col(RunEventRow.user_id) == user_id)
    rows = tx.session.execute(query.order_by(col(RunEventRow.id)).limit(limit)).scalars()
    return tuple(_placed(row) for row in rows)


def position_before(tx: Tx, at: datetime) -> int:
    """Return the place of the newest event of all runs that is older than this, or 0."""
    query = select(func.max(col(RunEventRow.id))).where(col(RunEventRow.created_at) < at)
    return int(tx.session.execute(query).scalar() or 0)


def newest_position(tx: Tx) -> int:
    """Return the place of the newest event of all runs, or 0."""
    return int(tx.session.execute(select(func.max(col(RunEventRow.id)))).scalar() or 0)
