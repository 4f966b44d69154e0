"""The governor with policies of files: they add to the built-in rules and take nothing away."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.governor.governor import denial_error
from control_plane.governor.policy.book import PolicyBook
from control_plane.governor.policy.checking import check
from control_plane.governor.policy.model import PolicyFile, PolicySet
from control_plane.governor.rules import Facts, Limits, Ruling, judge, ruling
from control_plane.model.action import (
    Action,
    ActionState,
    CordonNode,
    DrainNode,
    Effect,
    KillSwitch,
    LaunchJobs,
    NewJob,
    QuarantineNode,
    RepairNode,
    RevokeNode,
    StopJob,
    UncordonNode,
)
from control_plane.model.approval import ApprovalNeed
from control_plane.model.freeze import parse
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.model.job import JobState
from control_plane.model.node import Node
from control_plane.model.repair import Rung
from control_plane.store import policy_sets
from control_plane.store.database import Store
from tests.control_plane.world import LIMITS, World, job_id, spec
from tests.fake_clock import FakeClock

ALLOW_ALL = "rules:\n  - {id: everything, when: 'true', then: allow, message: go}\n"


def made(text: str) -> PolicySet:
    policies, faults = check([PolicyFile("p.yaml", text)])
    assert policies is not None, faults
    return policies


def rule(when: str, then: str, more: str = "") -> str:
    return f'rules:\n  - {{id: one, when: "{when}", then: {then}, message: because{more}}}\n'


def under(world: World, text: str) -> World:
    world.governor.policies.put(made(text))
    return world


def reasons(action: Action) -> str:
    return " ".join(action.decision)


def launch(*names: str) -> LaunchJobs:
    return LaunchJobs(tuple(NewJob(job_id(name), spec(name)) for name in names))


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


# Built-in rules.


async def protected_node(world: World) -> Node:
    return await world.node("vault", labels={"orquanta.io/protected": "true"})


@pytest.mark.parametrize(
    "effect_of",
    [
        lambda node: CordonNode(node.id, "x"),
        lambda node: UncordonNode(node.id, "x"),
        lambda node: DrainNode(node.id, "x"),
        lambda node: RepairNode(node.id, Rung.RESET_GPU, "x"),
        lambda node: QuarantineNode(node.id, "x"),
        lambda node: RevokeNode(node.id, "x"),
    ],
    ids=["cordon", "uncordon", "drain", "repair", "quarantine", "revoke"],
)
async def test_no_agent_touches_a_protected_node(world: World, effect_of: Callable[[Node], Effect]) -> None:
    under(world, ALLOW_ALL)
    node = await protected_node(world)
    denied = await world.propose(effect_of(node))
    assert (denied.state, denial_error(denied).reason) == (ActionState.DENIED, "PROTECTED")


async def test_a_person_cordons_a_protected_node_and_needs_another_to_drain_it(world: World) -> None:
    node, user = await protected_node(world), await world.user("op", role=Role.OPERATOR)
    assert (await world.propose(CordonNode(node.id, "x"), user=user, person=True)).state is ActionState.DONE
    waiting = await world.propose(DrainNode(node.id, "x"), user=user, person=True)
    assert waiting.state is ActionState.AWAITING_APPROVAL
    done = await world.governor.approve(
        waiting.id, approver=await world.principal("olga"), hash=waiting.hash, reason=""
    )
    assert done.state is ActionState.DONE


async def test_a_protected_node_takes_jobs_and_only_people_stop_them(world: World) -> None:
    node, user = await protected_node(world), await world.user()
    await world.launch(user, spec("train"))
    assert (await world.place("train", (node, [0]))).state is ActionState.DONE
    assert (await world.propose(StopJob(job_id("train"), "x"))).state is ActionState.DENIED
    assert (await world.stop("train", user)).state is ActionState.AWAITING_APPROVAL


def window_from_now(clock: FakeClock) -> str:
    return f"{clock.now().isoformat()}/{(clock.now() + timedelta(days=9)).isoformat()}"


FREEZE = Limits(
    LIMITS.approval_above_usd,
    LIMITS.max_gpus_per_user,
    freezes=(parse("f", "2000-01-01T00:00Z/2100-01-01T00:00Z", "audit"),),
)


async def test_in_a_freeze_agents_only_make_things_quieter(world: World) -> None:
    node, user = await world.node(), await world.user()
    await world.launch(user, spec("old"))
    await world.launch(user, spec("running"))
    await world.place("running", (node, [1]))
    world.clock.advance(1)
    under(world, ALLOW_ALL + f"freezes:\n  - {{id: f, window: '{window_from_now(world.clock)}', reason: audit}}\n")
    changes: tuple[Effect, ...] = (
        launch("new"),
        DrainNode(node.id, "x"),
        UncordonNode(node.id, "x"),
        RepairNode(node.id, Rung.RESET_GPU, "x"),
    )
    for effect in changes:
        denied = await world.propose(effect, user=user)
        assert (denied.state, denial_error(denied).reason) == (ActionState.DENIED, "CHANGE_FREEZE"), effect
    assert (await world.place("old", (node, [0]))).state is ActionState.DENIED
    quieter: tuple[Effect, ...] = (
        StopJob(job_id("running"), "x"),
        CordonNode(node.id, "x"),
        QuarantineNode(node.id, "x"),
    )
    for effect in quieter:
        assert (await world.propose(effect)).state is ActionState.DONE, effect


async def test_what_people_let_in_during_a_freeze_is_carried_out(sqlite_store: Store, clock: FakeClock) -> None:
    world = World.on(
        sqlite_store, clock, limits=replace(FREEZE, freezes=(parse("f", window_from_now(clock), "audit"),))
    )
    clock.advance(1)
    node, user = await world.node(), await world.user()
    waiting = await world.propose(launch("urgent"), user=user, person=True)
    assert waiting.state is ActionState.AWAITING_APPROVAL
    await world.governor.approve(waiting.id, approver=await world.principal("olga"), hash=waiting.hash, reason="")
    assert (await world.job("urgent")).state is JobState.QUEUED
    assert (await world.place("urgent", (node, [0]))).state is ActionState.DONE


async def test_a_file_adds_a_freeze(world: World) -> None:
    under(
        world, "freezes:\n  - {id: audit, window: 2000-01-01T00:00Z/2100-01-01T00:00Z, reason: the auditors are here}\n"
    )
    denied = await world.launch(await world.user(), spec("train"))
    assert denied.state is ActionState.DENIED
    assert "audit: the auditors are here" in denied.outcome


async def test_what_an_agent_wants_after_strangers_words_needs_a_person(world: World) -> None:
    under(world, ALLOW_ALL)
    node, user = await world.node(), await world.user()
    effects: tuple[Effect, ...] = (launch("a"), CordonNode(node.id, "x"), QuarantineNode(node.id, "x"))
    for effect in effects:
        proposal = replace(world.proposal(effect, user=user), tainted=True)
        assert (await world.governor.propose(proposal)).state is ActionState.AWAITING_APPROVAL
    own = replace(world.proposal(CordonNode(node.id, "x"), user=user, person=True), tainted=True)
    assert (await world.governor.propose(own)).state is ActionState.DONE


# No file weakens a built-in rule.

MORE_RULES = st.lists(
    st.tuples(
        st.sampled_from(["true", "est.usd >= 0.0", "action.kind != ''", "!taint || taint", "fleet.share < 2.0"]),
        st.sampled_from(["allow", "allow", "allow", "dry_run_only", "require_approval"]),
    ),
    max_size=6,
)
STRICTNESS = {Ruling.ALLOW: 0, Ruling.DRY_RUN_ONLY: 1, Ruling.REQUIRE_APPROVAL: 2, Ruling.DENY: 3}


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(more=MORE_RULES)
def test_whatever_files_allow_the_built_in_rules_hold(
    more: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rules = "".join(
        f'  - {{id: r{index}, when: "{when}", then: {then}, message: m}}\n' for index, (when, then) in enumerate(more)
    )
    text = f"rules:\n{rules}" if rules else "rules: []\n"
    directory = tmp_path_factory.mktemp("policies")
    asyncio.run(_compare(directory, text))


async def _compare(directory: Path, text: str) -> None:
    clock = FakeClock()
    store = await Store.open(f"sqlite:///{directory / 'orquanta.db'}", clock=clock)
    try:
        world = World.on(store, clock, limits=FREEZE)
        poor, rich = await world.user("poor", budget_usd=1), await world.user("rich")
        vault, node = await protected_node(world), await world.node()
        proposals = [
            world.proposal(launch("dear"), user=poor),
            world.proposal(launch("frozen"), user=rich),
            world.proposal(launch("urgent"), user=rich, person=True),
            world.proposal(DrainNode(vault.id, "x")),
            world.proposal(DrainNode(vault.id, "x"), user=rich, person=True),
            replace(world.proposal(CordonNode(node.id, "x"), user=rich), tainted=True),
            world.proposal(StopJob(job_id("missing"), "x"), user=rich, person=True),
        ]
        for proposal in proposals:
            alone = await store.read(partial(world.governor.examine, proposal=proposal, policies=made("")))
            with_files = await store.read(partial(world.governor.examine, proposal=proposal, policies=made(text)))
            before, after = alone.judgement.ruling, with_files.judgement.ruling
            assert before is not Ruling.ALLOW
            assert STRICTNESS[after] >= STRICTNESS[before]
            assert set(alone.judgement.verdicts) <= set(with_files.judgement.verdicts)
    finally:
        await store.close()


def test_the_kill_switch_is_above_what_files_say() -> None:
    switch = KillSwitch(engaged=True, changed_by="olga", reason="", changed_at=None)
    facts = Facts(launch("a"), is_person=False, kill_switch=switch, limits=LIMITS)
    assert ruling(judge(facts)) is Ruling.DENY


def test_a_governor_without_files_has_the_built_in_rules_alone() -> None:
    assert PolicyBook().current.rules == ()
