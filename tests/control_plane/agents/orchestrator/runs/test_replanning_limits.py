"""How far a run may go when it plans again: models, turns, time, approvals, and people who stop it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from control_plane.agents.orchestrator.runs.bounds import RunPolicy
from control_plane.governor import goal_ends
from control_plane.model.action import ActionState, LaunchJobs
from control_plane.model.goal import GoalState
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.run import RunState
from control_plane.model.run_step import StepKind
from control_plane.reasoning.errors import ModelUnavailable
from control_plane.store import runs
from tests.control_plane.agents.orchestrator.runs.replans import ANY, NETWORK, fails, newest, place, succeeds, wrote
from tests.control_plane.agents.orchestrator.runs.rig import Rig, limited, said
from tests.control_plane.world import LIMITS


async def test_a_second_try_that_needs_an_approval_waits_for_it(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    rig.world.governor._limits = type(LIMITS)(approval_above_usd=Decimal(0), max_gpus_per_user=64)
    await fails(rig, goal, NETWORK)
    waiting = await rig.goal(goal.id)
    assert (waiting.state, (await rig.run(goal)).state) == (GoalState.RUNNING, RunState.AWAITING_APPROVAL)
    assert "orquanta action approve" in waiting.status_reason
    (action,) = [one for one in await rig.actions() if one.state is ActionState.AWAITING_APPROVAL]
    assert isinstance(action.effect, LaunchJobs)
    olga = await rig.operator()
    rig.world.clock.advance(1200)
    assert not await rig.world.store.read(goal_ends.has_left_over)
    await rig.world.governor.approve(action.id, approver=olga, hash=action.hash, reason="fine")
    await rig.settle()
    await succeeds(rig, goal)
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED


async def test_a_second_try_that_is_rejected_ends_the_goal(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    rig.world.governor._limits = type(LIMITS)(approval_above_usd=Decimal(0), max_gpus_per_user=64)
    await fails(rig, goal, NETWORK)
    (action,) = [one for one in await rig.actions() if one.state is ActionState.AWAITING_APPROVAL]
    await rig.world.governor.reject(action.id, approver=await rig.operator(), reason="no")
    await rig.settle()
    ended = await rig.goal(goal.id)
    assert (ended.state, len(await rig.jobs(goal))) == (GoalState.FAILED, 1)
    assert "rejected by olga@example.com" in ended.result


async def test_a_cancelled_goal_gets_no_second_try(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    await place(rig)
    job = await newest(rig, goal)
    await wrote(rig, job, NETWORK)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1)
    await rig.settle()  # it waits for the last lines
    await rig.orchestrator.cancel(rig.ada, goal.id, reason="enough", request_id="c-1")
    rig.world.clock.advance(3)
    await rig.settle()
    assert ((await rig.goal(goal.id)).state, len(await rig.jobs(goal))) == (GoalState.CANCELLED, 1)


# With a model.


def train(*more: object) -> list[object]:
    return [said("train", "train", jobs=[{"name": "train", "gpu_quote": "1 GPU", "duration_quote": None}]), *more]


@pytest.mark.parametrize(
    ("choice", "jobs", "state"),
    [
        ({"choice": "give_up", "why": "it is down for good"}, 1, GoalState.FAILED),
        ({"choice": "ask", "why": "they know"}, 1, GoalState.NEEDS_INPUT),
        ({"choice": "launch 500 H200", "why": "a log line said so"}, 2, GoalState.RUNNING),
        (ModelUnavailable("every endpoint is down"), 2, GoalState.RUNNING),
    ],
    ids=["none", "ask", "invented", "no-answer"],
)
async def test_a_model_chooses_among_the_remedies_and_invents_none(
    rig: Rig, choice: object, jobs: int, state: GoalState
) -> None:
    await rig.node()
    model = rig.think(*train(choice))
    goal = await rig.ask(ANY)
    assert (await rig.run(goal)).reasoner == "scripted"
    failed = await fails(rig, goal, NETWORK)
    assert ((await rig.goal(goal.id)).state, len(await rig.jobs(goal))) == (state, jobs)
    shown = model.requests[-1].messages[-1].text
    assert "NETWORK_UNREACHABLE" in shown
    assert "- retry: " in shown
    (step,) = [one for one in await rig.steps(goal) if one.intent.kind is StepKind.CHOOSE]
    assert step.intent.name == failed.id
    run = await rig.run(goal)
    assert run.used.turns == 2
    assert run.tainted
    for action in await rig.actions():
        assert not action.tainted
        assert action.state is ActionState.DONE


async def test_a_model_is_not_asked_once_its_turns_are_used_up(rig: Rig) -> None:
    await rig.node()
    model = rig.think(*train(), policy=limited(RunPolicy(), turns=1))
    goal = await rig.ask(ANY)
    await fails(rig, goal, NETWORK)
    assert len(model.requests) == 1
    assert (len(await rig.jobs(goal)), (await rig.run(goal)).reasoner) == (2, "rules")


async def test_a_run_whose_time_is_used_up_runs_nothing_again(rig: Rig) -> None:
    await rig.node()
    rig.policy = limited(RunPolicy(), seconds=0.0)
    rig.build()
    goal = await rig.ask(ANY)
    await fails(rig, goal, NETWORK)
    assert ((await rig.goal(goal.id)).state, (await rig.run(goal)).state) == (GoalState.FAILED, RunState.LIMITED)


# A goal always ends.


async def test_a_stopped_run_leaves_its_goal_to_its_jobs(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    run = await rig.run(goal)
    await rig.world.store.write(lambda tx: runs.request_stop(tx, run.id, "it was stopped by ada@example.com: enough"))
    await rig.settle()
    stopped = await rig.run(goal)
    assert stopped.result.startswith("It was stopped by ada@example.com: enough.")
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    await fails(rig, goal, NETWORK)
    assert ((await rig.goal(goal.id)).state, len(await rig.jobs(goal))) == (GoalState.FAILED, 1)


async def test_a_goal_whose_run_is_paused_ends_without_it_in_the_end(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    rig.world.clock.advance(timedelta(days=3).total_seconds())
    assert await rig.world.store.write(goal_ends.close_left_over) == 0  # its jobs go on
    await place(rig)
    job = await newest(rig, goal)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1)
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING  # its run has not had its say
    rig.world.clock.advance(goal_ends.DECIDED_WITHIN.total_seconds())
    assert not await rig.world.store.read(goal_ends.has_left_over)
    rig.world.clock.advance(1)
    assert await rig.world.store.write(goal_ends.close_left_over) == 1
    ended = await rig.goal(goal.id)
    assert ended.state is GoalState.FAILED
    assert "its run did not decide in time" in ended.status_reason
    await rig.settle()
    run = await rig.run(goal)
    assert run.state is RunState.FAILED
    assert run.diagnosis is not None
    assert await rig.world.store.write(goal_ends.close_left_over) == 0
