"""Allocations, their members and the GPUs they hold."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from sqlalchemy import func, select
from sqlmodel import col

from control_plane.fleet import lifecycle
from control_plane.model.ids import AllocationId, JobId, NodeId, UserId
from control_plane.model.job import Allocation, AllocationMember, AllocationState
from control_plane.model.money import to_micros
from control_plane.model.node import NodeState
from control_plane.model.record import Noun
from control_plane.store import gpu_holds, occupied
from control_plane.store.attempt_rows import reader
from control_plane.store.database import Tx
from control_plane.store.gpu_holds import GpuHold
from control_plane.store.pages import batched
from control_plane.store.readable import Unreadable, readable
from control_plane.store.tables import AllocationMemberRow, AllocationRow, JobRow, NodeRow

ASSIGNMENTS_CHANGED = "node.assignments_changed"

_NO_PARENTS: Final[Mapping[str, str]] = MappingProxyType({})


def _models(tx: Tx, rows: Sequence[AllocationRow]) -> tuple[Allocation, ...]:
    """Return attempts with their members: two statements for any number of them. Raises Unreadable."""
    return tuple(map(reader(tx, rows), rows))


def _readable(tx: Tx, rows: Sequence[AllocationRow]) -> tuple[Allocation, ...]:
    """Return those of the attempts that can be read, with their members."""
    return tuple(readable(tx, rows, reader(tx, rows)))


def get(tx: Tx, allocation_id: AllocationId) -> Allocation | None:
    """Return the allocation, or None. Raises Unreadable."""
    row = tx.session.get(AllocationRow, allocation_id)
    return None if row is None else _models(tx, [row])[0]


def existing(tx: Tx, allocation_ids: Iterable[AllocationId]) -> frozenset[AllocationId]:
    """Return those of the ids that an allocation has."""
    found: set[AllocationId] = set()
    for ids in batched(allocation_ids):
        query = select(col(AllocationRow.id)).where(col(AllocationRow.id).in_(ids))
        found.update(AllocationId(allocation_id) for allocation_id in tx.session.execute(query).scalars())
    return frozenset(found)


def of_jobs(tx: Tx, job_ids: Sequence[JobId]) -> dict[JobId, tuple[Allocation, ...]]:
    """Return the attempts of each of the jobs that has any, newest last. Raises Unreadable."""
    found, unread = readable_of_jobs(tx, job_ids)
    for error in unread.values():
        raise error
    return found


def readable_of_jobs(
    tx: Tx, job_ids: Sequence[JobId]
) -> tuple[dict[JobId, tuple[Allocation, ...]], dict[JobId, Unreadable]]:
    """Return the attempts of each of the jobs that can be read, newest last, and why another of a job cannot be."""
    found: dict[JobId, tuple[Allocation, ...]] = {}
    unread: dict[JobId, Unreadable] = {}
    for ids in batched(job_ids):
        query = select(AllocationRow).where(col(AllocationRow.job_id).in_(ids)).order_by(col(AllocationRow.epoch))
        rows = tx.session.execute(query).scalars().all()
        read = reader(tx, rows)
        for row in rows:
            job_id = JobId(row.job_id)
            try:
                found[job_id] = (*found.get(job_id, ()), read(row))
            except Unreadable as error:
                unread[job_id] = error
    return found, unread


def live(tx: Tx, *, node_id: NodeId | None = None) -> tuple[Allocation, ...]:
    """Return the allocations that have not ended, on one node or on all. Raises Unreadable."""
    if node_id is not None and occupied.is_empty(tx, node_id):
        return ()
    query = select(AllocationRow).where(col(AllocationRow.state) != AllocationState.ENDED.value)
    if node_id is not None:
        here = select(col(AllocationMemberRow.allocation_id)).where(
            col(AllocationMemberRow.node_id) == node_id,
            col(AllocationMemberRow.state) != AllocationState.ENDED.value,
        )
        query = query.where(col(AllocationRow.id).in_(here))
    return _models(tx, tx.session.execute(query.order_by(col(AllocationRow.id))).scalars().all())


def stranded(tx: Tx) -> tuple[Allocation, ...]:
    """Return the allocations, of those that can be read, with an unended member on a node that is lost or revoked."""
    there = (
        select(col(AllocationMemberRow.allocation_id))
        .join(NodeRow, col(NodeRow.id) == col(AllocationMemberRow.node_id))
        .where(
            col(AllocationMemberRow.state) != AllocationState.ENDED.value,
            col(NodeRow.state).in_((NodeState.LOST.value, NodeState.REVOKED.value)),
        )
    )
    query = select(AllocationRow).where(
        col(AllocationRow.state) != AllocationState.ENDED.value, col(AllocationRow.id).in_(there)
    )
    return _readable(tx, tx.session.execute(query.order_by(col(AllocationRow.id))).scalars().all())


def undecided(tx: Tx, *, limit: int = 500) -> tuple[Allocation, ...]:
    """Return attempts, oldest first, whose members have all ended and that wait for the verdict whose fault it was.

    Those that cannot be read are left out.
    """
    left = select(col(AllocationMemberRow.rank)).where(
        col(AllocationMemberRow.allocation_id) == col(AllocationRow.id),
        col(AllocationMemberRow.state) != AllocationState.ENDED.value,
    )
    query = select(AllocationRow).where(col(AllocationRow.state) == AllocationState.STOPPING.value, ~left.exists())
    oldest = query.order_by(col(AllocationRow.created_at), col(AllocationRow.id)).limit(limit)
    return _readable(tx, tx.session.execute(oldest).scalars().all())


def insert(
    tx: Tx,
    allocation: Allocation,
    user_id: UserId,
    *,
    team: str = "",
    parents: Mapping[str, str] = _NO_PARENTS,
) -> None:
    """Record an attempt and take its GPUs. `parents` tells, by MIG device, the GPU that it is on.

    More than there is of a GPU raises the database's own error.
    """
    tx.session.add(
        AllocationRow(
            id=allocation.id,
            job_id=allocation.job_id,
            epoch=allocation.epoch,
            state=allocation.state.value,
            gpu_type=allocation.gpu_type,
            price_usd_micros_per_gpu_hour=to_micros(allocation.price_usd_per_gpu_hour),
            max_runtime_seconds=allocation.max_runtime_seconds,
            master_address=allocation.master_address,
            master_port=allocation.master_port,
            placement_reason=allocation.placement_reason,
            created_at=allocation.created_at,
            gpu_milli=allocation.gpu_milli,
        )
    )
    tx.session.flush()
    for member in allocation.members:
        occupied.fill(tx, member.node_id)
        tx.session.add(
            AllocationMemberRow(
                allocation_id=allocation.id,
                rank=member.rank,
                node_id=member.node_id,
                node_name=member.node_name,
                gpu_uuids=list(member.gpu_uuids),
                state=member.state.value,
            )
        )
        for gpu_uuid in member.gpu_uuids:
            hold = GpuHold(
                gpu_uuid, member.node_id, allocation.id, allocation.job_id, user_id, team, allocation.gpu_milli
            )
            gpu_holds.take(tx, hold, parent_uuid=parents.get(gpu_uuid, ""))
        _assignments_changed(tx, member.node_id)
    tx.session.flush()


def update(tx: Tx, before: Allocation, after: Allocation) -> None:
    """Write what differs between two versions of an allocation, and free its GPUs when it ends."""
    row = tx.session.get(AllocationRow, after.id)
    if row is None:
        raise LookupError(f"allocation {after.id} vanished")
    if after.state is not before.state:
        lifecycle.ALLOCATION.check(before.state, after.state)
    row.state = after.state.value
    row.stop_requested = after.stop_requested
    row.cost_usd_micros = to_micros(after.cost_usd)
    row.waived = after.waived
    row.moved = after.moved
    row.preempted_for = after.preempted_for or ""
    row.ended_at = after.ended_at
    tx.session.add(row)
    earlier = {member.rank: member for member in before.members}
    for member in after.members:
        if member != earlier[member.rank]:
            _update_member(tx, after.id, member)
            if member.state is AllocationState.ENDED and earlier[member.rank].state is not AllocationState.ENDED:
                gpu_holds.free(tx, after.id, member.gpu_uuids)
                _assignments_changed(tx, member.node_id)
    if after.stop_requested and not before.stop_requested:
        tell_hosts(tx, after)
    if after != before:
        # Attempts are part of their job: who watches or remembers the job must hear of this.
        job = tx.session.get(JobRow, after.job_id)
        goal_id = "" if job is None else job.goal_id or ""
        tx.emit(Noun.JOB, after.job_id, "job.attempt_changed", f"attempt {after.epoch}", parent_id=goal_id)


def tell_hosts(tx: Tx, allocation: Allocation) -> None:
    """Have the attempt's hosts told anew what is to become of it."""
    for member in allocation.members:
        _assignments_changed(tx, member.node_id)


