"""What the rows of an attempt say: of one that cannot be read, that and why."""

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlmodel import col

from control_plane.model.ids import AllocationId, JobId, NodeId
from control_plane.model.job import Allocation, AllocationMember, AllocationState, ExitReason
from control_plane.model.money import from_micros
from control_plane.store.database import Tx
from control_plane.store.pages import batched
from control_plane.store.readable import BROKEN, Unreadable, why_of
from control_plane.store.tables import AllocationMemberRow, AllocationRow


def reader(tx: Tx, rows: Sequence[AllocationRow]) -> Callable[[AllocationRow], Allocation]:
    """Return what makes an attempt with its members of each of these rows: one statement for many of them.

    It raises Unreadable.
    """
    members: dict[str, list[AllocationMemberRow]] = {row.id: [] for row in rows}
    for ids in batched(members):
        query = select(AllocationMemberRow).where(col(AllocationMemberRow.allocation_id).in_(ids))
        for member in tx.session.execute(query.order_by(col(AllocationMemberRow.rank))).scalars():
            members[member.allocation_id].append(member)

    def read(row: AllocationRow) -> Allocation:
        try:
            return _model(row, tuple(map(_member, members[row.id])))
        except BROKEN as error:
            raise Unreadable(f"attempt {row.epoch} of job {row.job_id}", why_of(error)) from error

    return read


def _member(row: AllocationMemberRow) -> AllocationMember:
    return AllocationMember(
        rank=row.rank,
        node_id=NodeId(row.node_id),
        node_name=row.node_name,
        gpu_uuids=_uuids(row.gpu_uuids),
        state=AllocationState(row.state),
        exit_reason=ExitReason(row.exit_reason) if row.exit_reason else None,
        exit_code=row.exit_code,
        signal=row.signal,
        message=row.message,
        peak_memory_bytes=row.peak_memory_bytes,
        gpu_seconds=row.gpu_seconds,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _uuids(found: object) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError("the GPUs of a member are no list")
    return tuple(found)


def _model(row: AllocationRow, members: tuple[AllocationMember, ...]) -> Allocation:
    return Allocation(
        id=AllocationId(row.id),
        job_id=JobId(row.job_id),
        epoch=row.epoch,
        state=AllocationState(row.state),
        gpu_type=row.gpu_type,
        price_usd_per_gpu_hour=from_micros(row.price_usd_micros_per_gpu_hour),
        max_runtime_seconds=row.max_runtime_seconds,
        master_address=row.master_address,
        master_port=row.master_port,
        placement_reason=row.placement_reason,
        created_at=row.created_at,
        members=members,
        stop_requested=row.stop_requested,
        cost_usd=from_micros(row.cost_usd_micros),
        waived=row.waived,
        ended_at=row.ended_at,
        moved=row.moved,
        gpu_milli=row.gpu_milli,
        preempted_for=JobId(row.preempted_for) if row.preempted_for else None,
    )
