"""Undo: what can be taken back, and only while it is as the action left it."""

from dataclasses import replace

import pytest

from control_plane.errors import PreconditionFailed
from control_plane.governor import repairs as repair_books
from control_plane.governor.undo import NoUndo, inverse, undo_effect
from control_plane.model.action import (
    Action,
    ActionState,
    CordonNode,
    DrainNode,
    Effect,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RequeueJob,
    RevokeNode,
    StopJob,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.ids import ACTION, ALLOCATION, NODE, derived_id
from control_plane.model.job import JobState
from control_plane.model.node import Node, NodeHold, NodeState
from control_plane.model.repair import RepairState, Rung
from control_plane.store import actions, repairs
from control_plane.store.database import Tx
from tests.control_plane.world import World, job_id, spec


async def act(world: World, effect: Effect, *, person: bool = True) -> Action:
    """Have a person, or an agent, do something with a node, as the service or the agent would propose it."""
    world.clock.advance(1)
    proposal = world.proposal(effect)
    node_id = getattr(effect, "node_id", None)
    proposer = "olga@example.com" if person else "healing_agent"
    return await world.governor.propose(replace(proposal, is_person=person, proposer=proposer, node_id=node_id))


async def undo(world: World, first: Action) -> Action:
    """Propose the undo, as the service would."""
    world.clock.advance(1)

    def propose(tx: Tx) -> Action:
        recorded = actions.require(tx, first.id)
        effect = undo_effect(tx, recorded, "a mistake")
        proposal = replace(
            world.proposal(effect),
            is_person=True,
            proposer="olga@example.com",
            node_id=recorded.node_id,
            undoes=recorded.id,
        )
        return world.governor.propose_in(tx, proposal)

    return await world.store.write(propose)


async def refusal(world: World, first: Action) -> str:
    with pytest.raises(PreconditionFailed) as refused:
        await undo(world, first)
    return refused.value.reason


async def now(world: World, action: Action) -> Action:
    return await world.store.read(lambda tx: actions.require(tx, action.id))


async def verify(world: World, node: Node, *, outcome: RepairState) -> None:
    """Have the node verified while it stays quarantined."""
    unfinished = await world.store.read(lambda tx: repairs.unfinished(tx, node.id))
    if unfinished is not None:  # the hand-off report of the quarantine
        await world.store.write(lambda tx: repair_books.give_up(tx, unfinished, "a test has it"))
    ordered = await act(world, RepairNode(node.id, Rung.VERIFY, "look"))
    assert ordered.state is ActionState.DONE, ordered.outcome
    world.clock.advance(1)

    def end(tx: Tx) -> None:
        before = repairs.require(tx, repairs.id_of(ordered.id))
        repairs.update(tx, before, replace(before, state=outcome, closed_at=tx.now))

    await world.store.write(end)


async def test_a_cordon_is_undone_by_an_uncordon_and_says_so(any_world: World) -> None:
    node = await any_world.node()
    first = await act(any_world, CordonNode(node.id, "noisy"))
    taken_back = await undo(any_world, first)
    assert (taken_back.state, taken_back.effect) == (ActionState.DONE, UncordonNode(node.id, "a mistake"))
    after = await now(any_world, first)
    assert (after.state, after.undone_by) == (ActionState.UNDONE, taken_back.id)
    assert taken_back.undoes == first.id
    assert (await any_world.node_now(node)).state is NodeState.READY


async def test_nothing_is_undone_twice(world: World) -> None:
    node = await world.node()
    first = await act(world, CordonNode(node.id, "noisy"))
    await undo(world, first)
    assert await refusal(world, first) == "ALREADY_UNDONE"


async def test_an_undo_can_be_undone(world: World) -> None:
    node = await world.node()
    first = await act(world, CordonNode(node.id, "noisy"))
    second = await undo(world, first)
    assert (await undo(world, second)).state is ActionState.DONE
    assert (await world.node_now(node)).cordoned


async def test_what_others_did_since_is_not_undone_with_it(world: World) -> None:
    node = await world.node()
    first = await act(world, CordonNode(node.id, "noisy"))
    await act(world, DrainNode(node.id, "for real"))
    assert await refusal(world, first) == "CHANGED_SINCE"
    assert (await world.node_now(node)).cordoned


async def test_a_cordon_that_somebody_lifted_is_not_undone(world: World) -> None:
    node = await world.node()
    first = await act(world, CordonNode(node.id, "noisy"))
    await act(world, UncordonNode(node.id, "quiet again"))
    assert await refusal(world, first) == "CHANGED_SINCE"


@pytest.mark.parametrize("person", [True, False], ids=["of a person", "of an agent"])
async def test_a_drain_is_undone_by_a_release(world: World, person: bool) -> None:
    node = await world.node()
    first = await act(world, DrainNode(node.id, "noisy"), person=person)
    assert (await undo(world, first)).effect == ReleaseNode(node.id, "a mistake")
    after = await world.node_now(node)
    assert (after.state, after.hold, after.cordoned) == (NodeState.READY, None, False)


async def test_a_quarantine_is_undone_after_a_verification_only(world: World) -> None:
    node = await world.node()
    first = await act(world, QuarantineNode(node.id, "broken"))
    assert await refusal(world, first) == "NOT_VERIFIED"
    await verify(world, node, outcome=RepairState.FAILED)
    assert await refusal(world, first) == "NOT_VERIFIED"
    await verify(world, node, outcome=RepairState.SUCCEEDED)
    assert (await world.node_now(node)).hold is NodeHold.QUARANTINED
    assert (await undo(world, first)).state is ActionState.DONE
    assert (await world.node_now(node)).state is NodeState.READY


async def test_a_launch_is_undone_while_its_job_waits(any_world: World) -> None:
    user = await any_world.user()
    first = await any_world.launch(user, spec("train"))
    assert (await undo(any_world, first)).state is ActionState.DONE
    assert (await any_world.job("train")).state is JobState.CANCELLED
    assert (await any_world.account(user)).reserved_usd == 0
    assert (await now(any_world, first)).state is ActionState.UNDONE


async def test_a_launch_whose_job_was_started_is_not_undone(world: World) -> None:
    user, node = await world.user(), await world.node()
    first = await world.launch(user, spec("train"))
    await world.place("train", (node, [0]))
    assert await refusal(world, first) == "JOB_STARTED"
    await world.finish("train")
    assert await refusal(world, first) == "CHANGED_SINCE"


async def test_what_was_not_done_is_not_undone(world: World) -> None:
    first = await world.launch(await world.user(budget_usd=1), spec("train"))
    assert await refusal(world, first) == "ACTION_NOT_DONE"


async def test_what_changes_between_the_wish_and_the_undo_stops_it(world: World) -> None:
    """The undo is looked at again in the transaction that carries it out, whoever proposed it."""
    node = await world.node()
    first = await act(world, CordonNode(node.id, "noisy"))
    await act(world, DrainNode(node.id, "for real"))
    late = replace(world.proposal(UncordonNode(node.id, "a mistake")), node_id=node.id, undoes=first.id, is_person=True)
    failed = await world.governor.propose(late)
    assert failed.state is ActionState.FAILED
    assert "since then" in failed.outcome
    assert (await now(world, first)).state is ActionState.DONE
    assert (await world.node_now(node)).cordoned


async def test_nothing_is_marked_undone_by_something_else(world: World) -> None:
    node, other = await world.node("alpha"), await world.node("beta")
    first = await act(world, CordonNode(node.id, "noisy"))
    false = replace(world.proposal(CordonNode(other.id, "x")), node_id=other.id, undoes=first.id, is_person=True)
    assert (await world.governor.propose(false)).state is ActionState.FAILED
    assert (await now(world, first)).state is ActionState.DONE
    assert not (await world.node_now(other)).cordoned


NODE_ID = derived_id(NODE, "alpha")


@pytest.mark.parametrize(
    "effect",
    [
        StopJob(job_id("a"), "x"),
        RequeueJob(job_id("a"), derived_id(ALLOCATION, "a"), "x"),
        RevokeNode(NODE_ID, "x"),
        RepairNode(NODE_ID, Rung.RESET_GPU, "x"),
        ReleaseNode(NODE_ID, "x"),
        UpdateCondition(NODE_ID, "gpu.xid", clear=False, by="olga", reason="x"),
    ],
    ids=lambda effect: type(effect).__name__,
)
async def test_what_has_no_undo_says_what_to_do_instead(world: World, effect: Effect) -> None:
    action = await world.launch(await world.user(), spec("train"))
    found = inverse(replace(action, id=derived_id(ACTION, "x"), effect=effect), "why")
    assert isinstance(found, NoUndo)
    assert found.reason == "NO_UNDO"
    assert "has no undo: " in found.text


async def test_a_launch_of_several_jobs_names_the_way_to_cancel_them(world: World) -> None:
    user = await world.user()
    goal = await world.goal(user)
    first = await world.launch(user, spec("a"), spec("b"), goal=goal)
    with pytest.raises(PreconditionFailed) as refused:
        await undo(world, first)
    assert f"orquanta goal cancel {goal.id}" in refused.value.message