def _update_member(tx: Tx, allocation_id: AllocationId, member: AllocationMember) -> None:
    row = tx.session.get(AllocationMemberRow, (allocation_id, member.rank))
    if row is None:
        raise LookupError(f"member {member.rank} of allocation {allocation_id} vanished")
    row.state = member.state.value
    row.exit_reason = member.exit_reason.value if member.exit_reason else ""
    row.exit_code = member.exit_code
    row.signal = member.signal
    row.message = member.message
    row.peak_memory_bytes = member.peak_memory_bytes
    row.gpu_seconds = member.gpu_seconds
    row.started_at = member.started_at
    row.ended_at = member.ended_at
    tx.session.add(row)


def _assignments_changed(tx: Tx, node_id: NodeId) -> None:
    tx.emit(Noun.NODE, node_id, ASSIGNMENTS_CHANGED, "", parent_id=node_id)


def making_way_for(tx: Tx, job_id: JobId) -> tuple[JobId, ...]:
    """Return the jobs that are stopping so that this one can start."""
    query = select(col(AllocationRow.job_id)).where(
        col(AllocationRow.preempted_for) == job_id, col(AllocationRow.state) != AllocationState.ENDED.value
    )
    return tuple(JobId(one) for one in tx.session.execute(query.order_by(col(AllocationRow.job_id))).scalars())


def preempting(tx: Tx) -> dict[JobId, int]:
    """Return, by the job that they make way for, how many attempts are stopping for it."""
    query = (
        select(col(AllocationRow.preempted_for), func.count())
        .where(col(AllocationRow.preempted_for) != "", col(AllocationRow.state) != AllocationState.ENDED.value)
        .group_by(col(AllocationRow.preempted_for))
    )
    return {JobId(job_id): int(number) for job_id, number in tx.session.execute(query)}


def is_ours(tx: Tx, node_id: NodeId, job_id: JobId) -> bool:
    """Tell whether the job ever had a member on the node."""
    query = (
        select(col(JobRow.id))
        .join(AllocationRow, col(AllocationRow.job_id) == col(JobRow.id))
        .join(AllocationMemberRow, col(AllocationMemberRow.allocation_id) == col(AllocationRow.id))
        .where(col(JobRow.id) == job_id, col(AllocationMemberRow.node_id) == node_id)
        .limit(1)
    )
    return tx.session.execute(query).first() is not None
