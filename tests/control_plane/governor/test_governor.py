import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from control_plane.errors import PermissionDenied, PreconditionFailed, ResourceExhausted
from control_plane.governor import rules
from control_plane.governor.governor import denial_error
from control_plane.model.action import (
    Action,
    ActionState,
    CordonNode,
    LaunchJobs,
    NewJob,
    PlaceJob,
    Placement,
    RevokeNode,
    StopJob,
    UncordonNode,
)
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.model.job import Job, JobState
from control_plane.store import jobs
from control_plane.store.database import Tx
from control_plane.store.tables import ActionRow
from tests.control_plane.world import World, job_id, principal, spec

ZERO = Decimal(0)
HOUR_OF_H100 = Decimal("3.99")
EXPENSIVE = spec("train", gpu=8, seconds=3600 * 40)  # 8 * 40 h * $3.99 = $1,276.80


def reasons(action: Action) -> str:
    return " ".join(action.decision)


async def test_two_goals_racing_for_one_budget_cannot_both_have_it(any_world: World) -> None:
    user = await any_world.user(budget_usd=5)
    first, second = await any_world.goal(user, "first"), await any_world.goal(user, "second")
    decided = await asyncio.gather(
        any_world.launch(user, spec("a"), goal=first), any_world.launch(user, spec("b"), goal=second)
    )
    assert sorted(action.state.value for action in decided) == ["denied", "done"]
    assert (await any_world.account(user)).reserved_usd == HOUR_OF_H100
    states = {(await any_world.goal_now(goal)).state for goal in (first, second)}
    assert states == {GoalState.RUNNING, GoalState.REFUSED}


async def test_money_is_reserved_at_launch_and_settled_at_the_end(any_world: World) -> None:
    user, node = await any_world.user(budget_usd=10), await any_world.node()
    await any_world.launch(user, spec("train"))
    assert (await any_world.account(user)).reserved_usd == HOUR_OF_H100
    await any_world.place("train", (node, [0]))
    await any_world.finish("train", gpu_seconds=1800)
    account, job = await any_world.account(user), await any_world.job("train")
    assert (account.spent_usd, account.reserved_usd) == (Decimal("1.995"), ZERO)
    assert (job.state, job.cost_usd, job.reserved_usd) == (JobState.SUCCEEDED, Decimal("1.995"), ZERO)


async def test_no_report_can_charge_more_than_was_reserved(world: World) -> None:
    user, node = await world.user(budget_usd=4), await world.node()
    await world.launch(user, spec("train"))
    await world.place("train", (node, [0]))
    await world.finish("train", gpu_seconds=10**7)
    assert (await world.account(user)).spent_usd == HOUR_OF_H100


async def test_an_attempt_that_the_fleet_lost_is_not_charged_and_keeps_its_reservation(world: World) -> None:
    user, node = await world.user(), await world.node()
    await world.launch(user, spec("train"))
    await world.place("train", (node, [0]))
    await world.lose(node)
    await world.requeue("train")
    account, job = await world.account(user), await world.job("train")
    assert (account.spent_usd, account.reserved_usd, job.reserved_usd) == (ZERO, HOUR_OF_H100, HOUR_OF_H100)
    assert (job.state, job.epoch, job.allocations[0].waived) == (JobState.QUEUED, 1, True)


async def test_a_second_attempt_on_a_dearer_model_reserves_what_the_first_gave_back(world: World) -> None:
    user = await world.user(budget_usd=7)
    cheap, dear = await world.node("cheap", gpu_type="A100"), await world.node("dear", gpu_type="H200")
    await world.launch(user, spec("train", types=("A100", "H200")))
    await world.place("train", (cheap, [0]), gpu_type="A100")
    assert (await world.account(user)).reserved_usd == Decimal("2.79")
    await world.lose(cheap)
    await world.requeue("train")
    assert (await world.place("train", (dear, [0]), gpu_type="H200")).state is ActionState.DONE
    assert (await world.account(user)).reserved_usd == (await world.job("train")).reserved_usd == Decimal("6.305")
    await world.finish("train", gpu_seconds=3600)
    assert (await world.account(user)).spent_usd == Decimal("6.305")


async def test_a_second_attempt_on_a_dearer_model_is_denied_when_the_money_is_gone(world: World) -> None:
    user = await world.user(budget_usd=7)
    cheap, dear = await world.node("cheap", gpu_type="A100"), await world.node("dear", gpu_type="H200")
    await world.launch(user, spec("train", types=("A100", "H200")))
    await world.place("train", (cheap, [0]), gpu_type="A100")
    await world.launch(user, spec("other", seconds=3600))
    await world.lose(cheap)
    await world.requeue("train")
    denied = await world.place("train", (dear, [0]), gpu_type="H200")
    assert denied.state is ActionState.DENIED
    assert "USER_BUDGET" in reasons(denied)


