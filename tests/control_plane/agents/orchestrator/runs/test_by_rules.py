"""Runs without a model: the same machinery, and tools chosen by rules."""

from control_plane.model.goal import GoalState
from control_plane.model.run import EventType, RunState
from tests.control_plane.agents.orchestrator.runs.rig import Rig


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
