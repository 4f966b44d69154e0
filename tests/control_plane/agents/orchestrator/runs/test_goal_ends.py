"""A goal ends once and truly: as its jobs did, with nothing of it left to approve, and not before its run could act."""

from control_plane.model.goal import GoalState
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.run import RunState
from tests.control_plane.agents.orchestrator.runs.rig import Rig
from tests.control_plane.agents.orchestrator.runs.test_replanning import NETWORK, looked_at, place, wrote
from tests.control_plane.world import principal, spec


async def test_a_scaling_goal_whose_replicas_fail_runs_them_again_and_does_not_end_as_succeeded(rig: Rig) -> None:
    await rig.node()
    user = await rig.world.user("bob")
    await rig.world.launch(user, spec("api-7-0"))
    goal = await rig.ask("scale endpoint api-7 to 2 replicas", who=principal(user))
    (replica,) = await rig.jobs(goal)
    await place(rig)
    (replica,) = await rig.jobs(goal)
    await wrote(rig, replica, NETWORK)
    await rig.world.report_of(replica.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1, gpu_seconds=60)
    await looked_at(rig)
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    (again,) = [job for job in await rig.jobs(goal) if job.id != replica.id]
    await place(rig)
    again = next(job for job in await rig.jobs(goal) if job.id == again.id)
    await wrote(rig, again, "ModuleNotFoundError: No module named 'torch'")
    await rig.world.report_of(again.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1, gpu_seconds=60)
    await looked_at(rig)
    ended, run = await rig.goal(goal.id), await rig.run(goal)
    assert (ended.state, run.state) == (GoalState.FAILED, RunState.FAILED)
    assert "IMPORT_ERROR" in ended.result
