"""What a person can do with a goal while it lives: answer it, cancel it at any moment, stop everything."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from orquanta.client import AsyncClient
from orquanta.errors import OrQuantaError, PreconditionFailed
from orquanta.gameday.program import wait_until
from orquanta.types.actions import ActionState
from orquanta.types.goals import GoalState, GoalView
from orquanta.types.jobs import JobState
from tests.e2e.books import nothing_changes
from tests.e2e.conftest import Site, output, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

LONG = "Run `echo begun; sleep 60; echo over` on 8 H100 for 10 minutes"


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def cleared(site: Site) -> AsyncIterator[None]:
    """What a test leaves is cancelled, so that the next one finds every GPU free."""
    yield
    await site.admin.actions.resume_all()
    async for goal in site.admin.goals.list():
        if not goal.state.ended:
            await site.admin.goals.cancel(goal.id)
            for job in (await site.admin.goals.get(goal.id)).jobs:
                await site.admin.jobs.wait(job.id)
    await nothing_is_held(site.admin)


async def running(client: AsyncClient, goal_id: str) -> GoalView:
    async for view in client.goals.watch(goal_id):
        if view.jobs and view.jobs[0].state is JobState.RUNNING:
            return view
    raise AssertionError("the goal ended before its job ran")


async def begun(client: AsyncClient, job_id: str) -> None:
    """Wait for the first output of a job: one that is stopped as soon as it runs may not have come to that."""
    async with asyncio.timeout(30):
        async for _ in client.jobs.logs(job_id, follow=True):
            return
    raise AssertionError(f"{job_id} ended without a word")


async def nothing_is_held(client: AsyncClient) -> None:
    """Wait until no GPU is allocated; no money may be reserved then."""
    async with asyncio.timeout(30):
        while any(kind.allocated for kind in (await client.metrics.fleet()).gpu_types):  # noqa: ASYNC110 - figures
            await asyncio.sleep(0.05)
    assert (await client.auth.who_am_i()).reserved_usd == 0


async def test_a_goal_that_asks_goes_on_once_it_is_answered(site: Site) -> None:
    goal = await site.admin.goals.create("Fine-tune llama-3-8b for 20 minutes")
    assert goal.state is GoalState.NEEDS_INPUT
    assert goal.plan is not None
    assert goal.plan.questions
    async with nothing_changes(site.admin):
        with pytest.raises(OrQuantaError) as caught:
            await site.admin.goals.answer(goal.id, {"no_such_field": "4"})
    assert goal.plan.questions[0].field in caught.value.message
    answers = {question.field: "2 H100" for question in goal.plan.questions}
    await site.admin.goals.answer(goal.id, answers)
    view = await site.admin.goals.wait(goal.id)
    assert view.goal.state is GoalState.SUCCEEDED, view.goal.status_reason
    assert view.jobs[0].spec.resources.gpu_count == 2
    assert view.goal.bill.cost_usd > 0
    assert view.goal.bill.reserved_usd == 0
    with pytest.raises(PreconditionFailed):
        await site.admin.goals.answer(goal.id, answers)


async def test_a_goal_is_cancelled_while_it_waits_for_gpus(site: Site) -> None:
    first = await site.admin.goals.create(LONG)
    await running(site.admin, first.id)
    second = await site.admin.goals.create(LONG)
    async for view in site.admin.goals.watch(second.id):
        if view.jobs and "8 H100" in view.jobs[0].status_reason:
            break
    assert view.jobs[0].state is JobState.QUEUED
    assert view.jobs[0].status_reason.startswith("waits: it needs 8 H100, and 0 of ")
    await site.admin.goals.cancel(second.id, reason="not needed")
    cancelled = await site.admin.goals.get(second.id)
    assert cancelled.goal.state is GoalState.CANCELLED
    assert cancelled.jobs[0].state is JobState.CANCELLED
    assert not cancelled.jobs[0].allocations
    assert cancelled.goal.bill.cost_usd == 0
    assert (await site.admin.goals.get(first.id)).goal.state is GoalState.RUNNING


async def test_a_goal_is_cancelled_while_it_runs_and_its_time_is_billed(site: Site) -> None:
    goal = await site.admin.goals.create(LONG)
    view = await running(site.admin, goal.id)
    await begun(site.admin, view.jobs[0].id)
    await site.admin.goals.cancel(goal.id, reason="enough")
    job = await site.admin.jobs.wait(view.jobs[0].id)
    assert job.state is JobState.CANCELLED
    after = await site.admin.goals.wait(goal.id)
    assert after.goal.state is GoalState.CANCELLED
    assert after.goal.bill.cost_usd > 0
    assert after.goal.bill.reserved_usd == 0
    assert await output(site.admin, job.id, follow=True) == b"begun\n"
    # The supervisor itself ends a moment after it has reported; the daemon may be checking a policy in a child.
    await wait_until(lambda: not site.host.processes(), "no process of the job is left")
    async with nothing_changes(site.admin):
        await site.admin.goals.cancel(goal.id)  # as a retry would, whose answer was lost


async def test_a_goal_is_cancelled_while_it_awaits_approval(site: Site) -> None:
    goal = await site.admin.goals.create("Fine-tune llama-3-8b on 8 H100 for 6 hours, budget $400")
    assert goal.state is GoalState.AWAITING_APPROVAL
    (action,) = [one async for one in site.admin.actions.list(goal_id=goal.id)]
    await site.admin.goals.cancel(goal.id)
    assert (await site.admin.goals.get(goal.id)).goal.state is GoalState.CANCELLED
    assert (await site.admin.actions.get(action.id)).state is ActionState.SUPERSEDED
    async with nothing_changes(site.admin):
        with pytest.raises(OrQuantaError):
            await site.admin.actions.approve(action.id, action.hash)


async def test_a_rejected_goal_never_runs(site: Site) -> None:
    goal = await site.admin.goals.create("Fine-tune llama-3-8b on 8 H100 for 6 hours, budget $400")
    (action,) = [one async for one in site.admin.actions.list(goal_id=goal.id)]
    await site.admin.actions.reject(action.id, reason="not this month")
    view = await site.admin.goals.wait(goal.id)
    assert view.goal.state is GoalState.REFUSED
    assert "not this month" in view.goal.status_reason
    assert all(not job.allocations for job in view.jobs)


async def test_an_approval_for_another_action_than_the_one_that_was_read_is_refused(site: Site) -> None:
    goal = await site.admin.goals.create("Fine-tune llama-3-8b on 8 H100 for 6 hours, budget $400")
    (action,) = [one async for one in site.admin.actions.list(goal_id=goal.id)]
    async with nothing_changes(site.admin):
        with pytest.raises(OrQuantaError):
            await site.admin.actions.approve(action.id, "0" * 64)
    await site.admin.goals.cancel(goal.id)


def until_there(file: Path) -> str:
    return f"until test -e {file}; do sleep 0.05; done; echo over"


async def test_stop_all_denies_what_is_asked_lets_run_what_runs_and_is_released(site: Site, tmp_path: Path) -> None:
    end = tmp_path / "end"
    short = await site.admin.goals.create(f"Run `{until_there(end)}` on 2 H100 for 10 minutes")
    long = await site.admin.goals.create("Run `sleep 60` on 2 H100 for 10 minutes")
    lasting = (await running(site.admin, short.id)).jobs[0]
    endless = (await running(site.admin, long.id)).jobs[0]
    await site.admin.actions.stop_all(reason="something smells")
    denied = await site.admin.goals.create("Run `echo never` on 1 H100 for 10 minutes")
    assert denied.state.ended, denied.state.value
    assert "something smells" in denied.status_reason
    assert not any(job.allocations for job in (await site.admin.goals.get(denied.id)).jobs)
    assert (await site.admin.goals.get(short.id)).goal.state is GoalState.RUNNING  # reads go on
    await site.admin.jobs.cancel(endless.id, reason="a person may always stop a job")
    assert (await site.admin.jobs.wait(endless.id)).state is JobState.CANCELLED
    end.touch()
    assert (await site.admin.jobs.wait(lasting.id)).state is JobState.SUCCEEDED
    assert await output(site.admin, lasting.id, follow=True) == b"over\n"
    await site.admin.actions.resume_all(reason="all clear")
    again = await site.admin.goals.create("Run `echo again` on 1 H100 for 10 minutes")
    assert (await site.admin.goals.wait(again.id)).goal.state is GoalState.SUCCEEDED


async def test_what_waited_when_everything_was_stopped_starts_after_the_release(site: Site, tmp_path: Path) -> None:
    end = tmp_path / "end"
    holder = await site.admin.goals.create(f"Run `{until_there(end)}` on 8 H100 for 10 minutes")
    first = (await running(site.admin, holder.id)).jobs[0]
    waiter = await site.admin.goals.create("Run `echo at last` on 8 H100 for 10 minutes")
    (waiting,) = (await site.admin.goals.get(waiter.id)).jobs
    await site.admin.actions.stop_all(reason="drill")
    end.touch()
    await site.admin.jobs.wait(first.id)
    await asyncio.sleep(1)  # the scheduler has had every reason to look
    assert (await site.admin.jobs.get(waiting.id)).state is JobState.QUEUED
    await site.admin.actions.resume_all()
    await reaches(site.admin, waiting.id, JobState.SUCCEEDED)
