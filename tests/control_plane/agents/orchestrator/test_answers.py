"""Questions that a goal raises, and who may answer them."""

import pytest

from control_plane.errors import (
    InvalidArgument,
    PermissionDenied,
    PreconditionFailed,
)
from control_plane.model.goal import GoalState
from control_plane.store import actions
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.agents.orchestrator.desk import ASK_GPUS, Desk
from tests.control_plane.world import principal


async def test_a_question_is_asked_and_its_answer_starts_the_work_once(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    assert (goal.state, goal.status_reason) == (GoalState.NEEDS_INPUT, "How many GPUs?")
    answers = {ASK_GPUS.field: "2"}
    running = await desk.orchestrator.answer(desk.ada, goal.id, answers, "a-1")
    again = await desk.orchestrator.answer(desk.ada, goal.id, answers, "a-1")
    assert running.state is again.state is GoalState.RUNNING
    (job,) = await desk.jobs(goal)
    assert job.spec.resources.gpu_count == 2
    with pytest.raises(PreconditionFailed) as refused:
        await desk.orchestrator.answer(desk.ada, goal.id, answers, "a-2")
    assert refused.value.reason == "GOAL_ASKS_NOTHING"


async def test_an_answer_to_what_was_not_asked_is_refused_and_changes_nothing(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    with pytest.raises(InvalidArgument) as refused:
        await desk.orchestrator.answer(desk.ada, goal.id, {"constraints.budget": "7"}, "a-1")
    assert refused.value.reason == "ANSWER_UNKNOWN"
    assert await desk.world.goal_now(goal) == goal


async def test_an_operators_answer_spends_the_owners_money_not_the_operators(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    operator = await desk.world.principal("olga")
    await desk.orchestrator.answer(operator, goal.id, {ASK_GPUS.field: "1"}, "a-1")
    (job,) = await desk.jobs(goal)
    assert job.user_id == goal.user_id
    owner = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=goal.id), PageRequest()))
    assert {action.user_id for action in owner.items} == {goal.user_id}


async def test_who_answered_a_goal_does_not_approve_it(desk: Desk) -> None:
    goal = await desk.ask("how many, for weeks?")
    olga, otto = await desk.world.principal("olga"), await desk.world.principal("otto")
    await desk.orchestrator.answer(olga, goal.id, {ASK_GPUS.field: "8"}, "a-1")
    action = await desk.waiting(goal)
    with pytest.raises(PermissionDenied) as refused:
        await desk.world.governor.approve(action.id, approver=olga, hash=action.hash, reason="fine")
    assert refused.value.reason == "SELF_APPROVAL"
    await desk.world.governor.approve(action.id, approver=otto, hash=action.hash, reason="fine")
    assert (await desk.world.goal_now(goal)).state is GoalState.RUNNING


async def test_an_operators_answer_lends_a_goal_no_right_to_cancel_what_is_not_its_owners(desk: Desk) -> None:
    (job,) = await desk.jobs(await desk.ask("train"))
    eve, olga = principal(await desk.world.user("eve")), await desk.world.principal("olga")
    goal = await desk.ask(f"how many to cancel of {job.id}", who=eve)
    answered = await desk.orchestrator.answer(olga, goal.id, {ASK_GPUS.field: "1"}, "a-1")
    assert "is not yours" in answered.result
    own = await desk.ask(f"cancel {job.id}", who=olga)
    assert own.state is GoalState.SUCCEEDED


async def test_strangers_neither_answer_nor_cancel(desk: Desk) -> None:
    goal = await desk.ask("how many?")
    eve = principal(await desk.world.user("eve"))
    with pytest.raises(PermissionDenied):
        await desk.orchestrator.answer(eve, goal.id, {ASK_GPUS.field: "1"}, "a-1")
    with pytest.raises(PermissionDenied):
        await desk.cancel(goal, who=eve)
