"""Money: reserved at launch, settled at the end, and never promised twice."""

import asyncio
from decimal import Decimal

from control_plane.model.action import (
    Action,
    ActionState,
    LaunchJobs,
    NewJob,
)
from control_plane.model.goal import GoalState
from control_plane.model.job import JobState
from tests.control_plane.world import World, job_id, spec

ZERO = Decimal(0)


HOUR_OF_H100 = Decimal("3.99")


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


async def test_the_goals_budget_counts_what_it_has_committed_already(world: World) -> None:
    user = await world.user()
    goal = await world.goal(user)
    await world.launch(user, spec("a"), goal=goal, budget_usd=Decimal(5))
    second = world.proposal(LaunchJobs((NewJob(job_id("b"), spec("b")),), goal.id, Decimal(5)), user=user, goal_id=None)
    assert "GOAL_BUDGET" in reasons(await world.governor.propose(second))
