"""Events: the order in which everything changed. Watch streams and the event bus follow them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlmodel import col

from control_plane.model.record import Event, Noun
from control_plane.store.database import Tx
from control_plane.store.tables import EventRow

_PAGE = 500


def _model(row: EventRow) -> Event:
    return Event(
        sequence=row.sequence or 0,
        noun=Noun(row.noun),
        id=row.id,
        parent_id=row.parent_id,
        kind=row.kind,
        message=row.message,
        created_at=row.created_at,
    )


def newest(tx: Tx) -> int:
    """Return the newest event's sequence number, or 0."""
    return int(tx.session.execute(select(func.max(col(EventRow.sequence)))).scalar() or 0)


def newest_before(tx: Tx, at: datetime) -> int:
    """Return the sequence number of the newest event that is older than this, or 0."""
    query = select(func.max(col(EventRow.sequence))).where(col(EventRow.created_at) < at)
    return int(tx.session.execute(query).scalar() or 0)


def oldest(tx: Tx) -> int:
    """Return the oldest kept event's sequence number, or 0."""
    return int(tx.session.execute(select(func.min(col(EventRow.sequence)))).scalar() or 0)


def after(tx: Tx, sequence: int, *, limit: int = _PAGE, nouns: Sequence[Noun] = ()) -> tuple[Event, ...]:
    """Return the events after `sequence`, oldest first, at most `limit`."""
    query = select(EventRow).where(col(EventRow.sequence) > sequence)
    if nouns:
        query = query.where(col(EventRow.noun).in_([noun.value for noun in nouns]))
    rows = tx.session.execute(query.order_by(col(EventRow.sequence)).limit(limit)).scalars()
    return tuple(_model(row) for row in rows)


def prune(tx: Tx, *, keep: int) -> None:
    """Delete all but the newest `keep` events."""
    tx.session.execute(delete(EventRow).where(col(EventRow.sequence) <= newest(tx) - keep))
