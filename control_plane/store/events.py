"""Events: the order in which everything changed. Watch streams and the event bus follow them."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlmodel import col

from control_plane.model.record import Event, Noun
from control_plane.store.tables import EventRow
from control_plane.store.transaction import Tx

_PAGE = 500
_NOUNS = {noun.value: noun for noun in Noun}

_COLUMNS = (
    col(EventRow.sequence),
    col(EventRow.noun),
    col(EventRow.id),
    col(EventRow.parent_id),
    col(EventRow.kind),
    col(EventRow.message),
    col(EventRow.created_at),
)
"""What an event is made of, in its order. Many read all events: columns cost a third of what rows as objects do."""


def newest(tx: Tx) -> int:
    """Return the newest event's sequence number, or 0; those of this transaction count."""
    tx.settle()
    return int(tx.session.connection().execute(select(func.max(col(EventRow.sequence)))).scalar() or 0)


def newest_before(tx: Tx, at: datetime) -> int:
    """Return the sequence number of the newest event that is older than this, or 0."""
    query = select(func.max(col(EventRow.sequence))).where(col(EventRow.created_at) < at)
    return int(tx.session.execute(query).scalar() or 0)


def oldest(tx: Tx) -> int:
    """Return the oldest kept event's sequence number, or 0."""
    return int(tx.session.execute(select(func.min(col(EventRow.sequence)))).scalar() or 0)


def after(tx: Tx, sequence: int, *, limit: int = _PAGE, nouns: Sequence[Noun] = ()) -> tuple[Event, ...]:
    """Return the events after `sequence`, oldest first, at most `limit`."""
    query = select(*_COLUMNS).where(col(EventRow.sequence) > sequence)
    if nouns:
        query = query.where(col(EventRow.noun).in_([noun.value for noun in nouns]))
    rows = tx.session.execute(query.order_by(col(EventRow.sequence)).limit(limit))
    return tuple(Event(number, _NOUNS.get(noun, Noun.UNKNOWN), *rest) for number, noun, *rest in rows)


def prune(tx: Tx, *, keep: int) -> None:
    """Delete all but the newest `keep` events."""
    tx.session.execute(delete(EventRow).where(col(EventRow.sequence) <= newest(tx) - keep))
