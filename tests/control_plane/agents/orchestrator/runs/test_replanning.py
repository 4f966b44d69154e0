"""A run whose job fails looks for the cause, runs it again where that can help, and else ends honestly."""

from decimal import Decimal

import pytest

from control_plane.agents.orchestrator.names import NAME
from control_plane.errors import InvalidArgument
from control_plane.model.agent import AgentStatus
from control_plane.model.goal import GoalState
from control_plane.model.job import AllocationState, ExitReason, JobState
from control_plane.model.run import EventType, RunState
from control_plane.store import agents, goals, runs
from tests.control_plane.agents.orchestrator.runs.replans import ANY, NETWORK, fails, newest, place, succeeds
from tests.control_plane.agents.orchestrator.runs.rig import Rig

NAMED = "train on 1 H100 for 1 hour: `python train.py`"
OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 40.00 GiB"


async def test_a_job_whose_network_failed_is_run_again_and_its_goal_succeeds(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    failed = await fails(rig, goal, NETWORK)
    now = await rig.goal(goal.id)
    assert now.state is GoalState.RUNNING
    assert "run again" in now.status_reason
    again = await newest(rig, goal)
    assert again.id != failed.id
    assert (again.spec.command, again.spec.name) == (failed.spec.command, failed.spec.name)
    assert again.spec.max_runtime_seconds == 3540  # of the hour that was agreed
    await succeeds(rig, goal)
    done, run = await rig.goal(goal.id), await rig.run(goal)
    assert (done.state, run.state) == (GoalState.SUCCEEDED, RunState.SUCCEEDED)
    assert run.result == done.result
    for told in (failed.id, again.id, "NETWORK_UNREACHABLE", "in place of", "run again as it was", "cost $"):
        assert told in done.result
    spent = sum((job.cost_usd for job in await rig.jobs(goal)), Decimal(0))
    bill = await rig.world.store.read(lambda tx: goals.bill(tx, goal.id))
    assert bill.cost_usd == spent > 0
    assert (bill.gpu_seconds, bill.reserved_usd) == (120.0, Decimal(0))
    assert f"${spent:.2f} for 120.0 GPU-seconds" in done.result
    told_types = [event.type for event in await rig.events(goal)]
    assert told_types.count(EventType.REPLANNED) == told_types.count(EventType.DIAGNOSIS) == 1
    (event,) = [one for one in await rig.events(goal) if one.type is EventType.REPLANNED]
    assert any(one.startswith("log:") for one in event.evidence_ids)
    assert EventType.REPLANNED in {record.action for record in await rig.world.audit(goal_id=goal.id)}
    why = await rig.ask("why did my job fail?")
    assert failed.id in why.result


async def test_a_job_without_enough_gpu_memory_is_run_on_larger_gpus(rig: Rig) -> None:
    await rig.node("small", gpu_type="A10", memory_gb=24)
    goal = await rig.ask(ANY)
    await place(rig)
    await rig.node("large", gpu_type="H200", memory_gb=141)
    failed = await fails(rig, goal, OUT_OF_MEMORY)
    again = await newest(rig, goal)
    assert again.spec.resources.min_gpu_memory_bytes == 141 * 10**9
    await place(rig)
    assert (await newest(rig, goal)).allocations[-1].gpu_type == "H200"
    assert failed.allocations[-1].gpu_type == "A10"
    await succeeds(rig, goal)
    assert "at least 141 GB" in (await rig.goal(goal.id)).result


async def test_another_model_than_the_named_one_is_asked_about_and_the_answer_is_heeded(rig: Rig) -> None:
    await rig.node("small")
    await rig.node("large", gpu_type="H200", memory_gb=141)
    goal = await rig.ask(NAMED)
    await fails(rig, goal, OUT_OF_MEMORY)
    asked = await rig.goal(goal.id)
    assert (asked.state, (await rig.run(goal)).state) == (GoalState.NEEDS_INPUT, RunState.NEEDS_INPUT)
    assert asked.plan is not None
    (question,) = asked.plan.questions
    assert "'H200'" in question.text
    with pytest.raises(InvalidArgument, match="H200"):
        await rig.orchestrator.answer(rig.ada, goal.id, {question.field: "B200"}, "a-1")
    await rig.orchestrator.answer(rig.ada, goal.id, {question.field: "h200"}, "a-2")
    await rig.settle()
    again = await newest(rig, goal)
    assert again.spec.resources.gpu_types == ("H200",)
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    await succeeds(rig, goal)
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED


async def test_a_job_out_of_time_gets_as_much_as_its_person_says(rig: Rig) -> None:
    await rig.node()
    await rig.world.store.write(lambda tx: agents.register(tx, NAME))
    goal = await rig.ask(NAMED)
    failed = await fails(rig, goal, reason=ExitReason.TIMED_OUT, gpu_seconds=3600)
    record = await rig.world.store.read(lambda tx: agents.get(tx, NAME))
    assert record is not None
    assert record.status is AgentStatus.IDLE
    asked = await rig.goal(goal.id)
    assert asked.state is GoalState.NEEDS_INPUT
    assert "More time costs more money" in asked.status_reason
    await rig.orchestrator.answer(rig.ada, goal.id, {"again": "2 hours"}, "a-1")
    await rig.orchestrator.answer(rig.ada, goal.id, {"again": "2 hours"}, "a-1")
    await rig.settle()
    assert len(await rig.jobs(goal)) == 2
    assert (await newest(rig, goal)).spec.max_runtime_seconds == 7200
    await fails(rig, goal, reason=ExitReason.TIMED_OUT, gpu_seconds=7200)
    ended = await rig.goal(goal.id)
    assert ended.state is GoalState.FAILED  # it is not asked the same thing twice
    assert failed.id in ended.result


async def test_a_question_that_nobody_answers_ends_the_goal_after_a_day(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(NAMED)
    await fails(rig, goal, reason=ExitReason.TIMED_OUT, gpu_seconds=3600)
    rig.world.clock.advance(23 * 3600)
    assert await rig.world.store.read(lambda tx: runs.due(tx, limit=10)) == ()
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.NEEDS_INPUT
    rig.world.clock.advance(3600)
    assert await rig.world.store.read(lambda tx: runs.due(tx, limit=10)) != ()
    await rig.settle()
    ended = await rig.goal(goal.id)
    assert (ended.state, (await rig.run(goal)).state) == (GoalState.FAILED, RunState.LIMITED)
    assert "nobody answered" in ended.status_reason


async def test_stop_as_an_answer_ends_the_goal_and_a_cancelled_one_asks_no_more(rig: Rig) -> None:
    await rig.node()
    goal, other = await rig.ask(NAMED), await rig.ask(NAMED)
    for one in (goal, other):
        await fails(rig, one, reason=ExitReason.TIMED_OUT, gpu_seconds=3600)
    await rig.orchestrator.answer(rig.ada, goal.id, {"again": "stop"}, "a-1")
    await rig.orchestrator.cancel(rig.ada, other.id, reason="enough", request_id="c-1")
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.FAILED
    assert "Its owner said to leave it." in (await rig.goal(goal.id)).result
    assert ((await rig.goal(other.id)).state, (await rig.run(other)).state) == (GoalState.CANCELLED, RunState.STOPPED)


async def test_what_would_fail_again_is_not_run_again_and_its_goal_says_what_to_do(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(NAMED)
    job = await fails(rig, goal, "ModuleNotFoundError: No module named 'torch'")
    ended, run = await rig.goal(goal.id), await rig.run(goal)
    assert (ended.state, run.state) == (GoalState.FAILED, RunState.FAILED)
    assert ended.status_reason.startswith(f"{job.spec.name} failed: ")
    assert "IMPORT_ERROR" in ended.result
    assert "0 of 1 jobs succeeded" in ended.result
    assert run.diagnosis is not None
    assert run.diagnosis.advice in ended.result
    assert len(await rig.jobs(goal)) == 1


async def test_a_goal_is_planned_again_twice_at_most_and_the_limit_is_told(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask(ANY)
    for text in (NETWORK, "RuntimeError: Connection reset by peer", "OSError: [Errno 98] Address already in use"):
        await fails(rig, goal, text)
    ended, run = await rig.goal(goal.id), await rig.run(goal)
    assert (ended.state, run.state, len(await rig.jobs(goal))) == (GoalState.FAILED, RunState.LIMITED, 3)
    assert "A limit ends it" in ended.result
    assert "twice" in ended.result


async def test_no_try_begins_that_the_budget_or_the_deadline_cannot_hold(rig: Rig) -> None:
    await rig.node()
    poor = await rig.ask(f"{NAMED}, at most $4")
    await fails(rig, poor, NETWORK, gpu_seconds=3000)
    late = await rig.ask("train on 1 H100 in the next 2 hours: `python train.py`")
    assert late.plan is not None
    assert late.plan.constraints.deadline_at is not None
    rig.world.clock.advance(7000)
    await fails(rig, late, NETWORK, gpu_seconds=6900)
    for goal, words in ((poor, "left of the goal's budget"), (late, "deadline")):
        ended = await rig.goal(goal.id)
        assert (ended.state, (await rig.run(goal)).state) == (GoalState.FAILED, RunState.LIMITED), ended
        assert words in ended.result
        assert len(await rig.jobs(goal)) == 1


async def test_jobs_that_waited_for_a_failed_one_are_run_with_it(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask("fine-tune llama-3-8b on 1 H100 for 1 hour, then benchmark it on 1 H100 for 1 hour")
    before = await rig.jobs(goal)
    assert len(before) == 2, goal
    first = next(job for job in before if not job.spec.depends_on)
    await fails(rig, goal, NETWORK, name=first.spec.name)
    after = [job for job in await rig.jobs(goal) if job.id not in {one.id for one in before}]
    assert [job.state for job in after] == [JobState.QUEUED, JobState.QUEUED]
    fresh = {job.id: job for job in after}
    (second,) = [job for job in after if job.spec.depends_on]
    assert set(second.spec.depends_on) <= set(fresh)
    assert {job.id: job.state for job in await rig.jobs(goal) if job.id not in fresh} == {
        first.id: JobState.FAILED,
        next(job.id for job in before if job.id != first.id): JobState.CANCELLED,
    }
    for _ in range(2):
        await place(rig)
        for job in await rig.jobs(goal):
            if job.state is JobState.PLACED:
                await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=0)
    await rig.settle()
    assert (await rig.goal(goal.id)).state is GoalState.SUCCEEDED
