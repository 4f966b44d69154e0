"""The governor with policies of files: they add to the built-in rules and take nothing away."""

import json
from datetime import timedelta

import pytest

from control_plane.governor.governor import denial_error
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.rules import Facts, Ruling, judge, ruling
from control_plane.model.action import (
    Action,
    ActionState,
    DrainNode,
    KillSwitch,
)
from control_plane.model.approval import ApprovalNeed
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.store import policy_sets
from tests.control_plane.governor.policy_texts import ALLOW_ALL, launch, rule, under
from tests.control_plane.world import LIMITS, World, spec


def reasons(action: Action) -> str:
    return " ".join(action.decision)


async def test_a_rule_that_denies_keeps_it_from_happening_and_is_named(world: World) -> None:
    under(world, rule("action.jobs.exists(j, j.gpus > 4)", "deny"))
    user = await world.user()
    goal = await world.goal(user)
    denied = await world.launch(user, spec("train", gpu=8), goal=goal)
    assert denied.state is ActionState.DENIED
    assert "denied (POLICY): because (rule one of p.yaml)" in denied.decision
    assert await world.maybe_job("train") is None
    assert (await world.goal_now(goal)).state is GoalState.REFUSED
    assert denial_error(denied).reason == "POLICY"
    assert (await world.launch(user, spec("small", gpu=4))).state is ActionState.DONE


async def test_the_version_is_in_the_action_and_the_audit(world: World) -> None:
    empty = world.governor.policies.current.version
    user = await world.user()
    first = await world.launch(user, spec("a"))
    under(world, ALLOW_ALL)
    second = await world.launch(user, spec("b"))
    assert (first.policy_version, second.policy_version) == (empty, world.governor.policies.current.version)
    assert first.policy_version != second.policy_version
    record = (await world.audit(action_id=second.id))[-1]
    assert json.loads(record.payload_json)["policy_version"] == second.policy_version


async def test_a_rule_that_asks_for_approvals_says_how_many_by_whom_and_for_how_long(world: World) -> None:
    under(world, rule("est.gpus >= 4", "require_approval", ", approvals: {count: 2, from: [admin], ttl: 2h}"))
    waiting = await world.launch(await world.user(), spec("train", gpu=4))
    assert waiting.state is ActionState.AWAITING_APPROVAL
    assert waiting.approval_need == ApprovalNeed(2, ("admin",), 7200)
    assert waiting.expires_at == world.clock.now() + timedelta(hours=2)
    first, second = await world.principal("anna", Role.ADMIN), await world.principal("adam", Role.ADMIN)
    still = await world.governor.approve(waiting.id, approver=first, hash=waiting.hash, reason="")
    assert still.state is ActionState.AWAITING_APPROVAL
    done = await world.governor.approve(waiting.id, approver=second, hash=waiting.hash, reason="")
    assert done.state is ActionState.DONE


async def test_approvals_are_judged_by_the_policies_in_force_then(world: World) -> None:
    under(world, rule("est.gpus >= 4", "require_approval"))
    waiting = await world.launch(await world.user(), spec("train", gpu=4))
    under(world, rule("est.gpus >= 4", "deny"))
    denied = await world.governor.approve(
        waiting.id, approver=await world.principal("olga"), hash=waiting.hash, reason=""
    )
    assert denied.state is ActionState.DENIED
    assert await world.maybe_job("train") is None


async def test_rules_that_leave_nobody_to_approve_deny(world: World) -> None:
    first = "{id: a, when: 'true', then: require_approval, message: m, approvals: {from: [a@example.com]}}"
    second = "{id: b, when: 'true', then: require_approval, message: m, approvals: {from: [b@example.com]}}"
    under(world, f"rules:\n  - {first}\n  - {second}\n")
    denied = await world.launch(await world.user(), spec("train"))
    assert denied.state is ActionState.DENIED
    assert "leave nobody who may approve" in denied.outcome


