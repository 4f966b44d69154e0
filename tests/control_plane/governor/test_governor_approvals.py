"""What waits for one person, and who that may be."""

import pytest

from control_plane.errors import PermissionDenied, PreconditionFailed
from control_plane.model.action import (
    Action,
    ActionState,
)
from control_plane.model.goal import GoalState
from control_plane.model.identity import Role
from control_plane.store.database import Tx
from control_plane.store.tables import ActionRow
from tests.control_plane.world import World, principal, spec

EXPENSIVE = spec("train", gpu=8, seconds=3600 * 40)  # 8 * 40 h * $3.99 = $1,276.80


def reasons(action: Action) -> str:
    return " ".join(action.decision)


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
        tx.change(row, {"arguments_json": row.arguments_json.replace('"gpu_count":8', '"gpu_count":64')})

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


async def test_a_waiting_action_cannot_be_approved_while_everything_is_stopped(world: World) -> None:
    user, approver = await world.user(), await world.principal("olga")
    waiting = await world.launch(user, EXPENSIVE)
    await world.governor.set_kill_switch(engaged=True, principal=approver, reason="smoke")
    denied = await world.governor.approve(waiting.id, approver=approver, hash=waiting.hash, reason="")
    assert denied.state is ActionState.DENIED
