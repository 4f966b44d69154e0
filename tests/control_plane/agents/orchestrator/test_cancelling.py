"""Goals that are cancelled, and goals that cancel jobs."""

from dataclasses import replace
from decimal import Decimal

import pytest

from control_plane.errors import (
    PreconditionFailed,
)
from control_plane.governor.ruling import PROTECTED_LABEL
from control_plane.model.action import ActionState
from control_plane.model.goal import GoalState
from control_plane.model.job import ExitReason, JobState
from control_plane.store import actions
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from tests.control_plane.agents.orchestrator.desk import Desk, cancel_all
from tests.control_plane.world import ENDED, principal


async def test_a_goal_that_waits_for_approval_can_be_cancelled_and_then_not_approved(desk: Desk) -> None:
    goal = await desk.ask("train for weeks")
    action = await desk.waiting(goal)
    assert (await desk.cancel(goal)).state is GoalState.CANCELLED
    operator = await desk.world.principal("olga")
    with pytest.raises(PreconditionFailed):
        await desk.world.governor.approve(action.id, approver=operator, hash=action.hash, reason="")
    kept = await desk.world.store.read(lambda tx: actions.require(tx, action.id))
    assert kept.state is ActionState.SUPERSEDED
    assert await desk.jobs(goal) == ()


async def test_a_goal_that_asks_can_be_cancelled(desk: Desk) -> None:
    assert (await desk.cancel(await desk.ask("how many?"))).state is GoalState.CANCELLED


async def test_cancelling_queued_jobs_gives_their_money_back_at_once(desk: Desk) -> None:
    goal = await desk.ask("chain")
    cancelled = await desk.cancel(goal)
    assert cancelled.state is GoalState.CANCELLED
    assert {job.state for job in await desk.jobs(goal)} == {JobState.CANCELLED}
    assert {job.status_reason for job in await desk.jobs(goal)} == {"enough"}
    account = await desk.account()
    assert account.reserved_usd == 0


async def test_cancelling_running_jobs_waits_for_their_hosts_and_charges_what_ran(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("chain")
    await desk.scheduler.round()
    stopping = await desk.cancel(goal)
    assert (stopping.state, stopping.status_reason) == (GoalState.RUNNING, "is being cancelled: enough")
    first = (await desk.jobs(goal))[0]
    await desk.world.report_of(first.id, ENDED, ExitReason.STOPPED, gpu_seconds=360)
    assert (await desk.world.goal_now(goal)).state is GoalState.CANCELLED
    account = await desk.account()
    assert (account.spent_usd, account.reserved_usd) == (Decimal("0.399"), Decimal(0))


async def test_cancelling_twice_is_cancelling_once(desk: Desk) -> None:
    await desk.world.node()
    goal = await desk.ask("train")
    await desk.scheduler.round()
    await desk.cancel(goal)
    await desk.cancel(goal, request_id="c-2")
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=goal.id), PageRequest()))
    assert [action.kind for action in recorded.items] == ["stop_job", "launch_jobs"]
    (job,) = await desk.jobs(goal)
    await desk.world.report_of(job.id, ENDED, ExitReason.STOPPED)
    ended = await desk.cancel(goal, request_id="c-3")
    assert ended.state is GoalState.CANCELLED


async def test_a_goal_can_cancel_a_job_by_name_but_not_a_strangers(desk: Desk) -> None:
    goal = await desk.ask("train")
    (job,) = await desk.jobs(goal)
    eve = principal(await desk.world.user("eve"))
    refused = await desk.ask(f"cancel {job.id}", who=eve)
    assert "is not yours" in refused.result
    assert (await desk.jobs(goal))[0].state is JobState.QUEUED
    done = await desk.ask(f"cancel {job.id}", request_id="r-2")
    assert done.state is GoalState.SUCCEEDED
    assert (await desk.jobs(goal))[0].state is JobState.CANCELLED


async def test_all_of_ones_own_jobs_are_cancelled_each_by_an_action_and_nobody_elses(desk: Desk) -> None:
    chain, single = await desk.ask("chain"), await desk.ask("train", request_id="r-2")
    eve = principal(await desk.world.user("eve", budget_usd=100))
    hers = await desk.ask("train", who=eve)
    await desk.world.node()
    await desk.scheduler.round()
    desk.orchestrator._planner = cancel_all
    done = await desk.ask("cancel all my jobs", request_id="r-3")
    assert done.state is GoalState.SUCCEEDED
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=done.id), PageRequest()))
    assert [(action.kind, action.state.value) for action in recorded.items] == [("stop_job", "done")] * 4
    for job in (*await desk.jobs(chain), *await desk.jobs(single)):
        assert job.state is JobState.CANCELLED or job.cancel_requested
        assert job.id in done.result
    (other,) = await desk.jobs(hers)
    assert not other.state.ended
    assert not other.cancel_requested
    again = await desk.ask("cancel all my jobs", request_id="r-4")
    assert again.result.count("is being stopped already") == done.result.count("stopping ") > 0


async def test_who_has_no_job_to_cancel_is_told_so(desk: Desk) -> None:
    desk.orchestrator._planner = cancel_all
    done = await desk.ask("cancel all my jobs")
    assert (done.state, done.result) == (GoalState.SUCCEEDED, "you have no job that has not ended")


@pytest.mark.parametrize("for_agent", [False, True])
async def test_what_an_agents_credential_stops_is_no_persons_act(desk: Desk, for_agent: bool) -> None:
    (job,) = await desk.jobs(await desk.ask("train"))
    goal = await desk.ask(f"cancel {job.id}", who=replace(desk.ada, for_agent=for_agent), request_id="r-2")
    recorded = await desk.world.store.read(lambda tx: actions.page(tx, ActionFilter(goal_id=goal.id), PageRequest()))
    assert [action.is_person for action in recorded.items] == [not for_agent]


async def test_a_stop_that_waits_for_approval_says_how_to_approve_it(desk: Desk) -> None:
    await desk.world.node(labels=dict([PROTECTED_LABEL]))
    (job,) = await desk.jobs(await desk.ask("train"))
    await desk.scheduler.round()
    goal = await desk.ask(f"cancel {job.id}", request_id="r-2")
    action = await desk.waiting(goal)
    assert goal.result == f"{action.summary}: needs approval: orquanta action approve {action.id}"