async def test_what_needs_approval_waits_and_runs_nothing(world: World) -> None:
    user = await world.user()
    goal = await world.goal(user)
    action = await world.launch(user, EXPENSIVE, goal=goal)
    assert action.state is ActionState.AWAITING_APPROVAL
    assert await world.maybe_job("train") is None
    assert (await world.goal_now(goal)).state is GoalState.AWAITING_APPROVAL
    assert (await world.account(user)).reserved_usd == 0


async def test_approval_launches_exactly_what_was_shown(any_world: World) -> None:
    user, approver = await any_world.user(), await any_world.principal("olga")
    goal = await any_world.goal(user)
    waiting = await any_world.launch(user, EXPENSIVE, goal=goal)
    done = await any_world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="fine")
    assert (done.state, done.decided_by) == (ActionState.DONE, approver.email)
    assert (await any_world.job("train")).spec.resources.gpu_count == 8
    assert (await any_world.goal_now(goal)).state is GoalState.RUNNING


async def test_approving_twice_launches_once(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, EXPENSIVE)
    first = await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    second = await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    assert first == second
    assert (await world.account(user)).reserved_usd == first.estimate_usd


async def test_nobody_approves_their_own_request(world: World) -> None:
    user = await world.user("boss", role=Role.ADMIN)
    waiting = await world.launch(user, EXPENSIVE)
    with pytest.raises(PermissionDenied) as refused:
        await world.governor.approve(waiting.id, approver=principal(user), hash=waiting.hash, reason="")
    assert refused.value.reason == "SELF_APPROVAL"
    assert await world.maybe_job("train") is None


async def test_a_user_cannot_approve(world: World) -> None:
    user = await world.user()
    waiting = await world.launch(user, EXPENSIVE)
    with pytest.raises(PermissionDenied):
        await world.governor.approve(
            waiting.id, approver=await world.principal("eve", Role.USER), hash=waiting.hash, reason=""
        )


async def test_an_approval_of_another_hash_is_refused(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, EXPENSIVE)
    with pytest.raises(PreconditionFailed) as refused:
        await world.governor.approve(waiting.id, approver=approver, hash="0" * 64, reason="")
    assert refused.value.reason == "ACTION_CHANGED"


async def test_arguments_that_were_changed_behind_the_hash_are_refused(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, EXPENSIVE)

    def tamper(tx: Tx) -> None:
        row = tx.session.get(ActionRow, waiting.id)
        assert row is not None
        row.arguments_json = row.arguments_json.replace('"gpu_count":8', '"gpu_count":64')

    await world.store.write(tamper)
    with pytest.raises(PreconditionFailed) as refused:
        await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    assert refused.value.reason == "ACTION_CHANGED"


