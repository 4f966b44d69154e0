"""What models were asked about causes: each subject is asked about once, so that asking again costs nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import delete, func, select
from sqlmodel import col

from control_plane.model.diagnosis import Diagnosis
from control_plane.model.ids import IncidentId, JobId, UserId
from control_plane.store.database import Tx
from control_plane.store.diagnosis_tables import DiagnosisRow
from control_plane.store.documents import Document

KEPT: Final = timedelta(days=180)
"""For how long answers are kept."""
ASKS_MAX: Final = 3
"""Times that a subject is asked about, at most: endpoints that were away, and incidents that have changed."""

AGAIN: Final = timedelta(minutes=10)
"""So long after an endpoint that was away, or for an incident that has changed, a model is asked again."""
_HOUR: Final = timedelta(hours=1)
_PRUNED_MAX: Final = 500

_DIAGNOSIS = Document(TypeAdapter(Diagnosis))


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of asking. `answer` is None where a model was asked in vain, as `vain` says, or is asked now.

    `basis` names what was shown; `settled` says that it is not asked about again while that stays the same.
    """

    basis: str
    asks: int
    asked_at: datetime
    answer: Diagnosis | None
    vain: str
    settled: bool


def job_subject(job_id: JobId, attempt: int) -> str:
    """Return what an answer about an attempt of a job is kept under."""
    return f"job:{job_id}/attempt/{attempt}"


def incident_subject(incident_id: IncidentId) -> str:
    """Return what an answer about an incident is kept under."""
    return f"incident:{incident_id}"


def get(tx: Tx, subject: str) -> Kept | None:
    """Return what came of asking, or None if nobody has asked."""
    row = tx.session.get(DiagnosisRow, subject)
    return None if row is None else _kept(row)


def may_begin(kept: Kept | None, basis: str, now: datetime) -> bool:
    """Tell whether a model may be asked about a subject now, as far as what came of earlier times goes."""
    if kept is None:
        return True
    if kept.asks >= ASKS_MAX or now - kept.asked_at < AGAIN:
        return False
    return kept.basis != basis or not kept.settled


def begin(tx: Tx, subject: str, basis: str, *, user_id: UserId | None) -> bool:
    """Note that a model is being asked; False if it may not be asked now."""
    row = tx.session.get(DiagnosisRow, subject)
    if not may_begin(None if row is None else _kept(row), basis, tx.now):
        return False
    tx.session.execute(
        delete(DiagnosisRow).where(
            col(DiagnosisRow.subject).in_(
                select(col(DiagnosisRow.subject)).where(col(DiagnosisRow.asked_at) < tx.now - KEPT).limit(_PRUNED_MAX)
            )
        )
    )
    row = row or DiagnosisRow(subject=subject, basis=basis, asked_at=tx.now)
    row.basis, row.user_id, row.asked_at = basis, user_id or "", tx.now
    row.asks += 1
    row.vain, row.settled = "", False
    tx.session.add(row)
    return True


def finish(tx: Tx, subject: str, *, answer: Diagnosis | None = None, vain: str = "", settled: bool = True) -> None:
    """Keep what came of it. An answer that is there stays if none comes after it."""
    row = tx.session.get(DiagnosisRow, subject)
    if row is None:  # pruned meanwhile
        return
    if answer is not None:
        row.answer = _DIAGNOSIS.dump(answer)
    row.vain, row.settled = vain, settled
    tx.session.add(row)


def asked_within_hour(tx: Tx, user_id: UserId | None) -> int:
    """Return about how many subjects were asked about in the last hour on behalf of somebody, or of nobody."""
    query = select(func.count()).where(
        col(DiagnosisRow.user_id) == (user_id or ""), col(DiagnosisRow.asked_at) > tx.now - _HOUR
    )
    return int(tx.session.execute(query).scalar_one())


def _kept(row: DiagnosisRow) -> Kept:
    return Kept(
        basis=row.basis,
        asks=row.asks,
        asked_at=row.asked_at,
        answer=None if row.answer is None else _DIAGNOSIS.load(row.answer),
        vain=row.vain,
        settled=row.settled,
    )
