"""A goal ends once and truly: as its jobs did, with nothing of it left to approve, and not before its run could act."""

from decimal import Decimal

import pytest

from control_plane.agents.housekeeping import Housekeeping
from control_plane.governor import goal_ends
from control_plane.model.action import ActionState
from control_plane.model.goal import GoalState
from control_plane.model.job import AllocationState, ExitReason
from control_plane.model.run import RunState
from tests.control_plane.agents.orchestrator.runs.replans import NETWORK, looked_at, place, wrote
from tests.control_plane.agents.orchestrator.runs.rig import Rig
from tests.control_plane.world import LIMITS, principal, spec


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


async def test_once_a_person_has_stopped_jobs_nobody_can_approve_that_others_are_run_again(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask("train on 1 H100 for 1 hour and separately benchmark on 1 H100 for 1 hour in parallel")
    rig.world.governor._limits = type(LIMITS)(approval_above_usd=Decimal(0), max_gpus_per_user=64)
    await place(rig)
    failed, other = await rig.jobs(goal)
    await wrote(rig, failed, NETWORK)
    await rig.world.report_of(failed.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1, gpu_seconds=60)
    await looked_at(rig)
    (waiting,) = [one for one in await rig.actions() if one.state is ActionState.AWAITING_APPROVAL]
    stop = rig.orchestrator.pursuit.stop
    await rig.world.store.write(lambda tx: stop(tx, rig.ada, goal.id, other.id, "enough", "r-stop"))
    (after,) = [one for one in await rig.actions() if one.id == waiting.id]
    assert (after.state, after.outcome) == (ActionState.SUPERSEDED, "a person has stopped jobs of its goal")
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING  # until the other has ended
    await rig.world.report_of(other.id, AllocationState.ENDED, ExitReason.STOPPED)
    await looked_at(rig)
    ended = await rig.goal(goal.id)
    assert (ended.state, len(await rig.jobs(goal))) == (GoalState.FAILED, 2)
    assert (await rig.run(goal)).state is RunState.FAILED


async def test_after_an_outage_a_run_gets_its_time_to_decide_before_its_goal_is_ended_without_it(rig: Rig) -> None:
    await rig.node()
    goal = await rig.ask("train on 1 H100 for 1 hour: `python train.py`")
    await place(rig)
    (job,) = await rig.jobs(goal)
    await wrote(rig, job, NETWORK)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1, gpu_seconds=60)
    rig.world.clock.advance(8 * 3600)  # the control plane is away before the run has had its say
    housekeeping = Housekeeping(rig.world.store, rig.world.governor)
    assert await housekeeping.round() == ""
    assert (await rig.goal(goal.id)).state is GoalState.RUNNING
    rig.world.clock.advance(goal_ends.DECIDED_WITHIN.total_seconds())
    assert "1 goals ended" in await housekeeping.round()
    assert (await rig.goal(goal.id)).state is GoalState.FAILED


async def test_a_try_that_an_outage_left_behind_does_not_begin_after_the_deadline(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.node()
    goal = await rig.ask("train on 1 H100 in the next 2 hours: `python train.py`")
    await place(rig)
    (job,) = await rig.jobs(goal)
    await wrote(rig, job, NETWORK)
    await rig.world.report_of(job.id, AllocationState.ENDED, ExitReason.EXITED, exit_code=1, gpu_seconds=60)
    with monkeypatch.context() as killed:
        killed.setattr(rig.orchestrator.pursuit, "relaunch", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await looked_at(rig)
    assert (await rig.steps(goal))[-1].outcome is None
    rig.world.clock.advance(3 * 3600)
    rig.build()
    await rig.settle()
    ended = await rig.goal(goal.id)
    assert (ended.state, len(await rig.jobs(goal))) == (GoalState.FAILED, 1)
    assert "deadline has passed" in ended.result
