import grpc
import pytest

from control_plane.model.identity import Role
from orquanta.v1 import action_pb2, job_pb2, node_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused


async def waiting(client: Client) -> action_pb2.Action:
    spec = a_job("big", resources=job_pb2.ResourceRequest(gpu_count=64), max_runtime_seconds=24 * 3600)
    made = await client.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))
    return (await client.actions.GetAction(action_pb2.GetActionRequest(action_id=made.action_id))).action


def approve(action: action_pb2.Action, *, hash_: str = "", request_id: str = "") -> action_pb2.ApproveActionRequest:
    return action_pb2.ApproveActionRequest(
        action_id=action.id, hash=hash_ or action.hash, reason="fits", request_id=request_id
    )


async def test_an_approval_binds_to_the_hash_that_was_shown(fleet: Fleet, user: Client, operator: Client) -> None:
    action = await waiting(user)
    assert (action.state, action.estimate_usd_micros > 0) == (action_pb2.ACTION_STATE_AWAITING_APPROVAL, True)
    outcome = await refused(operator.actions.ApproveAction(approve(action, hash_="0" * 64)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ACTION_CHANGED")
    approved = (await operator.actions.ApproveAction(approve(action, request_id="a-1"))).action
    assert approved.state == action_pb2.ACTION_STATE_DONE
    assert operator.user
    assert approved.decided_by == operator.user.email
    assert (await operator.actions.ApproveAction(approve(action, request_id="a-1"))).action == approved


async def test_nobody_approves_their_own_action(fleet: Fleet, operator: Client) -> None:
    outcome = await refused(operator.actions.ApproveAction(approve(await waiting(operator))))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SELF_APPROVAL")


@pytest.mark.parametrize("text", ["", "abc", "G" * 64, "A" * 64])
async def test_a_bad_hash_is_refused(operator: Client, text: str) -> None:
    request = action_pb2.ApproveActionRequest(action_id="act-0123456789ab", hash=text)
    assert (await refused(operator.actions.ApproveAction(request))).reason == "HASH_INVALID"


async def test_a_rejected_action_is_not_carried_out_and_cannot_be_approved(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    action = await waiting(user)
    request = action_pb2.RejectActionRequest(action_id=action.id, reason="too much", request_id="r-1")
    rejected = (await operator.actions.RejectAction(request)).action
    assert rejected.state == action_pb2.ACTION_STATE_REJECTED
    assert (await operator.actions.RejectAction(request)).action == rejected
    outcome = await refused(operator.actions.ApproveAction(approve(action)))
    assert outcome.reason == "ACTION_NOT_AWAITING"
    assert not (await user.jobs.ListJobs(job_pb2.ListJobsRequest())).jobs


async def test_actions_are_listed_by_state(fleet: Fleet, user: Client) -> None:
    await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))
    action = await waiting(user)
    request = action_pb2.ListActionsRequest(states=[action_pb2.ACTION_STATE_AWAITING_APPROVAL])
    assert [found.id for found in (await user.actions.ListActions(request)).actions] == [action.id]
    assert len((await user.actions.ListActions(action_pb2.ListActionsRequest())).actions) == 2


async def test_stop_all_refuses_new_work_and_lets_people_read_and_stop_jobs(
    fleet: Fleet, user: Client, operator: Client, admin: Client
) -> None:
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await fleet.node("host-1")
    stopped = await operator.actions.StopAll(action_pb2.StopAllRequest(reason="smoke", request_id="s-1"))
    assert stopped.kill_switch.engaged
    outcome = await refused(user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job())))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KILL_SWITCH")
    assert "smoke" in outcome.message
    assert (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.id))).job == job
    assert await user.jobs.CancelJob(job_pb2.CancelJobRequest(job_id=job.id))
    assert await operator.nodes.CordonNode(node_pb2.CordonNodeRequest(node_id="host-1"))
    released = await admin.actions.ResumeAll(action_pb2.ResumeAllRequest(reason="aired", request_id="s-2"))
    assert not released.kill_switch.engaged
    again = await operator.actions.StopAll(action_pb2.StopAllRequest(reason="smoke", request_id="s-1"))
    assert not again.kill_switch.engaged  # a retry that comes late does not undo what came after
    viewer = await fleet.client(Role.VIEWER)
    switch = (await viewer.actions.GetKillSwitch(action_pb2.GetKillSwitchRequest())).kill_switch
    assert (switch.engaged, switch.reason) == (False, "aired")
