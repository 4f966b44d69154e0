"""The control plane is killed and comes back: nothing acknowledged is lost, nothing that ran is disturbed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from orquanta.client import AsyncClient
from orquanta.gameday.fleet import Fleet, wait_until
from orquanta.types.accounts import Role
from orquanta.types.actions import ActionState
from orquanta.types.goals import GoalState
from orquanta.types.jobs import JobSpec, JobState, ResourceRequest
from orquanta.types.nodes import Node
from tests.e2e.books import nothing_changes
from tests.e2e.conftest import output, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(180)]

COUNTING = "i=1; while [ ! -e {end} ]; do echo line $i; i=$((i+1)); sleep 0.1; done; echo that was line $((i-1))"


async def restart(fleet: Fleet) -> None:
    fleet.control_plane.kill()
    await asyncio.sleep(0.5)  # clients notice, and find nobody
    await fleet.start_control_plane()


async def seen_again(client: AsyncClient, name: str) -> Node:
    """Return the node once its link is up."""
    async for node in client.nodes.watch():
        if node.name == name and node.connected:
            return node
    raise AssertionError("the watch ended")


async def test_jobs_watches_questions_approvals_and_the_kill_switch_survive_a_kill(
    quick_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    end = tmp_path / "the-job-may-end"
    async with quick_fleet(lease_seconds="60", fence_seconds="60") as fleet:
        admin = await fleet.client()
        researcher = await fleet.person(admin, "rosa@example.com", Role.USER)
        await fleet.add_host(admin, "host", "8xH100")
        spec = JobSpec(
            "counting", ResourceRequest(1, ("H100",)), command=COUNTING.format(end=end), max_runtime_seconds=99
        )
        job = (await researcher.jobs.submit(spec)).job
        asking = await researcher.goals.create("Fine-tune llama-3-8b for 20 minutes")
        assert asking.state is GoalState.NEEDS_INPUT
        assert asking.plan is not None
        costly = await researcher.goals.create("Fine-tune llama-3-8b on 7 H100 for 6 hours, budget $400")
        assert costly.state is GoalState.AWAITING_APPROVAL
        await reaches(admin, job.id, JobState.RUNNING)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(researcher.jobs.wait(job.id))
            following = tasks.create_task(output(researcher, job.id, follow=True))
            goal = tasks.create_task(researcher.goals.wait(costly.id))
            async with nothing_changes(admin):
                await restart(fleet)
                await seen_again(admin, "host")

            await admin.actions.stop_all(reason="drill")
            await restart(fleet)
            assert (await admin.actions.kill_switch()).engaged
            assert (await admin.actions.kill_switch()).reason == "drill"
            await admin.actions.resume_all()

            answered = await researcher.goals.answer(
                asking.id, {question.field: "1 H100" for question in asking.plan.questions}
            )
            assert answered.state is GoalState.RUNNING, answered.status_reason
            (action,) = [one async for one in admin.actions.list(states=[ActionState.AWAITING_APPROVAL])]
            assert action.goal_id == costly.id
            await admin.actions.approve(action.id, action.hash)
            assert not watching.done()
            end.touch()

        done = watching.result()
        assert (done.state, done.epoch) == (JobState.SUCCEEDED, 1)
        *lines, last = following.result().splitlines(keepends=True)
        assert lines == [b"line %d\n" % number for number in range(1, len(lines) + 1)]
        assert last == b"that was line %d\n" % len(lines)
        assert await output(researcher, job.id) == following.result()
        assert goal.result().goal.state is GoalState.SUCCEEDED
        tuned = (await researcher.goals.wait(asking.id)).goal
        assert tuned.state is GoalState.SUCCEEDED, tuned.status_reason
        async with nothing_changes(admin):
            again = await admin.actions.approve(action.id, action.hash)  # as a retry would, whose answer was lost
        assert again.state is ActionState.DONE


async def test_what_ended_while_the_control_plane_was_away_is_in_the_books_when_it_is_back(
    quick_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    end = tmp_path / "end"
    waits = f"until test -e {end}; do sleep 0.05; done"
    async with quick_fleet(lease_seconds="60", fence_seconds="60") as fleet:
        admin = await fleet.client()
        host = await fleet.add_host(admin, "host", "2xL4")
        resources = ResourceRequest(1, ("L4",))
        good = JobSpec("good", resources, command=f"{waits}; echo ended alone", max_runtime_seconds=300)
        bad = JobSpec("bad", resources, command=f"{waits}; echo no >&2; exit 9", max_runtime_seconds=300)
        jobs = [(await admin.jobs.submit(spec)).job for spec in (good, bad)]
        for job in jobs:
            await reaches(admin, job.id, JobState.RUNNING)
        fleet.control_plane.kill()
        end.touch()
        await wait_until(lambda: not host.supervisors(), "the jobs have ended")
        await fleet.start_control_plane()
        first, second = [await admin.jobs.wait(job.id) for job in jobs]
        assert (first.state, first.epoch, first.exit_code) == (JobState.SUCCEEDED, 1, 0)
        assert (second.state, second.epoch, second.exit_code) == (JobState.FAILED, 1, 9)
        assert await output(admin, first.id, follow=True) == b"ended alone\n"
        assert await output(admin, second.id, follow=True) == b"no\n"
