"""Protected nodes, freezes and taint: no file weakens them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.governor.governor import denial_error
from control_plane.governor.rules import Limits, Ruling
from control_plane.model.action import (
    ActionState,
    CordonNode,
    DrainNode,
    Effect,
    QuarantineNode,
    RepairNode,
    RevokeNode,
    StopJob,
    UncordonNode,
)
from control_plane.model.freeze import parse
from control_plane.model.identity import Role
from control_plane.model.job import JobState
from control_plane.model.node import Node
from control_plane.model.repair import Rung
from control_plane.store.database import Store
from tests.control_plane.governor.policy_texts import ALLOW_ALL, launch, made, under
from tests.control_plane.world import LIMITS, World, job_id, spec
from tests.fake_clock import FakeClock

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
