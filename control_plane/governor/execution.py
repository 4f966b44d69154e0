"""Carries out approved effects. Each is a change of the store; hosts then converge on what the store says."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from control_plane.fleet import progress
from control_plane.fleet.cost import estimate_usd, placed_usd, unit_usd_per_hour
from control_plane.fleet.placement.slots import parents
from control_plane.fleet.preemption import request_preemption, time_left_seconds
from control_plane.fleet.prices import OWNED, PriceTable
from control_plane.governor import books, goal_ends, holds, incidents, repair_execution, repairs
from control_plane.governor.hosts import lost_nodes
from control_plane.model.action import (
    CordonNode,
    DrainNode,
    LaunchJobs,
    PlaceJob,
    PreemptJob,
    Proposal,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RequeueJob,
    RevokeNode,
    StopJob,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.ids import ALLOCATION, UserId, new_id
from control_plane.model.job import WHOLE_GPU_MILLI, Allocation, AllocationMember, AllocationState, Job, JobState
from control_plane.model.money import format_usd
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.store import allocations, audit, conditions, jobs, nodes, users
from control_plane.store import repairs as repair_store
from control_plane.store.database import Tx

_FIRST_PORT = 20_000
_PORTS = 12_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an effect came to, for a person, and the money it reserved (or, negative, gave back)."""

    text: str
    cost_impact_usd: Decimal = Decimal(0)


def execute(tx: Tx, proposal: Proposal, prices: PriceTable) -> Outcome:
    """Carry out a proposal whose facts were checked in this transaction."""
    effect = proposal.effect
    match effect:
        case LaunchJobs():
            return _launch(tx, effect, proposal.user_id, prices)
        case PlaceJob():
            return _place(tx, effect, prices)
        case StopJob():
            return _stop(tx, effect)
        case RequeueJob():
            return _requeue(tx, effect)
        case PreemptJob():
            return _preempt(tx, effect, proposal)
        case CordonNode() | UncordonNode() | RevokeNode():
            return Outcome(_change_node(tx, effect))
        case DrainNode() | RepairNode() | QuarantineNode() | ReleaseNode() | UpdateCondition():
            return Outcome(repair_execution.execute(tx, proposal, effect))


def _launch(tx: Tx, effect: LaunchJobs, user_id: UserId | None, prices: PriceTable) -> Outcome:
    if user_id is None:
        raise ValueError("jobs are launched on behalf of an account")
    user = users.require(tx, user_id)
    total = Decimal(0)
    for position, new in enumerate(effect.jobs):
        reserved = estimate_usd(new.spec, prices)
        total += reserved
        jobs.insert(
            tx,
            Job(
                id=new.id,
                goal_id=effect.goal_id,
                user_id=user.id,
                user_email=user.email,
                spec=new.spec,
                state=JobState.QUEUED,
                status_reason="waits for the scheduler",
                epoch=0,
                provider=OWNED,
                created_at=tx.now,
                # Jobs of one launch keep the order of their plan.
                queued_at=tx.now + timedelta(microseconds=position),
                version=1,
                reserved_usd=reserved,
                team=user.team,
            ),
            position=position,
        )
    users.account(tx, user.id, spent_usd=Decimal(0), reserved_usd=total)
    names = ", ".join(f"{new.spec.name} ({new.id})" for new in effect.jobs)
    return Outcome(f"queued {names}; reserved {format_usd(total)}", total)


def _place(tx: Tx, effect: PlaceJob, prices: PriceTable) -> Outcome:
    job = jobs.require(tx, effect.job_id)
    resources = job.spec.resources
    price = unit_usd_per_hour(resources, effect.gpu_type, prices) if effect.gpu_type else Decimal(0)
    # Random: after a database was restored from a backup, an attempt must not be taken for one that it has forgotten.
    allocation_id = new_id(ALLOCATION)
    members = []
    master_address = ""
    of_devices: dict[str, str] = {}
    for placement in effect.placements:
        node = nodes.resolve(tx, placement.node_id)
        if node.inventory is not None:
            master_address = node.inventory.address if placement.rank == 0 else master_address
            of_devices |= parents(node.inventory)
        members.append(AllocationMember(placement.rank, node.id, node.name, placement.gpu_uuids))
    allocation = Allocation(
        id=allocation_id,
        job_id=job.id,
        epoch=effect.epoch,
        state=AllocationState.PENDING,
        gpu_type=effect.gpu_type,
        price_usd_per_gpu_hour=price,
        max_runtime_seconds=time_left_seconds(job),
        master_address=master_address,
        master_port=_port(allocation_id),
        placement_reason=effect.reason,
        created_at=tx.now,
        members=tuple(members),
        gpu_milli=resources.gpu_milli or WHOLE_GPU_MILLI,
    )
    allocations.insert(tx, allocation, job.user_id, team=job.team, parents=of_devices)
    # The model is known now, so what was reserved for the dearest acceptable one becomes what this one can cost.
    needed = placed_usd(job, effect.gpu_type, prices)
    change = needed - job.reserved_usd
    users.account(tx, job.user_id, spent_usd=Decimal(0), reserved_usd=change)
    jobs.update(
        tx,
        job.id,
        state=JobState.PLACED,
        status_reason=f"starts on {', '.join(member.node_name for member in members)}",
        epoch=effect.epoch,
        reserved_usd=needed,
    )
    return Outcome(f"placed {job.spec.name} ({job.id}), attempt {effect.epoch}: {effect.reason}", change)


