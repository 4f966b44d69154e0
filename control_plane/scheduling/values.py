"""Nodes, attempts and jobs of the store as the queue and the placement see them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from control_plane.fleet import executors
from control_plane.fleet.placement.room import Claim, Host
from control_plane.fleet.placement.slots import can_share, enforces_shares, slots
from control_plane.fleet.preemption import protected_until, started_at
from control_plane.fleet.queueing.model import WaitingJob
from control_plane.model.action import Placement
from control_plane.model.ids import JobId, NodeId, UserId
from control_plane.model.job import (
    WHOLE_GPU_MILLI,
    Allocation,
    AllocationState,
    Job,
    JobPriority,
    JobState,
    ResourceRequest,
)
from control_plane.model.node import GpuHealth, Node, NodeState
from control_plane.model.team import Team
from control_plane.store.held import Remains

REFUSED: Final = "refused for now: "
"""How the reason begins of a job whose placement the governor has refused."""

_ALL_WELL: Final[Mapping[str, GpuHealth]] = MappingProxyType({})
_NOTHING_TO_LOSE: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class UserLimits(Mapping[UserId, int]):
    """GPUs that accounts may hold at most: what the settings say, except for those that have a limit of their own."""

    default: int
    own: Mapping[UserId, int] = field(default_factory=dict)

    def __getitem__(self, user_id: UserId) -> int:
        """Return the limit of an account, whichever it is."""
        return self.own.get(user_id, self.default)

    def __iter__(self) -> Iterator[UserId]:
        """Yield the accounts that have a limit of their own."""
        return iter(self.own)

    def __len__(self) -> int:
        """Return how many have a limit of their own."""
        return len(self.own)


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may hold how much."""

    teams: tuple[Team, ...]
    limits: UserLimits


def host_of(node: Node, *, unwell: Mapping[str, GpuHealth] = _ALL_WELL, closed: bool = False) -> Host | None:
    """Return the node as a host; None if it has left the fleet or never said what it is made of.

    `unwell` is what conditions say of its GPUs; `closed` that one keeps it from taking jobs.
    """
    inventory = node.inventory
    if inventory is None or node.state is NodeState.REVOKED:
        return None
    return Host(
        node_id=node.id,
        name=node.name,
        slots=slots(inventory, unwell),
        cpu_milli=inventory.cpu_count * 1000,
        memory_bytes=inventory.memory_bytes,
        labels=executors.labels(node),
        open=node.state is NodeState.READY and node.connected and not closed,
        shares=can_share(inventory),
        enforces_shares=enforces_shares(inventory),
    )


def claim_of(job: Job, allocation: Allocation, *, min_runtime_seconds: float) -> Claim | None:
    """Return what an attempt still holds, None if nothing."""
    placements = _held(allocation)
    if not placements:
        return None
    began = started_at(allocation)
    return Claim(
        allocation_id=allocation.id,
        job_id=job.id,
        user_id=job.user_id,
        team=job.team,
        priority=job.spec.priority,
        resources=executors.asked(job.spec),
        placements=placements,
        started_at=began,
        ends_by=began + timedelta(seconds=allocation.max_runtime_seconds + job.spec.stop_grace_seconds),
        protected_until=protected_until(allocation, min_runtime_seconds),
        # A job that saves its work when it is asked to loses nothing by making way.
        checkpointed_at=_NOTHING_TO_LOSE if job.spec.checkpoint_signal else None,
        stopping=allocation.stop_requested,
    )


def bare_claim_of(attempt: Allocation | Remains, user_id: UserId, job: Job | None = None) -> Claim | None:
    """Return what an attempt holds of which no more can be read. Nobody has it make way.

    Without its `job`, of which nothing else can be read either, its hosts are for itself.
    """
    placements = attempt.placements if isinstance(attempt, Remains) else _held(attempt)
    if not placements:
        return None
    bare = ResourceRequest(
        gpu_count=sum(len(one.gpu_uuids) for one in placements),
        gpu_milli=attempt.gpu_milli % WHOLE_GPU_MILLI,
        exclusive_nodes=True,
    )
    return Claim(
        allocation_id=attempt.id,
        job_id=attempt.job_id,
        user_id=user_id,
        team="" if job is None else job.team,
        priority=max(JobPriority),
        resources=bare if job is None else executors.asked(job.spec),
        placements=placements,
        started_at=attempt.created_at if isinstance(attempt, Remains) else started_at(attempt),
        protected_until=_NOTHING_TO_LOSE,
        stopping=attempt.stop_requested,
    )


def _held(allocation: Allocation) -> tuple[Placement, ...]:
    if allocation.state is AllocationState.ENDED:
        return ()
    return tuple(
        Placement(member.rank, member.node_id, member.gpu_uuids)
        for member in allocation.members
        if member.state is not AllocationState.ENDED
    )


def waiting_of(job: Job, dependencies: Mapping[JobId, JobState]) -> WaitingJob:
    """Return a queued job as it waits. `dependencies` are the states of jobs that it may wait for."""
    return WaitingJob(
        job_id=job.id,
        user_id=job.user_id,
        user_email=job.user_email,
        team=job.team,
        priority=job.spec.priority,
        resources=executors.asked(job.spec),
        queued_at=job.queued_at,
        epoch=job.epoch,
        max_runtime_seconds=job.spec.max_runtime_seconds,
        waits_for=tuple(one for one in job.spec.depends_on if dependencies.get(one) is not JobState.SUCCEEDED),
    )


def placed_on(claim: Claim) -> frozenset[NodeId]:
    """Return the nodes that a claim is on."""
    return frozenset(placement.node_id for placement in claim.placements)
