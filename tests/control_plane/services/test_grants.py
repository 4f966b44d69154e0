"""GrantService, undo and agents' keys over real gRPC."""

import grpc
import pytest

from control_plane.model.identity import Role
from orquanta.v1 import action_pb2, agent_pb2, auth_pb2, grant_pb2, grant_pb2_grpc, job_pb2, node_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused


def grants_of(client: Client) -> grant_pb2_grpc.GrantServiceStub:
    return grant_pb2_grpc.GrantServiceStub(client.channel)


def wanted(**changes: object) -> grant_pb2.CreateGrantRequest:
    fields: dict[str, object] = {
        "kinds": ["launch_jobs"],
        "budget_usd_micros": 100_000 * 1_000_000,
        "uses_max": 2,
        "seconds": 3600,
        "reason": "night shift",
    }
    return grant_pb2.CreateGrantRequest(**(fields | changes))  # type: ignore[arg-type] # fields by their names


async def submitted(client: Client) -> action_pb2.Action:
    spec = a_job("big", resources=job_pb2.ResourceRequest(gpu_count=64), max_runtime_seconds=24 * 3600)
    await client.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=spec))
    return (await client.actions.ListActions(action_pb2.ListActionsRequest(page_size=1))).actions[0]


async def agent_of(fleet: Fleet, client: Client) -> Client:
    """Return a client with a key that its owner made for an agent."""
    made = await client.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="helper", for_agent=True))
    assert made.api_key.for_agent
    return fleet.anonymous(made.secret)


async def test_a_grant_is_given_used_listed_and_taken_back(fleet: Fleet, user: Client, operator: Client) -> None:
    grants = grants_of(operator)
    request = wanted(request_id="g-1")
    given = (await grants.CreateGrant(request)).grant
    assert (await grants.CreateGrant(request)).grant == given
    assert operator.user
    assert (given.granted_by, list(given.kinds), given.uses) == (operator.user.email, ["launch_jobs"], 0)
    done = await submitted(user)
    assert done.state == action_pb2.ACTION_STATE_DONE
    assert [approval.grant_id for approval in done.approvals] == [given.id]
    shown = (await grants_of(user).GetGrant(grant_pb2.GetGrantRequest(grant_id=given.id))).grant
    assert (shown.uses, shown.used_usd_micros) == (1, done.estimate_usd_micros)
    listed = (await grants.ListGrants(grant_pb2.ListGrantsRequest())).grants
    assert [one.id for one in listed] == [given.id]
    taken = (await grants.RevokeGrant(grant_pb2.RevokeGrantRequest(grant_id=given.id, reason="over"))).grant
    assert taken.revoked_by == operator.user.email
    assert not (await grants.ListGrants(grant_pb2.ListGrantsRequest())).grants
    everything = (await grants.ListGrants(grant_pb2.ListGrantsRequest(include_ended=True))).grants
    assert list(everything) == [taken]
    fleet.clock.advance(1)
    assert (await submitted(user)).state == action_pb2.ACTION_STATE_AWAITING_APPROVAL


