"""Moves jobs away from nodes: they stop with their grace, in which they may save their work, and go on elsewhere."""

from dataclasses import dataclass
from datetime import datetime

from control_plane.fleet import progress
from control_plane.fleet.ladder import InTheWay, in_the_way
from control_plane.governor import books
from control_plane.model.ids import JobId, NodeId
from control_plane.model.job import AllocationState
from control_plane.model.repair import Rung
from control_plane.store import allocations, audit, jobs
from control_plane.store.database import Tx


@dataclass(frozen=True, slots=True)
class Occupant:
    """A member of a job that has not ended on a node."""

    job_id: JobId
    gpu_uuids: tuple[str, ...]
    stopping: bool
    stop_grace_seconds: int
    placed_at: datetime


def occupants(tx: Tx, node_id: NodeId) -> tuple[Occupant, ...]:
    """Return what has not ended on the node."""
    found = []
    for allocation in allocations.live(tx, node_id=node_id):
        job = jobs.require(tx, allocation.job_id, with_allocations=False)
        found += [
            Occupant(
                job.id,
                member.gpu_uuids,
                allocation.stop_requested,
                job.spec.stop_grace_seconds,
                allocation.created_at,
            )
            for member in allocation.members
            if member.node_id == node_id and member.state is not AllocationState.ENDED
        ]
    return tuple(found)


def obstacles(
    present: tuple[Occupant, ...], rung: Rung, service: str, gpu_uuids: tuple[str, ...]
) -> tuple[Occupant, ...]:
    """Return what stands in the way of a repair. `gpu_uuids` empty means all of the host."""
    scope = in_the_way(rung, service)
    if scope is InTheWay.NONE:
        return ()
    if scope is InTheWay.ALL or not gpu_uuids:
        return present
    wanted = set(gpu_uuids)
    return tuple(one for one in present if wanted.intersection(one.gpu_uuids))


def move_jobs(
    tx: Tx, node_id: NodeId, *, gpu_uuids: tuple[str, ...], reason: str, by: str, action_id: str = ""
) -> tuple[JobId, ...]:
    """Have the node's jobs go on elsewhere, or only those on these GPUs; return which are asked to stop for it."""
    wanted = set(gpu_uuids)
    moved = []
    for allocation in allocations.live(tx, node_id=node_id):
        here = [
            member
            for member in allocation.members
            if member.node_id == node_id
            and member.state is not AllocationState.ENDED
            and (not wanted or wanted.intersection(member.gpu_uuids))
        ]
        after = progress.request_move(allocation, tx.now)
        if not here or after == allocation:
            continue
        job = books.advance(tx, allocation, after)
        moved.append(job.id)
        audit.append(
            tx,
            agent_name=by,
            action="job.moved",
            reasoning=reason,
            outcome="stopping",
            payload={"allocation_id": allocation.id, "epoch": allocation.epoch},
            action_id=action_id,
            goal_id=job.goal_id or "",
            job_id=job.id,
            node_id=node_id,
            user_id=job.user_id,
        )
    return tuple(moved)
