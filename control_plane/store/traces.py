"""The trace contexts that callers sent along with goals and jobs."""

from datetime import datetime

from sqlalchemy import delete
from sqlmodel import col

from control_plane.store.database import Tx
from control_plane.store.tables import TraceRow
from orquanta.tracing import TraceContext


def remember(tx: Tx, item_id: str, context: TraceContext) -> None:
    """Note in whose trace a goal or a job was submitted; what was noted first stays."""
    if tx.session.get(TraceRow, item_id) is None:
        tx.session.add(TraceRow(id=item_id, traceparent=context.traceparent(), created_at=tx.now))


def caller(tx: Tx, item_id: str) -> TraceContext | None:
    """Return in whose trace a goal or a job was submitted; None if its submitter did not say."""
    row = tx.session.get(TraceRow, item_id)
    return None if row is None else TraceContext.parse(row.traceparent)


def prune(tx: Tx, *, before: datetime) -> None:
    """Forget the contexts of what was submitted before."""
    tx.session.execute(delete(TraceRow).where(col(TraceRow.created_at) < before))