async def test_a_grant_names_its_user_by_address(fleet: Fleet, user: Client, operator: Client) -> None:
    assert user.user
    given = (await grants_of(operator).CreateGrant(wanted(user_id=user.user.email))).grant
    assert given.user_id == user.user.id
    outcome = await refused(grants_of(operator).CreateGrant(wanted(user_id="nobody@example.com")))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "USER_NOT_FOUND")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kinds": []}, "KIND_UNKNOWN"),
        ({"kinds": ["launch_jobs"] * 100}, "LIST_TOO_LONG"),
        ({"uses_max": 0}, "NUMBER_OUT_OF_RANGE"),
        ({"seconds": 8 * 24 * 3600}, "NUMBER_OUT_OF_RANGE"),
        ({"budget_usd_micros": -1}, "NUMBER_OUT_OF_RANGE"),
        ({"pool": "x" * 1000}, "TEXT_TOO_LONG"),
    ],
    ids=["no kind", "many kinds", "no use", "too long", "negative", "long pool"],
)
async def test_a_grant_without_bounds_is_refused(operator: Client, changes: dict[str, object], reason: str) -> None:
    outcome = await refused(grants_of(operator).CreateGrant(wanted(**changes)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)


async def test_a_user_gives_no_grants(user: Client) -> None:
    assert (await refused(grants_of(user).CreateGrant(wanted()))).reason == "ROLE_INSUFFICIENT"


async def test_a_grant_that_is_not_there_is_not_found(operator: Client) -> None:
    outcome = await refused(grants_of(operator).GetGrant(grant_pb2.GetGrantRequest(grant_id="gr-000000000000")))
    assert outcome.reason == "GRANT_NOT_FOUND"


async def test_an_agents_key_proposes_and_never_decides(fleet: Fleet, user: Client, admin: Client) -> None:
    agent = await agent_of(fleet, admin)
    action = await submitted(user)
    approve = action_pb2.ApproveActionRequest(action_id=action.id, hash=action.hash)
    calls = {
        "approve": agent.actions.ApproveAction(approve),
        "reject": agent.actions.RejectAction(action_pb2.RejectActionRequest(action_id=action.id)),
        "resume all": agent.actions.ResumeAll(action_pb2.ResumeAllRequest()),
        "grant": grants_of(agent).CreateGrant(wanted()),
        "revoke a grant": grants_of(agent).RevokeGrant(grant_pb2.RevokeGrantRequest(grant_id="gr-000000000000")),
        "make a key": agent.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="for myself")),
        "make a person": agent.auth.CreateUser(auth_pb2.CreateUserRequest(email="e@example.com", password="x" * 20)),
        "resume an agent": agent.agents.ResumeAgent(agent_pb2.ResumeAgentRequest(name="scheduler_agent")),
    }
    refusals = {what: (await refused(call)).reason for what, call in calls.items()}
    assert refusals == dict.fromkeys(calls, "AGENT_CREDENTIAL")
    assert (await agent.actions.ListActions(action_pb2.ListActionsRequest())).actions
    assert (await agent.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job.id
    await agent.actions.StopAll(action_pb2.StopAllRequest(reason="smoke"))  # whoever sees fire may pull the brake


async def test_what_an_agents_key_asks_for_is_no_persons_wish(fleet: Fleet, admin: Client) -> None:
    agent = await agent_of(fleet, admin)
    await fleet.node("host-1")
    await admin.actions.StopAll(action_pb2.StopAllRequest(reason="smoke"))
    cordon = node_pb2.CordonNodeRequest(node_id="host-1", reason="noisy")
    assert (await refused(agent.nodes.CordonNode(cordon))).reason == "KILL_SWITCH"
    assert await admin.nodes.CordonNode(cordon)  # a person in trouble may


async def test_an_approval_over_a_persons_key_counts(fleet: Fleet, user: Client, operator: Client) -> None:
    made = await operator.auth.CreateApiKey(auth_pb2.CreateApiKeyRequest(name="laptop"))
    action = await submitted(user)
    approve = action_pb2.ApproveActionRequest(action_id=action.id, hash=action.hash, request_id="a-1")
    approved = (await fleet.anonymous(made.secret).actions.ApproveAction(approve)).action
    assert approved.state == action_pb2.ACTION_STATE_DONE
    assert operator.user
    assert [given.approver for given in approved.approvals] == [operator.user.email]


async def test_an_action_tells_what_it_needs(user: Client) -> None:
    action = await submitted(user)
    need = action.approval_need
    assert (need.count, list(getattr(need, "from")), need.ttl_seconds) == (1, [], 1800)
    assert not action.approvals
    assert action.policy_version


async def test_a_cordon_is_undone_once(fleet: Fleet, operator: Client, user: Client) -> None:
    await fleet.node("host-1")
    await operator.nodes.CordonNode(node_pb2.CordonNodeRequest(node_id="host-1", reason="noisy"))
    (cordoned,) = (await operator.actions.ListActions(action_pb2.ListActionsRequest())).actions
    fleet.clock.advance(1)
    request = action_pb2.UndoActionRequest(action_id=cordoned.id, reason="a mistake", request_id="u-1")
    assert (await refused(user.actions.UndoAction(request))).reason == "ROLE_INSUFFICIENT"
    undone = (await operator.actions.UndoAction(request)).action
    assert (undone.kind, undone.undoes_action_id) == ("uncordon_node", cordoned.id)
    assert (await operator.actions.UndoAction(request)).action == undone
    first = (await operator.actions.GetAction(action_pb2.GetActionRequest(action_id=cordoned.id))).action
    assert (first.state, first.undone_by_action_id) == (action_pb2.ACTION_STATE_UNDONE, undone.id)
    again = action_pb2.UndoActionRequest(action_id=cordoned.id)
    outcome = await refused(operator.actions.UndoAction(again))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ALREADY_UNDONE")


async def test_an_approval_that_was_lost_on_the_way_back_can_be_repeated(
    fleet: Fleet, user: Client, operator: Client
) -> None:
    action = await submitted(user)
    approve = action_pb2.ApproveActionRequest(action_id=action.id, hash=action.hash, request_id="a-1")
    first = (await operator.actions.ApproveAction(approve)).action
    assert (await operator.actions.ApproveAction(approve)).action == first
    other = await fleet.client(Role.OPERATOR)
    assert (await refused(other.actions.ApproveAction(approve))).reason == "ACTION_NOT_AWAITING"
