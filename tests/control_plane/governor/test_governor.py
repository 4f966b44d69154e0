"""One gate for every effect: the kill switch, failures on the way, repeated proposals, the audit."""

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from control_plane.errors import PreconditionFailed, ResourceExhausted
from control_plane.governor import rules
from control_plane.governor.governor import denial_error
from control_plane.model.action import (
    Action,
    ActionState,
    CordonNode,
    LaunchJobs,
    NewJob,
    RevokeNode,
    StopJob,
    UncordonNode,
)
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.model.job import Job, JobState
from control_plane.store import jobs
from control_plane.store.database import Tx
from tests.control_plane.world import World, job_id, spec

HOUR_OF_H100 = Decimal("3.99")


EXPENSIVE = spec("train", gpu=8, seconds=3600 * 40)  # 8 * 40 h * $3.99 = $1,276.80


def reasons(action: Action) -> str:
    return " ".join(action.decision)


async def test_the_kill_switch_denies_everything_but_a_persons_stop_cordon_and_revocation(world: World) -> None:
    user, node = await world.user(), await world.node()
    await world.launch(user, spec("a"), spec("b"))
    admin = await world.principal("root", Role.ADMIN)
    await world.governor.set_kill_switch(engaged=True, principal=admin, reason="smoke")
    denied = [
        await world.launch(user, spec("c")),
        await world.place("a", (node, [0])),
        await world.propose(StopJob(job_id("a"), "an agent wants it")),
        await world.propose(UncordonNode(node.id, ""), user=user, person=True),
        await world.propose(RevokeNode(node.id, "an agent wants it")),
    ]
    assert [action.state for action in denied] == [ActionState.DENIED] * 5
    assert all("smoke" in reasons(action) for action in denied)
    allowed = [
        await world.stop("a", user),
        await world.propose(CordonNode(node.id, "smoke"), user=user, person=True),
        await world.propose(RevokeNode(node.id, "its key was stolen"), user=user, person=True),
    ]
    assert [action.state for action in allowed] == [ActionState.DONE] * 3
    await world.governor.set_kill_switch(engaged=False, principal=admin, reason="all clear")
    assert (await world.launch(user, spec("c"))).state is ActionState.DONE


async def test_a_rule_that_fails_denies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def _broken(_facts: rules.Facts) -> None:
        raise ZeroDivisionError

    broken = tuple(replace(rule, check=_broken) if rule.id == "goal-budget" else rule for rule in rules.BUILT_IN_RULES)
    monkeypatch.setattr(rules, "BUILT_IN_RULES", broken)
    action = await world.launch(await world.user(), spec("train"))
    assert action.state is ActionState.DENIED
    assert "RULE_FAILED" in reasons(action)
    assert await world.maybe_job("train") is None


async def test_a_repeated_proposal_executes_once(any_world: World) -> None:
    user = await any_world.user()
    proposal = any_world.proposal(LaunchJobs((NewJob(job_id("train"), spec("train")),)), user=user)
    first, second = await asyncio.gather(any_world.governor.propose(proposal), any_world.governor.propose(proposal))
    assert first == second
    assert (await any_world.account(user)).reserved_usd == HOUR_OF_H100
    assert len(await any_world.audit(action_id=first.id)) == 1


async def test_an_executor_that_fails_leaves_nothing_half_done_and_the_audit_says_so(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await any_world.user()
    insert = jobs.insert

    def fail_at_the_second(tx: Tx, job: Job, *, position: int) -> None:
        if position == 1:
            raise RuntimeError("out of luck")
        insert(tx, job, position=position)

    monkeypatch.setattr(jobs, "insert", fail_at_the_second)
    goal = await any_world.goal(user)
    action = await any_world.launch(user, spec("a"), spec("b"), goal=goal)
    assert action.state is ActionState.FAILED
    assert await any_world.maybe_job("a") is None
    assert (await any_world.account(user)).reserved_usd == 0
    assert [(r.action, r.outcome) for r in await any_world.audit(action_id=action.id)] == [
        ("launch_jobs.failed", "failed")
    ]
    assert (await any_world.goal_now(goal)).state is GoalState.FAILED


async def test_a_gpu_that_is_taken_behind_the_rules_fails_the_placement_and_nothing_else(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's own key is the last line: even with the rules blind, no GPU is given twice."""
    user, node = await any_world.user(), await any_world.node()
    await any_world.launch(user, spec("a"), spec("b"))
    await any_world.place("a", (node, [0]))
    monkeypatch.setattr("control_plane.governor.place_validity._free", lambda *_: None)
    failed = await any_world.place("b", (node, [0]))
    assert failed.state is ActionState.FAILED
    assert (await any_world.job("b")).state is JobState.QUEUED
    assert [record.outcome for record in await any_world.audit(action_id=failed.id)] == ["failed"]


async def test_every_decision_has_an_audit_record_with_its_reason(world: World) -> None:
    user, approver = await world.user(budget_usd=2000), await world.principal("olga")
    done = await world.launch(user, spec("a"))
    denied = await world.launch(user, spec("b", gpu=65))
    waiting = await world.launch(user, EXPENSIVE)
    await world.governor.reject(waiting.id, approver=approver, reason="too dear")
    for action, outcomes in (
        (done, ["done"]),
        (denied, ["denied"]),
        (waiting, ["awaiting_approval", "rejected"]),
    ):
        records = await world.audit(action_id=action.id)
        assert [record.outcome for record in records] == outcomes
        assert all(record.reasoning and '"decision": [' in record.payload_json for record in records)
    assert "GPU_LIMIT" in (await world.audit(action_id=denied.id))[0].payload_json


async def test_a_withdrawn_action_is_on_record_as_superseded(world: World) -> None:
    user = await world.user()
    waiting = await world.launch(user, EXPENSIVE)
    await world.store.write(lambda tx: world.governor.withdraw(tx, waiting, "the goal was cancelled"))
    records = await world.audit(action_id=waiting.id)
    assert [record.outcome for record in records] == ["awaiting_approval", "superseded"]


async def test_a_denial_becomes_an_error_with_the_rules_reason(world: World) -> None:
    user = await world.user(budget_usd=1)
    error = denial_error(await world.launch(user, spec("train")))
    assert isinstance(error, ResourceExhausted)
    assert error.reason == "USER_BUDGET"
    assert isinstance(denial_error(await world.stop("nothing", user)), PreconditionFailed)
