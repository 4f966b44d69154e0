"""What the newest attempts of jobs hold, also those that cannot be read: nobody else may have it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.action import Placement
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import Allocation, AllocationState, JobState
from control_plane.store.attempt_rows import reader
from control_plane.store.database import Tx
from control_plane.store.pages import batched
from control_plane.store.readable import Unreadable, set_aside
from control_plane.store.tables import AllocationMemberRow, AllocationRow, GpuHoldRow, JobRow


@dataclass(frozen=True, slots=True)
class Remains:
    """What the books say apart from an attempt that cannot be read: where it is, and what is held for it there."""

    id: AllocationId
    job_id: JobId
    created_at: datetime
    gpu_milli: int
    stop_requested: bool
    placements: tuple[Placement, ...]


def newest(tx: Tx, job_ids: Sequence[JobId]) -> dict[JobId, Allocation | Remains]:
    """Return the newest attempt that has not ended of each of the jobs that has one."""
    found: dict[JobId, Allocation | Remains] = {}
    for ids in batched(job_ids):
        query = select(AllocationRow).where(
            col(AllocationRow.job_id).in_(ids), col(AllocationRow.state) != AllocationState.ENDED.value
        )
        rows = tx.session.execute(query.order_by(col(AllocationRow.epoch))).scalars().all()
        read = reader(tx, rows)
        for row in {row.job_id: row for row in rows}.values():
            try:
                found[JobId(row.job_id)] = read(row)
            except Unreadable as error:
                set_aside(tx, f"allocations {row.id}", error)
                found[JobId(row.job_id)] = _remains(tx, row)
    return found


def _remains(tx: Tx, row: AllocationRow) -> Remains:
    members = select(col(AllocationMemberRow.node_id)).where(
        col(AllocationMemberRow.allocation_id) == row.id,
        col(AllocationMemberRow.state) != AllocationState.ENDED.value,
    )
    on: dict[str, list[str]] = {node_id: [] for node_id in tx.session.execute(members).scalars()}
    held = select(col(GpuHoldRow.node_id), col(GpuHoldRow.gpu_uuid)).where(col(GpuHoldRow.allocation_id) == row.id)
    for node_id, gpu_uuid in tx.session.execute(held.order_by(col(GpuHoldRow.gpu_uuid))):
        on.setdefault(node_id, []).append(gpu_uuid)
    placements = (Placement(rank, NodeId(node_id), tuple(on[node_id])) for rank, node_id in enumerate(sorted(on)))
    return Remains(
        AllocationId(row.id), JobId(row.job_id), row.created_at, row.gpu_milli, row.stop_requested, tuple(placements)
    )


def by_unknown(tx: Tx) -> tuple[JobId, ...]:
    """Return the jobs that hold GPUs and whose state nobody here knows."""
    known = [state.value for state in JobState]
    query = (
        select(col(GpuHoldRow.job_id))
        .join(JobRow, col(JobRow.id) == col(GpuHoldRow.job_id))
        .where(col(JobRow.status).not_in(known))
    )
    return tuple(JobId(job_id) for job_id in tx.session.execute(query.distinct()).scalars())


def user_ids(tx: Tx, job_ids: Iterable[JobId]) -> dict[JobId, UserId]:
    """Return whose each of the jobs is."""
    found: dict[JobId, UserId] = {}
    for ids in batched(job_ids):
        query = select(col(JobRow.id), col(JobRow.user_id)).where(col(JobRow.id).in_(ids))
        found.update({JobId(job_id): UserId(user_id) for job_id, user_id in tx.session.execute(query)})
    return found
