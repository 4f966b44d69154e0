"""Reasoning runs in the database; `run_steps.py` has their steps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, or_, select
from sqlmodel import col

from control_plane.errors import NotFound, PreconditionFailed
from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import ActionId, GoalId, IncidentId, JobId, NodeId, RunId, UserId
from control_plane.model.money import from_micros, to_micros
from control_plane.model.record import Noun
from control_plane.model.run import DEFAULT_LIMITS, Run, RunState, RunUsage
from control_plane.model.run_step import NewRun, RunBook
from control_plane.store.database import Tx
from control_plane.store.documents import Document
from control_plane.store.pages import Page, PageRequest, batched, newest_first
from control_plane.store.readable import readable
from control_plane.store.run_tables import RunEventRow, RunRow, RunStepRow

STEPPED = "run.stepped"
"""Kind of the event that wakes who follows a run."""

_DIAGNOSIS = Document(TypeAdapter(Diagnosis))
_USAGE = Document(TypeAdapter(RunUsage))
_DIAGNOSES = "diagnoses"
_ENDED = [state.value for state in RunState if state.ended]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs; empty means all."""

    goal_id: GoalId | None = None
    agent_name: str = ""
    user_id: UserId | None = None
    states: tuple[RunState, ...] = ()


def _model(row: RunRow) -> Run:
    return Run(
        id=RunId(row.id),
        agent_name=row.agent_name,
        goal_id=None if row.goal_id is None else GoalId(row.goal_id),
        incident_id=None if row.incident_id is None else IncidentId(row.incident_id),
        user_id=None if row.user_id is None else UserId(row.user_id),
        state=RunState(row.state),
        status_reason=row.status_reason,
        result=row.result,
        used=RunUsage(
            turns=row.turns,
            tool_calls=row.tool_calls,
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cost_usd=from_micros(row.cost_usd_micros),
            seconds=row.seconds,
        ),
        limits=_USAGE.load(row.limits),
        reasoner=row.reasoner,
        tainted=row.tainted,
        started_at=row.started_at,
        finished_at=row.finished_at,
        diagnosis=None if row.diagnosis is None else _DIAGNOSIS.load(row.diagnosis),
        version=row.version,
    )


def _book(row: RunRow) -> RunBook:
    return RunBook(
        run=_model(row),
        planned=frozenset((tool, target) for tool, target in row.planned),
        waits_for=tuple(ActionId(one) for one in row.waits_for),
        watches=tuple(NodeId(one) for one in row.watches),
        wake_at=row.wake_at,
        stop_reason=row.stop_reason,
        notes={name: value for name, value in row.notes.items() if name != _DIAGNOSES},
        events=row.events,
        diagnoses={JobId(job): _DIAGNOSIS.load(one) for job, one in row.notes.get(_DIAGNOSES, {}).items()},
    )


def row_of(tx: Tx, run_id: RunId) -> RunRow:
    """Return the run's row, for the parts of the store that keep what belongs to it. Raises NotFound."""
    row = tx.session.get(RunRow, run_id)
    if row is None:
        raise NotFound(f"there is no run {run_id}; list them with: orquanta agent runs", reason="RUN_NOT_FOUND")
    return row


def get(tx: Tx, run_id: RunId) -> Run | None:
    """Return the run, or None."""
    row = tx.session.get(RunRow, run_id)
    return None if row is None else _model(row)


def require(tx: Tx, run_id: RunId) -> Run:
    """Return the run. Raises NotFound."""
    return _model(row_of(tx, run_id))


def of_goal(tx: Tx, goal_id: GoalId) -> Run | None:
    """Return the run that works on a goal, or None."""
    query = select(RunRow).where(col(RunRow.goal_id) == goal_id).order_by(col(RunRow.started_at).desc()).limit(1)
    row = tx.session.execute(query).scalars().first()
    return None if row is None else _model(row)


def ids_of_goals(tx: Tx, goal_ids: Iterable[GoalId]) -> dict[GoalId, RunId]:
    """Return the run of each of the goals that has one."""
    found: dict[GoalId, RunId] = {}
    for ids in batched(goal_ids):
        query = select(col(RunRow.goal_id), col(RunRow.id)).where(col(RunRow.goal_id).in_(ids))
        found.update({GoalId(goal_id): RunId(run_id) for goal_id, run_id in tx.session.execute(query)})
    return found


def page(tx: Tx, which: RunFilter, request: PageRequest) -> Page[Run]:
    """Return a page of runs, newest first."""
    query = select(RunRow)
    if which.goal_id:
        query = query.where(col(RunRow.goal_id) == which.goal_id)
    if which.agent_name:
        query = query.where(col(RunRow.agent_name) == which.agent_name)
    if which.user_id:
        query = query.where(col(RunRow.user_id) == which.user_id)
    if which.states:
        query = query.where(col(RunRow.state).in_([state.value for state in which.states]))
    rows, token = newest_first(tx.session, query, request, col(RunRow.started_at), col(RunRow.id))
    return Page(tuple(readable(tx, rows, _model)), token)


def book(tx: Tx, run_id: RunId) -> RunBook | None:
    """Return the run with what its loop has to know, or None."""
    row = tx.session.get(RunRow, run_id)
    return None if row is None else _book(row)