def _port(allocation_id: str) -> int:
    """Return a rendezvous port below the range that kernels hand out, the same for all members."""
    return _FIRST_PORT + int.from_bytes(hashlib.sha256(allocation_id.encode()).digest()[:4], "big") % _PORTS


def _stop(tx: Tx, effect: StopJob) -> Outcome:
    job = jobs.require(tx, effect.job_id)
    if job.state is JobState.QUEUED:
        books.close_job(tx, job, JobState.CANCELLED, effect.reason)
        return Outcome(f"cancelled {job.spec.name} ({job.id}) before it started")
    jobs.update(tx, job.id, cancel_requested=True, status_reason=f"{progress.STOPPING}{effect.reason}")
    for allocation in job.allocations:
        if allocation.state is not AllocationState.ENDED:
            books.advance(tx, allocation, progress.request_stop(allocation, tx.now))
            if allocation.moved:
                allocations.tell_hosts(tx, allocation)  # nothing goes on elsewhere: it need not save its work any more
    if job.goal_id is not None:
        goal_ends.close_if_done(tx, job.goal_id)  # it goes on, but nothing is run in a failed job's place any more
    return Outcome(f"stopping {job.spec.name} ({job.id}); its GPUs are free when its hosts report its end")


def _requeue(tx: Tx, effect: RequeueJob) -> Outcome:
    allocation = allocations.get(tx, effect.allocation_id)
    if allocation is None:
        raise LookupError(f"allocation {effect.allocation_id} vanished")
    gone = lost_nodes(tx, allocation, effect)
    job = books.advance(tx, allocation, progress.lose(allocation, gone, tx.now))
    return Outcome(f"gave up attempt {allocation.epoch} of {job.spec.name} ({job.id}): {job.status_reason}")


def _preempt(tx: Tx, effect: PreemptJob, proposal: Proposal) -> Outcome:
    allocation = allocations.get(tx, effect.allocation_id)
    if allocation is None:
        raise LookupError(f"allocation {effect.allocation_id} vanished")
    job = books.advance(tx, allocation, request_preemption(allocation, effect.for_job_id, tx.now))
    audit.append(
        tx,
        agent_name=proposal.proposer,
        action="job.preempted",
        reasoning=effect.reason,
        outcome="stopping",
        payload={"allocation_id": allocation.id, "epoch": allocation.epoch, "for_job_id": effect.for_job_id},
        action_id=proposal.id,
        goal_id=job.goal_id or "",
        job_id=job.id,
        user_id=job.user_id,
    )
    return Outcome(f"{job.spec.name} ({job.id}) makes way for {effect.for_job_id}; it is queued again once it stopped")


def _change_node(tx: Tx, effect: CordonNode | UncordonNode | RevokeNode) -> str:
    node_id, reason = effect.node_id, effect.reason
    match effect:
        case RevokeNode():
            node = nodes.update(tx, node_id, state=NodeState.REVOKED, status_reason=reason)
            while (unfinished := repair_store.unfinished(tx, node_id)) is not None:
                repairs.give_up(tx, unfinished, "the node has left the fleet")
            incidents.close_for_release(tx, node_id, "the node has left the fleet")
            conditions.forget(tx, node_id)
            return f"{node.name} is revoked; its credentials no longer work"
        case CordonNode():
            return _show_cordon(tx, nodes.update(tx, node_id, cordoned=True, status_reason=reason))
        case UncordonNode():
            node = nodes.update(tx, node_id, cordoned=False, status_reason="")
            if node.hold is NodeHold.CORDONED:  # it was drained by a person, and nothing else keeps it
                node = holds.release(tx, node)
            return _show_cordon(tx, node)


def _show_cordon(tx: Tx, node: Node) -> str:
    """Let the node's state follow its cordon, unless it is lost, joining or out of service."""
    wanted = holds.resting_state(node)
    if node.state in (NodeState.READY, NodeState.CORDONED) and node.state is not wanted:
        node = nodes.update(tx, node.id, state=wanted)
    return f"{node.name} is {'cordoned' if node.cordoned else 'back in scheduling'}"
