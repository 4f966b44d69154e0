"""Turns the facts of a proposal into what the rules of files look at, inside the transaction that decides."""

from collections.abc import Iterable
from dataclasses import replace
from math import ceil

from control_plane.governor.facts import is_protected
from control_plane.governor.policy.effects import of_effect, size_of
from control_plane.governor.policy.inputs import (
    UNLIMITED_USD,
    ActionInput,
    ActorInput,
    BudgetInput,
    FleetInput,
    GoalInput,
    JobInput,
    NodeInput,
    PolicyInput,
    TenantInput,
    time_input,
)
from control_plane.governor.ruling import Facts
from control_plane.model.action import Effect, LaunchJobs, PlaceJob, PreemptJob, Proposal, RequeueJob, StopJob
from control_plane.model.bounds import BoundScope
from control_plane.model.job import Job
from control_plane.model.node import Node
from control_plane.store import allocations, bounds, goals, gpu_holds, jobs, users
from control_plane.store.database import Tx


def policy_input(tx: Tx, proposal: Proposal, facts: Facts, frozen_json: str) -> PolicyInput:
    """Return everything that a rule of a file can look at. `frozen_json` is the frozen effect."""
    effect = proposal.effect
    return PolicyInput(
        action=_action(tx, proposal, facts, frozen_json),
        est=size_of(effect, float(facts.estimate_usd)),
        actor=_actor(tx, proposal),
        tenant=_tenant(tx, facts),
        budget=_budget(effect, facts),
        fleet=_fleet(tx, facts),
        time=time_input(tx.now),
        goal=_goal(tx, proposal),
        taint=proposal.tainted,
    )


def _action(tx: Tx, proposal: Proposal, facts: Facts, frozen_json: str) -> ActionInput:
    effect = proposal.effect
    seen = tuple(_node(node, protected=is_protected(node, facts.limits)) for node in facts.nodes)
    own = of_effect(effect, frozen=frozen_json)
    found = own.jobs
    if isinstance(effect, LaunchJobs):
        whose = ("", "") if facts.user is None else (facts.user.email, facts.user.team)
        found = tuple(replace(job, owner=whose[0], team=whose[1]) for job in own.jobs)
    else:
        protected = any(node.protected for node in seen)
        found = tuple(_job(job, protected=protected) for job in _jobs(tx, effect, facts.nodes))
    gpu_types = own.gpu_types or tuple(sorted({gpu_type for node in seen for gpu_type in node.gpu_types}))
    about_one_node = not isinstance(effect, LaunchJobs | PlaceJob | StopJob | RequeueJob | PreemptJob)
    return replace(
        own,
        proposer=proposal.proposer,
        is_person=proposal.is_person,
        node=seen[0] if len(seen) == 1 else NodeInput(),
        nodes=seen,
        job=found[0] if len(found) == 1 and not about_one_node else JobInput(),
        jobs=found,
        gpu_types=gpu_types,
        pools=tuple(sorted({node.pool for node in seen if node.pool})),
    )


def _jobs(tx: Tx, effect: Effect, touched: Iterable[Node]) -> tuple[Job, ...]:
    if isinstance(effect, PlaceJob | StopJob | RequeueJob | PreemptJob):
        found = jobs.get(tx, effect.job_id, with_allocations=False)
        return () if found is None else (found,)
    here = {one.job_id for node in touched for one in allocations.live(tx, node_id=node.id)}
    return tuple(jobs.require(tx, job_id, with_allocations=False) for job_id in sorted(here))


def _node(node: Node, *, protected: bool) -> NodeInput:
    gpus = () if node.inventory is None else node.inventory.gpus
    return NodeInput(
        id=node.id,
        name=node.name,
        state=node.state.value,
        pool=node.labels.get("pool", ""),
        rack=node.labels.get("rack", ""),
        labels=dict(node.labels),
        gpus=len(gpus),
        gpu_types=tuple(sorted({gpu.gpu_type for gpu in gpus})),
        cordoned=node.cordoned,
        protected=protected,
    )


def _job(job: Job, *, protected: bool) -> JobInput:
    spec = job.spec
    return JobInput(
        id=job.id,
        name=spec.name,
        owner=job.user_email,
        state=job.state.value,
        image=spec.image,
        template=spec.template,
        gpu_types=spec.resources.gpu_types,
        gpus=spec.resources.gpu_count,
        nodes=spec.resources.node_count,
        max_runtime_seconds=spec.max_runtime_seconds,
        max_attempts=spec.max_attempts,
        priority=spec.priority.name.lower(),
        protected=protected,
        team=job.team,
        gpu_milli=spec.resources.gpu_milli,
    )


def _actor(tx: Tx, proposal: Proposal) -> ActorInput:
    if not proposal.is_person:
        return ActorInput("agent", proposal.proposer)
    person = None if proposal.user_id is None else users.get(tx, proposal.user_id)
    return ActorInput("person", proposal.proposer, proposal.proposer, "" if person is None else person.role.value)


def _tenant(tx: Tx, facts: Facts) -> TenantInput:
    user = facts.user
    if user is None:
        return TenantInput()
    held = facts.held_gpus if isinstance(facts.effect, PlaceJob) else gpu_holds.held_by_user(tx, user.id)
    limit = facts.limits.max_gpus_per_user if user.max_gpus is None else user.max_gpus
    return TenantInput(
        user.email, user.role.value, float(user.spent_usd), float(user.reserved_usd), ceil(held), limit, user.team
    )


def _budget(effect: Effect, facts: Facts) -> BudgetInput:
    user = facts.user
    limited = user is not None and user.budget_usd is not None
    total = left = goal_total = goal_left = UNLIMITED_USD
    if user is not None and user.budget_usd is not None:
        total = float(user.budget_usd)
        left = float(user.budget_usd - user.spent_usd - user.reserved_usd)
    goal_budget = effect.budget_usd if isinstance(effect, LaunchJobs) else None
    if goal_budget is not None:
        goal_total, goal_left = float(goal_budget), float(goal_budget - facts.goal_committed_usd)
    return BudgetInput(limited, total, left, goal_budget is not None, goal_total, goal_left)


def _fleet(tx: Tx, facts: Facts) -> FleetInput:
    known = (level for level in facts.levels if level.scope is BoundScope.FLEET)
    level = next(known, None) or bounds.fleet(tx)
    return FleetInput(level.total, level.out, level.out / level.total if level.total else 0.0)


def _goal(tx: Tx, proposal: Proposal) -> GoalInput:
    if proposal.goal_id is None:
        return GoalInput()
    goal = goals.get(tx, proposal.goal_id)
    return GoalInput(proposal.goal_id, "" if goal is None else goal.user_email)
