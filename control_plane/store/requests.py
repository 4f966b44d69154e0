"""Request ids: what makes a retried mutation safe."""

from datetime import datetime

from sqlalchemy import delete
from sqlmodel import col

from control_plane.errors import AlreadyExists
from control_plane.model.ids import UserId
from control_plane.store.database import Tx
from control_plane.store.tables import RequestRow


def remembered(tx: Tx, *, user_id: UserId, method: str, request_id: str, fingerprint: str) -> str | None:
    """Return what the first call with this request id made, or None if this is the first.

    Raises AlreadyExists when the first call asked for something else.
    """
    row = tx.session.get(RequestRow, (user_id, method, request_id))
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise AlreadyExists(
            f"request_id {request_id!r} was used for a different request; use a fresh one for each new request",
            reason="REQUEST_ID_REUSED",
        )
    return row.result_id


def remember(tx: Tx, *, user_id: UserId, method: str, request_id: str, fingerprint: str, result_id: str) -> None:
    """Record what a call made, in the same transaction that makes it."""
    tx.session.add(
        RequestRow(
            user_id=user_id,
            method=method,
            request_id=request_id,
            fingerprint=fingerprint,
            result_id=result_id,
            created_at=tx.now,
        )
    )
    tx.session.flush()


def prune(tx: Tx, *, older_than: datetime) -> None:
    """Forget old request ids."""
    tx.session.execute(delete(RequestRow).where(col(RequestRow.created_at) < older_than))
