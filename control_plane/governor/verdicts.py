"""Says whose fault the end of an attempt was, once its hosts have had time to tell of a fault. An observation."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial

from control_plane.fleet import faults, progress
from control_plane.governor import books
from control_plane.model.health import Condition
from control_plane.model.ids import AllocationId, NodeId
from control_plane.model.job import Allocation
from control_plane.store import allocations, audit, conditions, jobs
from control_plane.store.database import Tx
from control_plane.store.readable import readable

_HISTORY = 100
_HEARD_WITHIN = timedelta(minutes=10)
"""Changes of one host's conditions that are looked at: what was raised may be over already."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An attempt that waits for its verdict. `settled`: more time would not change the verdict."""

    allocation_id: AllocationId
    settled: bool


def doubts(tx: Tx) -> tuple[Doubt, ...]:
    """Return the attempts that wait for their verdict and can be read, oldest first, at most 500."""
    told = cache(partial(_told, tx))

    def doubt(one: Allocation) -> Doubt:
        found = faults.faults_of(one, _by_node(one, told))
        return Doubt(one.id, bool(found) or jobs.require(tx, one.job_id, with_allocations=False).cancel_requested)

    return tuple(readable(tx, allocations.undecided(tx), doubt, "what an attempt waits for"))


def conclude(tx: Tx, allocation_id: AllocationId) -> bool:
    """End an attempt that waits for its verdict, by what is known now; return False if it does not wait."""
    before = allocations.get(tx, allocation_id)
    if before is None or not progress.is_undecided(before):
        return False
    found = faults.faults_of(before, _by_node(before, partial(_told, tx)))
    job = books.advance(tx, before, progress.conclude(before, tx.now, found))
    if found:
        audit.append(
            tx,
            agent_name="node-link",
            action="attempt.lost_to_fault",
            reasoning="; ".join(found.values()),
            outcome=job.state.value,
            payload={"allocation_id": before.id, "epoch": before.epoch, "ranks": sorted(found)},
            goal_id=job.goal_id or "",
            job_id=job.id,
            user_id=job.user_id,
        )
    return True


def _by_node(
    attempt: Allocation, told: Callable[[NodeId], tuple[Condition, ...]]
) -> dict[NodeId, tuple[Condition, ...]]:
    return {member.node_id: told(member.node_id) for member in attempt.members}


def _told(tx: Tx, node_id: NodeId) -> tuple[Condition, ...]:
    """Return what a host says, and has said of late, is wrong with it."""
    since = tx.now - _HEARD_WITHIN
    lately = conditions.history(tx, node_id, limit=_HISTORY, since=since)
    return (*conditions.of_node(tx, node_id), *(event.condition for event in lately))
