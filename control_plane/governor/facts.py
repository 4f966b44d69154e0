"""Gathers what the rules look at, from the store, inside the transaction that decides."""

from dataclasses import replace
from decimal import Decimal

from control_plane.fleet.cost import estimate_usd, usd
from control_plane.fleet.prices import PriceTable
from control_plane.governor.rules import Facts, Limits
from control_plane.governor.validity import invalid
from control_plane.model.action import DrainNode, LaunchJobs, PlaceJob, Proposal, QuarantineNode, RepairNode
from control_plane.model.job import Job
from control_plane.store import actions, allocations, bounds, jobs, users
from control_plane.store.database import Tx


def gather(tx: Tx, proposal: Proposal, *, approved: bool, limits: Limits, prices: PriceTable) -> Facts:
    """Return the facts of a proposal as they are now."""
    effect = proposal.effect
    facts = Facts(
        effect,
        is_person=proposal.is_person,
        approved=approved,
        kill_switch=actions.kill_switch(tx),
        limits=limits,
        user=None if proposal.user_id is None else users.get(tx, proposal.user_id),
        invalid=invalid(tx, effect, proposal.user_id),
    )
    if isinstance(effect, DrainNode | RepairNode | QuarantineNode):
        if bounds.is_out(tx, effect.node_id) or (isinstance(effect, RepairNode) and effect.dry_run):
            return facts
        return replace(facts, levels=bounds.levels(tx, effect.node_id), bounds=bounds.load(tx))
    if isinstance(effect, LaunchJobs):
        return replace(
            facts,
            estimate_usd=sum((estimate_usd(job.spec, prices) for job in effect.jobs), Decimal(0)),
            goal_committed_usd=jobs.reserved_of_goal(tx, effect.goal_id) if effect.goal_id else Decimal(0),
            largest_gpus=max((job.spec.resources.gpu_count for job in effect.jobs), default=0),
        )
    if isinstance(effect, PlaceJob):
        job = jobs.get(tx, effect.job_id, with_allocations=False)
        owner = None if job is None else users.get(tx, job.user_id)
        return replace(
            facts,
            user=owner,
            estimate_usd=_missing_usd(job, effect, prices),
            held_gpus=allocations.held_by_user(tx, owner.id) if owner else 0,
            wanted_gpus=sum(len(placement.gpu_uuids) for placement in effect.placements),
        )
    return facts


def _missing_usd(job: Job | None, effect: PlaceJob, prices: PriceTable) -> Decimal:
    """Return what is not reserved yet: an earlier attempt may have been placed on a cheaper model."""
    if job is None or not effect.gpu_type:
        return Decimal(0)
    gpu_count = sum(len(placement.gpu_uuids) for placement in effect.placements)
    needed = usd(prices.usd_per_gpu_hour(effect.gpu_type), gpu_count * job.spec.max_runtime_seconds)
    return max(needed - job.reserved_usd, Decimal(0))
