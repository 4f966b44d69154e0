"""Decisions that a process left half made, that cannot be committed, and that are many at once."""

import asyncio
from decimal import Decimal

import pytest

from control_plane.governor.approvals import Decided
from control_plane.model.action import Action, ActionState
from control_plane.model.approval import Approval
from control_plane.model.ids import ActionId
from control_plane.store import approvals
from control_plane.store.database import Tx
from control_plane.store.tables import ActionRow
from tests.control_plane.governor.approving import EXPENSIVE, approve, now
from tests.control_plane.world import World, spec


async def left(world: World, action: Action, state: ActionState) -> None:
    """Leave an action as a process that died in the midst of deciding would, if it could."""

    def write(tx: Tx) -> None:
        row = tx.session.get(ActionRow, action.id)
        assert row is not None
        tx.change(row, {"state": state.value})

    await world.store.write(write)


@pytest.mark.parametrize("state", [ActionState.APPROVED, ActionState.EXECUTING])
async def test_what_was_left_approved_is_carried_out_once(any_world: World, state: ActionState) -> None:
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, EXPENSIVE)
    given = Approval(
        olga.user_id, olga.email, waiting.hash, waiting.policy_version, waiting.estimate_usd, "", any_world.clock.now()
    )
    await any_world.store.write(lambda tx: approvals.put(tx, waiting.id, given))
    await left(any_world, waiting, state)
    assert await any_world.store.read(any_world.governor.approvals.has_left)
    assert await any_world.store.write(any_world.governor.approvals.resume) == 1
    assert await any_world.store.write(any_world.governor.approvals.resume) == 0
    assert (await now(any_world, waiting)).state is ActionState.DONE
    assert (await any_world.account(user)).reserved_usd == waiting.estimate_usd


async def test_what_was_left_approved_by_nobody_who_counts_waits_again(world: World) -> None:
    user = await world.user()
    waiting = await world.launch(user, EXPENSIVE)
    await left(world, waiting, ActionState.APPROVED)
    await world.store.write(world.governor.approvals.resume)
    assert (await now(world, waiting)).state is ActionState.AWAITING_APPROVAL
    assert await world.maybe_job("train") is None


async def test_what_was_left_approved_for_too_long_expires(world: World) -> None:
    waiting = await world.launch(await world.user(), EXPENSIVE)
    await left(world, waiting, ActionState.APPROVED)
    world.clock.advance(3600)
    await world.store.write(world.governor.approvals.resume)
    assert (await now(world, waiting)).state is ActionState.EXPIRED


@pytest.mark.parametrize("state", [ActionState.APPROVED, ActionState.EXECUTING])
async def test_what_was_left_and_changed_behind_the_hash_is_not_carried_out(world: World, state: ActionState) -> None:
    waiting = await world.launch(await world.user(), EXPENSIVE)

    def tamper(tx: Tx) -> None:
        row = tx.session.get(ActionRow, waiting.id)
        assert row is not None
        tx.change(row, {"arguments_json": row.arguments_json.replace('"gpu_count":8', '"gpu_count":64')})

    await world.store.write(tamper)
    await left(world, waiting, state)
    await world.store.write(world.governor.approvals.resume)
    assert (await now(world, waiting)).state in (ActionState.DENIED, ActionState.FAILED)
    assert await world.maybe_job("train") is None


async def test_a_decision_that_cannot_be_committed_leaves_neither_approval_nor_effect(
    any_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, olga = await any_world.user(), await any_world.principal("olga")
    waiting = await any_world.launch(user, EXPENSIVE)

    def crash(tx: Tx) -> Decided:
        any_world.governor.approvals.approve_in(tx, ActionId(waiting.id), olga, waiting.hash, "")
        raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        await any_world.store.write(crash)
    after = await now(any_world, waiting)
    assert (after.state, after.approvals) == (ActionState.AWAITING_APPROVAL, ())
    assert await any_world.maybe_job("train") is None


async def test_fifty_goals_at_once_never_spend_more_than_one_budget(any_world: World) -> None:
    """Half of them wait for an approval first, and all of those are approved at once."""
    user, olga = await any_world.user(budget_usd=4000), await any_world.principal("olga")
    cheap = [spec(f"cheap-{index}", gpu=8, seconds=3600 * 10) for index in range(25)]  # $319.20 each
    dear = [spec(f"dear-{index}", gpu=8, seconds=3600 * 40) for index in range(25)]  # $1,276.80 each, approved
    goals = [await any_world.goal(user, f"goal {index}") for index in range(50)]
    proposed = await asyncio.gather(
        *(any_world.launch(user, one, goal=goal) for one, goal in zip([*cheap, *dear], goals, strict=True))
    )
    waiting = [action for action in proposed if action.state is ActionState.AWAITING_APPROVAL]
    await asyncio.gather(*(approve(any_world, action, olga) for action in waiting))
    account = await any_world.account(user)
    assert account.budget_usd is not None
    assert account.spent_usd + account.reserved_usd <= account.budget_usd
    ended = [await now(any_world, action) for action in proposed]
    done = [action for action in ended if action.state is ActionState.DONE]
    assert sum(action.estimate_usd for action in done) == account.reserved_usd
    assert {action.state for action in ended} == {ActionState.DONE, ActionState.DENIED}
    assert account.budget_usd - account.reserved_usd < Decimal("319.20")
