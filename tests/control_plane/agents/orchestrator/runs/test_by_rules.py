"""Runs without a model: the same machinery, and tools chosen by rules."""

from dataclasses import replace

import pytest

from control_plane.model.goal import GoalState
from control_plane.model.run import EventType, RunState
from tests.control_plane.agents.orchestrator.runs.rig import Rig, said


async def test_a_question_about_idle_gpus_is_answered_from_a_tool_with_evidence(rig: Rig) -> None:
    await rig.node("alpha", gpu=8)
    goal = await rig.ask("how many H100 idle?")
    assert goal.state is GoalState.SUCCEEDED
    assert "8 of 8 H100 idle" in goal.result
    assert "Evidence: fleet" in goal.result
    run = await rig.run(goal)
    assert (run.state, run.reasoner, run.used.tool_calls, run.used.turns) == (RunState.SUCCEEDED, "rules", 1, 0)
    told = [event.type for event in await rig.events(goal)]
    assert told == [
        EventType.RUN_STARTED,
        EventType.TOOL_STARTED,
        EventType.TOOL_FINISHED,
        EventType.RUN_FINISHED,
    ]
    records = await rig.world.audit(goal_id=goal.id)
    assert [record.outcome for record in records if record.action == EventType.RUN_FINISHED] == ["succeeded"]


async def test_a_launched_goal_is_watched_to_its_end(rig: Rig) -> None:
    goal = await rig.ask("train on 1 H100 for 1 hour: `python train.py`")
    assert goal.state is GoalState.RUNNING
    assert (await rig.run(goal)).state is RunState.WATCHING


async def test_a_node_that_the_fleet_knows_by_its_name_alone_is_looked_at(rig: Rig) -> None:
    await rig.node("local", gpu=1)
    goal = await rig.ask("local keeps throwing Xid 79, sort it out", who=await rig.operator())
    assert goal.plan is not None
    assert (goal.plan.targets.nodes, goal.plan.questions) == (("local",), ())
    assert "has no fault now" in goal.result
    unknown = await rig.ask("remote keeps throwing Xid 79, sort it out")
    assert unknown.state is GoalState.NEEDS_INPUT


async def test_a_job_of_ones_own_is_stopped_by_its_name_and_a_strangers_is_not(rig: Rig) -> None:
    eve = await rig.operator("eve")
    own = await rig.ask("train on 1 H100 for 1 hour: `python train.py`")
    hers = await rig.ask("train on 1 H100 for 1 hour: `python train.py`", who=eve)
    assert (await rig.ask("stop job train")).state is GoalState.SUCCEEDED
    assert [job.state.ended for goal in (own, hers) for job in await rig.jobs(goal)] == [True, False]
    again = await rig.ask("stop job train")
    assert again.state is GoalState.NEEDS_INPUT


async def test_of_two_jobs_of_one_name_a_goal_asks_which_and_the_answer_stops_that_one(rig: Rig) -> None:
    goals = [await rig.ask("train on 1 H100 for 1 hour: `python train.py`") for _ in range(2)]
    first, second = [(await rig.jobs(goal))[0] for goal in goals]
    asked = await rig.ask("stop train")
    assert asked.state is GoalState.NEEDS_INPUT
    assert first.id in asked.status_reason
    assert second.id in asked.status_reason
    assert asked.plan is not None
    done = await rig.orchestrator.answer(rig.ada, asked.id, {"job_ids": second.id}, "a-1")
    assert done.state is GoalState.SUCCEEDED
    assert [(await rig.jobs(goal))[0].state.ended for goal in goals] == [False, True]


@pytest.mark.parametrize("for_agent", [False, True])
async def test_what_a_model_has_read_first_stays_the_act_of_who_asked(rig: Rig, for_agent: bool) -> None:
    own = await rig.ask("train on 1 H100 for 1 hour: `python train.py`")
    rig.think(said("cancel", "stop job train"))
    goal = await rig.ask("stop job train", who=replace(rig.ada, for_agent=for_agent))
    assert goal.state is GoalState.SUCCEEDED
    assert all(job.state.ended for job in await rig.jobs(own))
    assert [action.is_person for action in await rig.actions() if action.kind == "stop_job"] == [not for_agent]


async def test_my_training_that_shall_grow_is_found_and_told_how(rig: Rig) -> None:
    none = await rig.ask("scale my training to 4 GPUs")
    assert none.result.startswith("None of your jobs runs or waits")
    first = await rig.ask("train on 1 H100 for 1 hour: `python train.py`")
    (job,) = await rig.jobs(first)
    told = await rig.ask("scale my training to 4 GPUs")
    assert f"train ({job.id}) is queued with 1 H100, and a job keeps the number" in told.result
    assert "orquanta job submit --name train --gpus 4 --gpu-type H100 -- 'python train.py'" in told.result
    await rig.ask("train on 1 H100 for 1 hour: `python train.py`")
    asked = await rig.ask("scale my training to 4 GPUs")
    assert (asked.state, "Which of your jobs is meant" in asked.status_reason) == (GoalState.NEEDS_INPUT, True)
    assert asked.plan is not None
    done = await rig.orchestrator.answer(rig.ada, asked.id, {"job_ids": job.id}, "a-1")
    await rig.settle()
    assert job.id in (await rig.goal(done.id)).result


async def test_a_host_is_drained_by_a_goal_of_an_operator_and_a_user_is_told_the_command(rig: Rig) -> None:
    node = await rig.node("alpha")
    told = await rig.ask("drain alpha")
    assert told.state is GoalState.FAILED
    assert "Ask an operator to run: orquanta node drain alpha" in told.result
    assert await rig.actions() == ()
    operator = await rig.operator()
    done = await rig.ask("please drain node Alpha for maintenance", who=operator)
    assert done.state is GoalState.SUCCEEDED, done
    assert "orquanta node release alpha" in done.result
    assert [action.kind for action in await rig.actions()] == ["drain_node"]
    assert (await rig.world.node_now(node)).hold is not None
    unknown = await rig.ask("cordon alpa", who=operator)
    assert "There is no host named alpa. Did you mean alpha?" in unknown.result


async def test_a_goal_that_is_larger_than_the_fleet_is_queued_and_says_so(rig: Rig) -> None:
    await rig.node("alpha")
    goal = await rig.ask("train on 64 H100 for 1 hour: `python train.py`")
    assert goal.plan is not None
    assert "it has 8 H100, and 64 are asked for" in goal.plan.notes[0]
    preview = await rig.orchestrator.preview(rig.ada, "is alpha healthy?", timezone="")
    assert preview.targets.nodes == ("alpha",)


@pytest.mark.parametrize("text", ["stop everything", "cancel everyone's jobs", "kill everything now"])
async def test_a_goal_that_would_stop_everything_is_told_what_to_do(rig: Rig, text: str) -> None:
    goal = await rig.ask(text)
    assert goal.state is GoalState.REFUSED
    assert "cancel all my jobs" in goal.status_reason
    assert "orquanta action stop-all" in goal.status_reason
