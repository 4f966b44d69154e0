from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from control_plane.model.ids import JOB, new_id
from orquanta.v1 import job_pb2, node_pb2
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.services.refusals import refused


async def test_a_node_is_found_by_id_and_by_name_with_who_holds_its_gpus(fleet: Fleet, user: Client) -> None:
    node = await fleet.node("host-1", gpus=2)
    job = (await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job()))).job
    await fleet.place(job.id, node, 1)
    by_id = (await user.nodes.GetNode(node_pb2.GetNodeRequest(node_id=node.id))).node
    by_name = (await user.nodes.GetNode(node_pb2.GetNodeRequest(node_id="host-1"))).node
    assert by_id == by_name
    assert [(gpu.inventory.gpu_type, gpu.job_id) for gpu in by_id.gpus] == [("H100", job.id), ("H100", "")]
    assert (by_id.state, dict(by_id.labels)) == (node_pb2.NODE_STATE_READY, {"rack": "r1"})
    found = (await user.jobs.GetJob(job_pb2.GetJobRequest(job_id=job.id))).job
    assert found.allocations[0].id == by_id.gpus[0].allocation_id
    assert found.allocations[0].members[0].node_name == "host-1"


@pytest.mark.parametrize("node_id", ["", "a b", "x" * 254, "-x", "n\x00"])
async def test_a_bad_reference_to_a_node_is_refused(user: Client, node_id: str) -> None:
    outcome = await refused(user.nodes.GetNode(node_pb2.GetNodeRequest(node_id=node_id)))
    assert (outcome.reason, outcome.fields) == ("ID_INVALID", ("node_id",))


async def test_a_node_that_does_not_exist_is_not_found(user: Client) -> None:
    assert (await refused(user.nodes.GetNode(node_pb2.GetNodeRequest(node_id="nowhere")))).reason == "NODE_NOT_FOUND"


async def test_nodes_are_listed_by_state_and_by_gpu(fleet: Fleet, operator: Client) -> None:
    h100, a100 = await fleet.node("host-1"), await fleet.node("host-2", gpu_type="A100")
    await operator.nodes.CordonNode(node_pb2.CordonNodeRequest(node_id="host-1"))

    async def found(**which: Any) -> set[str]:  # Any: fields of a message
        return {node.id for node in (await operator.nodes.ListNodes(node_pb2.ListNodesRequest(**which))).nodes}

    assert await found() == {h100.id, a100.id}
    assert await found(gpu_type="a100") == {a100.id}
    assert await found(states=[node_pb2.NODE_STATE_CORDONED]) == {h100.id}
    outcome = await refused(operator.nodes.ListNodes(node_pb2.ListNodesRequest(gpu_type="\n")))
    assert outcome.reason == "GPU_TYPE_INVALID"


async def test_an_operator_cordons_and_uncordons_and_a_retry_changes_nothing(fleet: Fleet, operator: Client) -> None:
    await fleet.node("host-1")
    cordon = node_pb2.CordonNodeRequest(node_id="host-1", reason="smells burnt", request_id="c-1")
    cordoned = (await operator.nodes.CordonNode(cordon)).node
    assert cordoned.state == node_pb2.NODE_STATE_CORDONED
    assert "smells burnt" in cordoned.status_reason
    ready = (await operator.nodes.UncordonNode(node_pb2.UncordonNodeRequest(node_id="host-1"))).node
    assert ready.state == node_pb2.NODE_STATE_READY
    late = (await operator.nodes.CordonNode(cordon)).node
    assert late.state == node_pb2.NODE_STATE_READY  # a retry that comes late does not undo what came after


async def test_an_administrator_revokes_a_node_for_good(fleet: Fleet, admin: Client) -> None:
    node = await fleet.node("host-1")
    request = node_pb2.RevokeNodeRequest(node_id=node.id, reason="stolen", request_id="r-1")
    revoked = (await admin.nodes.RevokeNode(request)).node
    assert revoked.state == node_pb2.NODE_STATE_REVOKED
    assert (await admin.nodes.RevokeNode(request)).node == revoked
    assert not (await admin.nodes.ListNodes(node_pb2.ListNodesRequest())).nodes
    outcome = await refused(admin.nodes.CordonNode(node_pb2.CordonNodeRequest(node_id=node.id)))
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NODE_REVOKED")


async def test_a_retried_join_token_is_one_token_and_shows_the_same_secret(fleet: Fleet, operator: Client) -> None:
    request = node_pb2.CreateJoinTokenRequest(labels={"rack": "r7"}, request_id="t-1")
    first, again = await operator.nodes.CreateJoinToken(request), await operator.nodes.CreateJoinToken(request)
    assert first == again
    assert first.server == "localhost:50051"
    assert first.join_token.expires_at.seconds - first.join_token.created_at.seconds == 3600
    listed = (await operator.nodes.ListJoinTokens(node_pb2.ListJoinTokensRequest())).join_tokens
    assert list(listed) == [first.join_token]
    assert first.secret not in str(listed)
    other = node_pb2.CreateJoinTokenRequest(labels={"rack": "r8"}, request_id="t-1")
    assert (await refused(operator.nodes.CreateJoinToken(other))).reason == "REQUEST_ID_REUSED"


async def test_a_join_token_is_revoked_once(operator: Client) -> None:
    made = (await operator.nodes.CreateJoinToken(node_pb2.CreateJoinTokenRequest())).join_token
    request = node_pb2.RevokeJoinTokenRequest(join_token_id=made.id, request_id="r-1")
    revoked = (await operator.nodes.RevokeJoinToken(request)).join_token
    assert revoked.HasField("revoked_at")
    assert (await operator.nodes.RevokeJoinToken(request)).join_token == revoked
    unknown = node_pb2.RevokeJoinTokenRequest(join_token_id="t-0123456789ab")
    assert (await refused(operator.nodes.RevokeJoinToken(unknown))).reason == "TOKEN_NOT_FOUND"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (node_pb2.CreateJoinTokenRequest(lifetime=Duration(seconds=8 * 24 * 3600)), "LIFETIME_OUT_OF_RANGE"),
        (node_pb2.CreateJoinTokenRequest(lifetime=Duration(seconds=0)), "LIFETIME_OUT_OF_RANGE"),
        (node_pb2.CreateJoinTokenRequest(labels={"a b": "x"}), "LABEL_INVALID"),
        (node_pb2.CreateJoinTokenRequest(labels={"a": "x" * 257}), "TEXT_TOO_LONG"),
        (node_pb2.CreateJoinTokenRequest(labels={"a": "x\n"}), "TEXT_INVALID"),
        (node_pb2.CreateJoinTokenRequest(labels={f"a{i}": "x" for i in range(65)}), "LIST_TOO_LONG"),
    ],
)
async def test_a_bad_join_token_is_refused_and_not_made(
    operator: Client, request_: node_pb2.CreateJoinTokenRequest, reason: str
) -> None:
    assert (await refused(operator.nodes.CreateJoinToken(request_))).reason == reason
    assert not (await operator.nodes.ListJoinTokens(node_pb2.ListJoinTokensRequest())).join_tokens


async def test_a_filter_by_the_id_of_another_kind_is_refused(operator: Client) -> None:
    outcome = await refused(operator.jobs.ListJobs(job_pb2.ListJobsRequest(node_id=new_id(JOB))))
    assert (outcome.reason, outcome.fields) == ("ID_INVALID", ("node_id",))
