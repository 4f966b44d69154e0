"""Gathers what the rules look at, from the store, inside the transaction that decides."""

from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from control_plane.fleet.cost import estimate_usd, placed_usd
from control_plane.fleet.preemption import protected_until
from control_plane.fleet.prices import PriceTable
from control_plane.governor.ruling import Facts, Limits, TeamUse
from control_plane.governor.validity import invalid
from control_plane.model.action import (
    DrainNode,
    Effect,
    LaunchJobs,
    PlaceJob,
    PreemptJob,
    Proposal,
    QuarantineNode,
    RepairNode,
    RequeueJob,
    StopJob,
)
from control_plane.model.freeze import Freeze, Frozen, frozen
from control_plane.model.ids import NodeId
from control_plane.model.job import AllocationState, Job
from control_plane.model.node import Node
from control_plane.model.team import levels
from control_plane.store import actions, allocations, bounds, gpu_holds, jobs, nodes, teams, users
from control_plane.store.database import Tx


def gather(
    tx: Tx,
    proposal: Proposal,
    *,
    limits: Limits,
    prices: PriceTable,
    freezes: Sequence[Freeze] = (),
) -> Facts:
    """Return the facts of a proposal as they are now. `freezes` are windows beside those of the settings."""
    effect = proposal.effect
    touched = touched_nodes(tx, effect)
    user = None if proposal.user_id is None else users.get(tx, proposal.user_id)
    freeze = frozen((*limits.freezes, *freezes), tx.now)
    facts = partial(
        Facts,
        effect,
        is_person=proposal.is_person,
        kill_switch=actions.kill_switch(tx),
        limits=limits,
        user=user,
        invalid=invalid(tx, effect, proposal.user_id),
        nodes=touched,
        protected=tuple([node.name for node in touched if is_protected(node, limits)]),
        frozen=freeze,
        let_in=_let_in(tx, effect, freeze),
        tainted=proposal.tainted,
    )
    if isinstance(effect, DrainNode | RepairNode | QuarantineNode):
        if bounds.is_out(tx, effect.node_id) or (isinstance(effect, RepairNode) and effect.dry_run):
            return facts()
        return facts(levels=bounds.levels(tx, effect.node_id), bounds=bounds.load(tx))
    if isinstance(effect, LaunchJobs):
        largest = max((job.spec.resources.gpus for job in effect.jobs), default=0.0)
        return facts(
            teams=_teams(tx, "" if user is None else user.team),
            estimate_usd=sum((estimate_usd(job.spec, prices) for job in effect.jobs), Decimal(0)),
            goal_committed_usd=jobs.reserved_of_goal(tx, effect.goal_id) if effect.goal_id else Decimal(0),
            largest_gpus=largest,
        )
    if isinstance(effect, PlaceJob):
        job = jobs.get(tx, effect.job_id)
        owner = None if job is None else users.get(tx, job.user_id)
        return facts(
            user=owner,
            estimate_usd=_missing_usd(job, effect, prices),
            held_gpus=gpu_holds.held_by_user(tx, owner.id) if owner else 0,
            wanted_gpus=0.0 if job is None else job.spec.resources.gpus,
            teams=() if job is None else _teams(tx, job.team),
        )
    if isinstance(effect, PreemptJob):
        allocation = allocations.get(tx, effect.allocation_id)
        others = (count for job_id, count in allocations.preempting(tx).items() if job_id != effect.for_job_id)
        return facts(
            making_way=sum(others),
            safe_until=None
            if allocation is None
            else protected_until(allocation, limits.preemption_min_runtime_seconds),
            now=tx.now,
        )
    return facts()


def touched_nodes(tx: Tx, effect: Effect) -> tuple[Node, ...]:
    """Return the nodes that an effect is about, places a job on, or that the job it stops runs on."""
    match effect:
        case LaunchJobs():
            return ()
        case PlaceJob():
            node_ids = [placement.node_id for placement in effect.placements]
        case StopJob() | RequeueJob() | PreemptJob():
            live = (one for of_job in allocations.of_jobs(tx, [effect.job_id]).values() for one in of_job)
            node_ids = [
                member.node_id
                for one in live
                if one.state is not AllocationState.ENDED
                for member in one.members
                if member.state is not AllocationState.ENDED
            ]
        case _:
            node_ids = [effect.node_id]
    return _nodes(tx, node_ids)


def is_protected(node: Node, limits: Limits) -> bool:
    """Tell whether a node has the label that keeps agents away."""
    if limits.protected_label is None:
        return False
    name, value = limits.protected_label
    return node.labels.get(name) == value


def _nodes(tx: Tx, node_ids: Sequence[NodeId]) -> tuple[Node, ...]:
    found = [nodes.get(tx, node_id) for node_id in dict.fromkeys(node_ids)]
    return tuple([node for node in found if node is not None])


def _let_in(tx: Tx, effect: Effect, freeze: Frozen | None) -> bool:
    """A launch passes a freeze by people's approval alone, so a job that is younger than the freeze was let in."""
    if freeze is None or not isinstance(effect, PlaceJob):
        return False
    job = jobs.get(tx, effect.job_id, with_allocations=False)
    return job is not None and job.created_at >= freeze.since


def _missing_usd(job: Job | None, effect: PlaceJob, prices: PriceTable) -> Decimal:
    """Return what is not reserved yet: an earlier attempt may have been placed on a cheaper model."""
    if job is None or not effect.gpu_type:
        return Decimal(0)
    needed = placed_usd(job, effect.gpu_type, prices)
    return max(needed - job.reserved_usd, Decimal(0))


def _teams(tx: Tx, path: str) -> tuple[TeamUse, ...]:
    """Return the team and the teams that it is in, as far as they have a limit, from the top."""
    found = (teams.get(tx, level) for level in levels(path))
    return tuple(
        TeamUse(team.path, gpu_holds.held_by_team(tx, team.path), team.max_gpus)
        for team in found
        if team is not None and team.max_gpus is not None
    )
