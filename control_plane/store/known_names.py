"""Finds what bears one of some names, without regard to capitals."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.model.ids import JobId, UserId
from control_plane.model.job import JobState
from control_plane.model.node import NodeState
from control_plane.store.database import Tx
from control_plane.store.tables import JobRow, NodeRow

_NODES_MAX = 100
_JOBS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class NamedJob:
    """A job by its name, and how it is."""

    id: JobId
    name: str
    state: JobState


def nodes_named(tx: Tx, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, as they are written, of nodes that are not revoked; `names` are in lower case."""
    query = select(col(NodeRow.name)).where(
        func.lower(col(NodeRow.name)).in_(names), col(NodeRow.state) != NodeState.REVOKED.value
    )
    return tuple(tx.session.execute(query.order_by(col(NodeRow.name)).limit(_NODES_MAX)).scalars())


def jobs_named(tx: Tx, user_id: UserId, names: Sequence[str]) -> tuple[NamedJob, ...]:
    """Return a user's jobs of these names, newest first; `names` are in lower case."""
    query = select(col(JobRow.id), col(JobRow.name), col(JobRow.status)).where(
        col(JobRow.user_id) == user_id, func.lower(col(JobRow.name)).in_(names)
    )
    query = query.order_by(col(JobRow.created_at).desc(), col(JobRow.id).desc()).limit(_JOBS_MAX)
    return tuple(NamedJob(JobId(one), name, JobState(state)) for one, name, state in tx.session.execute(query))


def live_jobs(tx: Tx, user_id: UserId, *, limit: int) -> tuple[NamedJob, ...]:
    """Return a user's jobs that have not ended, newest first."""
    unended = [state.value for state in JobState if not state.ended]
    query = select(col(JobRow.id), col(JobRow.name), col(JobRow.status)).where(
        col(JobRow.user_id) == user_id, col(JobRow.status).in_(unended)
    )
    query = query.order_by(col(JobRow.created_at).desc(), col(JobRow.id).desc()).limit(limit)
    return tuple(NamedJob(JobId(one), name, JobState(state)) for one, name, state in tx.session.execute(query))