def due(tx: Tx, *, limit: int) -> tuple[RunId, ...]:
    """Return the runs that have a step to take now, longest waiting first: those that run, wake up or are stopped."""
    query = select(col(RunRow.id)).where(
        col(RunRow.state).not_in(_ENDED),
        or_(
            col(RunRow.state) == RunState.RUNNING.value,
            col(RunRow.stop_reason) != "",
            col(RunRow.wake_at) <= tx.now,
        ),
    )
    rows = tx.session.execute(query.order_by(col(RunRow.started_at), col(RunRow.id)).limit(limit)).scalars()
    return tuple(RunId(one) for one in rows)


def unended(tx: Tx) -> tuple[RunId, ...]:
    """Return every run that has not ended, oldest first: what a loop looks at after a restart."""
    query = select(col(RunRow.id)).where(col(RunRow.state).not_in(_ENDED))
    return tuple(RunId(one) for one in tx.session.execute(query.order_by(col(RunRow.started_at))).scalars())


def insert(tx: Tx, new: NewRun, *, limits: RunUsage = DEFAULT_LIMITS, state: RunState = RunState.RUNNING) -> Run:
    """Record a run, or return the one that is there already under this id."""
    row = tx.session.get(RunRow, new.id)
    if row is None:
        row = RunRow(
            id=new.id,
            agent_name=new.agent_name,
            goal_id=new.goal_id,
            user_id=new.user_id,
            state=state.value,
            reasoner=new.reasoner,
            limits=_USAGE.dump(limits),
            planned=_pairs(new.planned),
            waits_for=[],
            watches=[],
            notes={},
            started_at=tx.now,
        )
        tx.session.add(row)
        tx.session.flush()
    return _model(row)


def _pairs(planned: Iterable[tuple[str, str]]) -> list[list[str]]:
    return sorted([tool, target] for tool, target in planned)


def set_state(
    tx: Tx,
    run_id: RunId,
    state: RunState,
    reason: str,
    *,
    result: str | None = None,
    waits_for: Iterable[ActionId] = (),
    watches: Iterable[NodeId] = (),
    wake_at: datetime | None = None,
) -> Run:
    """Put the run into a state, with what it waits for there. Raises PreconditionFailed for one that has ended."""
    row = row_of(tx, run_id)
    if RunState(row.state).ended:
        raise PreconditionFailed(f"run {run_id} has ended already: {row.state}", reason="RUN_ENDED")
    row.state = state.value
    row.status_reason = reason
    if result is not None:
        row.result = result
    row.waits_for = list(waits_for)
    row.watches = list(watches)
    row.wake_at = wake_at
    row.finished_at = tx.now if state.ended else None
    return changed(tx, row)


def note(
    tx: Tx,
    run_id: RunId,
    *,
    notes: Mapping[str, Any] | None = None,  # Any: JSON of any shape
    planned: Iterable[tuple[str, str]] | None = None,
    reasoner: str | None = None,
    diagnosis: tuple[JobId, Diagnosis] | None = None,
) -> Run:
    """Keep small facts of the run; what is given of `notes` and `planned` is added to what is there.

    `diagnosis` is of a failed job; the run shows the newest.
    """
    row = row_of(tx, run_id)
    if notes is not None:
        row.notes = {**row.notes, **notes}
    if planned is not None:
        row.planned = _pairs({(tool, target) for tool, target in row.planned} | set(planned))
    if reasoner is not None:
        row.reasoner = reasoner
    if diagnosis is not None:
        job_id, found = diagnosis
        row.diagnosis = _DIAGNOSIS.dump(found)
        row.notes = {**row.notes, _DIAGNOSES: {**row.notes.get(_DIAGNOSES, {}), job_id: row.diagnosis}}
    return changed(tx, row)


def request_stop(tx: Tx, run_id: RunId, reason: str) -> Run:
    """Have the run end at its next step; a run that has ended stays as it is. Raises NotFound."""
    row = row_of(tx, run_id)
    if RunState(row.state).ended or row.stop_reason:
        return _model(row)
    row.stop_reason = reason
    return changed(tx, row)


def changed(tx: Tx, row: RunRow) -> Run:
    """Count a change of the run's row and wake who follows it."""
    row.version += 1
    tx.session.add(row)
    tx.emit(Noun.RUN, row.id, STEPPED, row.status_reason, parent_id=row.goal_id or "")
    return _model(row)


def spent_at_least(tx: Tx, run_id: RunId, cost_usd: Decimal) -> None:
    """Raise the run's account to what its models are known to have cost; it is never lowered."""
    row = row_of(tx, run_id)
    row.cost_usd_micros = max(row.cost_usd_micros, to_micros(cost_usd))
    tx.session.add(row)


def prune(tx: Tx, *, before: datetime, limit: int = 500) -> int:
    """Forget runs that ended long ago, with their steps and events; return how many."""
    query = select(col(RunRow.id)).where(col(RunRow.finished_at) < before).limit(limit)
    old = list(tx.session.execute(query).scalars())
    for table in (RunStepRow, RunEventRow):
        tx.session.execute(delete(table).where(col(table.run_id).in_(old)))
    tx.session.execute(delete(RunRow).where(col(RunRow.id).in_(old)))
    return len(old)
