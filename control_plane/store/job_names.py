"""Finds jobs by their names, which are not unique."""

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import JobId, UserId
from control_plane.model.job import JobState
from control_plane.store.database import Tx
from control_plane.store.tables import JobRow

_UNENDED = tuple(state.value for state in JobState if not state.ended)


def newest(tx: Tx, name: str, *, limit: int, user_id: UserId | None = None, unended: bool = False) -> tuple[JobId, ...]:
    """Return the jobs of this exact name, newest first: of one user or of all, with `unended` only live ones."""
    query = select(col(JobRow.id)).where(col(JobRow.name) == name)
    if user_id is not None:
        query = query.where(col(JobRow.user_id) == user_id)
    if unended:
        query = query.where(col(JobRow.status).in_(_UNENDED))
    query = query.order_by(col(JobRow.created_at).desc(), col(JobRow.id).desc()).limit(limit)
    return tuple(JobId(job_id) for job_id in tx.session.execute(query).scalars())