async def test_an_approval_that_comes_too_late_is_refused_and_the_goal_fails(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    goal = await world.goal(user)
    waiting = await world.launch(user, EXPENSIVE, goal=goal)
    world.clock.advance(31 * 60)
    with pytest.raises(PreconditionFailed) as refused:
        await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    assert refused.value.reason == "APPROVAL_EXPIRED"
    assert await world.store.write(world.governor.expire) == 1
    assert (await world.goal_now(goal)).state is GoalState.FAILED
    assert [record.outcome for record in await world.audit(action_id=waiting.id)] == ["awaiting_approval", "expired"]


async def test_an_approval_is_judged_again_as_things_are_now(world: World) -> None:
    user, approver = await world.user(budget_usd=1500), await world.principal("olga")
    goal = await world.goal(user)
    waiting = await world.launch(user, EXPENSIVE, goal=goal)
    await world.launch(user, spec("other", gpu=8, seconds=3600 * 20))
    denied = await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    assert denied.state is ActionState.DENIED
    assert "USER_BUDGET" in reasons(denied)
    assert await world.maybe_job("train") is None
    assert (await world.goal_now(goal)).state is GoalState.REFUSED


async def test_rejecting_ends_the_action_and_refuses_the_goal(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    goal = await world.goal(user)
    waiting = await world.launch(user, EXPENSIVE, goal=goal)
    rejected = await world.governor.reject(waiting.id, approver=approver, reason="too dear")
    again = await world.governor.reject(waiting.id, approver=approver, reason="too dear")
    assert rejected.state is again.state is ActionState.REJECTED
    assert (await world.goal_now(goal)).state is GoalState.REFUSED


async def test_the_requester_may_withdraw_by_rejecting(world: World) -> None:
    user = await world.user()
    waiting = await world.launch(user, EXPENSIVE)
    rejected = await world.governor.reject(waiting.id, approver=principal(user), reason="changed my mind")
    assert rejected.state is ActionState.REJECTED


async def test_the_requester_cannot_reject_what_is_done(world: World) -> None:
    user = await world.user()
    done = await world.launch(user, spec("train"))
    with pytest.raises(PreconditionFailed) as refused:
        await world.governor.reject(done.id, approver=principal(user), reason="")
    assert refused.value.reason == "ACTION_NOT_AWAITING"


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


async def test_a_waiting_action_cannot_be_approved_while_everything_is_stopped(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, EXPENSIVE)
    await world.governor.set_kill_switch(engaged=True, principal=approver, reason="smoke")
    denied = await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    assert denied.state is ActionState.DENIED


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


async def test_the_goals_budget_counts_what_it_has_committed_already(world: World) -> None:
    user = await world.user()
    goal = await world.goal(user)
    await world.launch(user, spec("a"), goal=goal, budget_usd=Decimal(5))
    second = world.proposal(LaunchJobs((NewJob(job_id("b"), spec("b")),), goal.id, Decimal(5)), user=user, goal_id=None)
    assert "GOAL_BUDGET" in reasons(await world.governor.propose(second))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spec("bad", seconds=-3600), "RUNTIME"),
        (spec("bad", seconds=10**10), "RUNTIME"),
        (spec("bad", gpu=-1), "GPU_COUNT"),
        (spec("bad", gpu=3, nodes=2), "NODE_COUNT"),
        (spec("bad", gpu=0, nodes=10**6), "NODE_COUNT"),
        (spec("bad", memory_bytes=-1), "RESOURCES"),
        (spec("bad", types=("H100",), exclude_gpu_types=("H100",)), "GPU_TYPES"),
        (spec("bad", needs=(job_id("nowhere"),)), "DEPENDENCY_UNKNOWN"),
    ],
)
async def test_a_job_that_makes_no_sense_is_denied_and_reserves_nothing(world: World, bad: object, reason: str) -> None:
    user = await world.user(budget_usd=10_000_000_000)
    action = await world.launch(user, bad)  # type: ignore[arg-type] # parametrize gives objects
    assert action.state is ActionState.DENIED
    assert reason in reasons(action)
    assert (await world.account(user)).reserved_usd == 0


async def test_a_job_cannot_wait_for_one_that_has_failed(world: World) -> None:
    user = await world.user()
    await world.launch(user, spec("a"))
    await world.stop("a", user)
    action = await world.launch(user, spec("b", needs=(job_id("a"),)))
    assert action.state is ActionState.DENIED
    assert "DEPENDENCY_ENDED" in reasons(action)


async def test_a_job_cannot_wait_for_somebody_elses(world: World) -> None:
    user, other = await world.user(), await world.user("eve")
    await world.launch(user, spec("a"))
    action = await world.launch(other, spec("b", needs=(job_id("a"),)))
    assert action.state is ActionState.DENIED
    assert "DEPENDENCY_UNKNOWN" in reasons(action)


async def test_a_placement_must_be_what_the_job_asked_for(world: World) -> None:
    user = await world.user()
    alpha, beta = await world.node("alpha"), await world.node("beta")
    other = await world.node("gamma", gpu_type="A100", memory_gb=40)
    await world.launch(
        user,
        spec("h100"),
        spec("spread", gpu=4, nodes=2),
        spec("large", types=(), min_gpu_memory_bytes=60 * 10**9),
        spec("picky", types=(), exclude_gpu_types=("A100",)),
        spec("cpu", gpu=0),
    )
    refused = {
        "another model": await world.place("h100", (other, [0]), gpu_type="A100"),
        "too many": await world.place("h100", (alpha, [0, 1])),
        "one node instead of two": await world.place("spread", (alpha, [0, 1, 2, 3])),
        "uneven": await world.place("spread", (alpha, [0, 1, 2]), (beta, [0])),
        "twice the same GPU": await world.place("spread", (alpha, [0, 0]), (beta, [0, 1])),
        "too small": await world.place("large", (other, [0]), gpu_type="A100"),
        "excluded": await world.place("picky", (other, [0]), gpu_type="A100"),
        "a price for no GPU": await world.place("cpu", (alpha, [])),
    }
    assert {what: action.state for what, action in refused.items()} == dict.fromkeys(refused, ActionState.DENIED)
    assert await world.held() == set()


async def test_ranks_are_numbered_from_zero(world: World) -> None:
    user, alpha, beta = await world.user(), await world.node("alpha"), await world.node("beta")
    await world.launch(user, spec("spread", gpu=2, nodes=2))
    placements = tuple(Placement(0, node.id, (f"GPU-{node.name}-0",)) for node in (alpha, beta))
    action = await world.propose(PlaceJob(job_id("spread"), 1, "H100", placements, "twice rank 0"))
    assert action.state is ActionState.DENIED