async def test_dry_run_only_does_nothing_and_says_what_it_would_have_done(world: World) -> None:
    under(world, rule("action.kind == 'drain_node'", "dry_run_only"))
    node = await world.node()
    action = await world.propose(DrainNode(node.id, "a test"))
    assert action.state is ActionState.DENIED
    assert action.outcome == f"dry run only, nothing was done; it would have been: drain {node.name}: a test"
    assert (await world.node_now(node)).hold is None
    assert denial_error(action).reason == "DRY_RUN_ONLY"


async def test_nobody_is_asked_to_approve_what_is_a_dry_run_only(world: World) -> None:
    asks, dry = (
        "{id: a, when: 'true', then: require_approval, message: m}",
        "{id: b, when: 'true', then: dry_run_only, message: m}",
    )
    under(world, f"rules:\n  - {asks}\n  - {dry}\n")
    action = await world.launch(await world.user(), spec("train"))
    assert (action.state, action.outcome[:12]) == (ActionState.DENIED, "dry run only")


async def test_approving_carries_nothing_out_once_a_rule_says_dry_run_only(world: World) -> None:
    under(world, rule("true", "require_approval"))
    waiting = await world.launch(await world.user(), spec("train"))
    under(world, rule("true", "dry_run_only"))
    after = await world.governor.approve(
        waiting.id, approver=await world.principal("olga"), hash=waiting.hash, reason=""
    )
    assert after.state is ActionState.DENIED
    assert await world.maybe_job("train") is None


async def test_a_condition_that_fails_denies(world: World) -> None:
    under(world, rule("1 / (est.gpus - 3) > 1000", "allow"))
    user = await world.user()
    denied = await world.launch(user, spec("train", gpu=3))
    assert denied.state is ActionState.DENIED
    assert "could not be evaluated, so it denies: division by zero" in reasons(denied)
    assert (await world.launch(user, spec("other", gpu=2))).state is ActionState.DONE


async def test_rules_see_what_the_store_says(world: World) -> None:
    node = await world.node("alpha", labels={"pool": "training", "rack": "r7", "zone": "a"})
    user = await world.user(budget_usd=100)
    await world.launch(user, spec("train", gpu=2))
    placed = await world.place("train", (node, [0, 1]))
    kept = await world.store.read(lambda tx: policy_sets.judged_input(tx, placed.id))
    assert kept is not None
    seen = json.loads(kept.input_json)
    assert seen["action"]["kind"] == "place_job"
    assert "arguments" not in seen["action"]
    (shown,) = seen["action"]["nodes"]
    assert (shown["name"], shown["pool"], shown["rack"], shown["labels"]["zone"], shown["gpus"]) == (
        "alpha",
        "training",
        "r7",
        "a",
        8,
    )
    assert (seen["action"]["job"]["name"], seen["action"]["job"]["owner"]) == ("train", "ada@example.com")
    assert seen["tenant"] == {
        "email": "ada@example.com",
        "role": "user",
        "spent_usd": 0.0,
        "reserved_usd": 7.98,
        "gpus_held": 0,
        "gpus_limit": 64,
        "team": "",
    }
    assert seen["budget"]["left_usd"] == pytest.approx(92.02)
    assert seen["est"] == {"usd": 0.0, "gpus": 2, "nodes": 1, "jobs": 1}
    assert seen["actor"] == {"kind": "agent", "name": "an_agent", "email": "", "role": ""}
    assert (seen["action"]["pools"], seen["action"]["gpu_types"]) == (["training"], ["H100"])


async def test_a_node_is_judged_with_the_jobs_on_it(world: World) -> None:
    under(world, rule("action.kind == 'drain_node' && action.jobs.exists(j, j.owner == 'ada@example.com')", "deny"))
    node, user = await world.node(), await world.user()
    await world.launch(user, spec("train"))
    await world.place("train", (node, [0]))
    assert (await world.propose(DrainNode(node.id, "a test"))).state is ActionState.DENIED


def test_the_kill_switch_is_above_what_files_say() -> None:
    switch = KillSwitch(engaged=True, changed_by="olga", reason="", changed_at=None)
    facts = Facts(launch("a"), is_person=False, kill_switch=switch, limits=LIMITS)
    assert ruling(judge(facts)) is Ruling.DENY


def test_a_governor_without_files_has_the_built_in_rules_alone() -> None:
    assert PolicyBook().current.rules == ()
