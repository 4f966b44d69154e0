"""How a host becomes a node, and all the ways in which one that should not be does not."""

from datetime import timedelta
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from control_plane.identity.certificates import node_principal_from_pem
from control_plane.model.action import RevokeNode
from control_plane.model.ids import NodeId, TokenId
from control_plane.model.node import NodeState
from control_plane.store import nodes, tokens
from control_plane.store.nodes import NodeFilter
from control_plane.store.pages import page_request
from orquanta.v1 import node_link_pb2
from orquanta.v1.node_link_pb2_grpc import NodeLinkServiceStub
from tests.control_plane.services.node_link.hosts import key_pem, stamp
from tests.control_plane.services.node_link.rig import Rig


def fresh_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


async def refused(rig: Rig, request: node_link_pb2.JoinRequest) -> tuple[grpc.StatusCode, str, str]:
    """Join and expect a refusal: its code, reason and message."""
    with pytest.raises(aio.AioRpcError) as caught:
        await rig.call_join(request)
    error = caught.value
    metadata = dict(iter(error.trailing_metadata() or ()))
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return error.code(), info.reason, error.details() or ""


async def all_nodes(rig: Rig) -> int:
    states = tuple(NodeState)
    return len((await rig.store.read(lambda tx: nodes.page(tx, NodeFilter(states=states), page_request(0, "")))).items)


async def test_a_host_with_a_token_becomes_a_node(rig: Rig) -> None:
    token = await rig.token(labels={"rack": "r7", "pool": "token"})
    key = fresh_key()
    response = await rig.call_join(rig.join_request(token, "gpu-1", key, labels={"pool": "host", "zone": "a"}))
    principal = node_principal_from_pem(response.certificate)
    assert principal.node_id == response.node_id
    assert response.ca_certificate == rig.ca.trust_pem
    assert list(response.link_servers) == [rig.nodes_address]
    node = await rig.node(NodeId(response.node_id))
    assert (node.name, node.state, node.certificate_serial) == ("gpu-1", NodeState.JOINING, principal.serial)
    assert node.labels == {"rack": "r7", "pool": "token", "zone": "a"}
    (record,) = await rig.audited(node.id, "node.join")
    assert record.outcome == "joined"


async def test_a_retry_with_the_same_key_gives_the_same_node_and_a_fresh_certificate(rig: Rig) -> None:
    token, key = await rig.token(), fresh_key()
    first = await rig.call_join(rig.join_request(token, "gpu-1", key))
    second = await rig.call_join(rig.join_request(token, "another-name", key))
    assert first.node_id == second.node_id
    assert first.certificate != second.certificate
    node = await rig.node(NodeId(first.node_id))
    assert node.name == "gpu-1"
    assert node.certificate_serial == node_principal_from_pem(second.certificate).serial
    assert await all_nodes(rig) == 1


async def test_a_replayed_token_is_refused_and_leaves_a_record(rig: Rig) -> None:
    token = await rig.token()
    first = await rig.call_join(rig.join_request(token, "gpu-1", fresh_key()))
    code, reason, text = await refused(rig, rig.join_request(token, "gpu-2", fresh_key()))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "JOIN_TOKEN_USED")
    assert "orquanta node token create" in text
    assert [record.outcome for record in await rig.audited(first.node_id, "node.join")] == ["refused", "joined"]
    assert await all_nodes(rig) == 1


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_two_hours_off_is_named_and_the_token_stays_good(rig: Rig, hours: int) -> None:
    token, key = await rig.token(), fresh_key()
    wrong = stamp(rig.clock.now() + timedelta(hours=hours))
    code, reason, text = await refused(rig, rig.join_request(token, "gpu-1", key, host_time=wrong))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HOST_CLOCK_OFF")
    assert "2 h 0 min" in text or "1 h 59 min" in text
    assert ("ahead" if hours > 0 else "behind") in text
    assert "timedatectl" in text
    assert await all_nodes(rig) == 0
    await rig.call_join(rig.join_request(token, "gpu-1", key))


async def test_a_name_in_use_is_refused_and_that_of_a_revoked_node_is_free(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    token, key = await rig.token(), fresh_key()
    code, reason, text = await refused(rig, rig.join_request(token, "gpu-1", key))
    assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "NODE_NAME_TAKEN")
    assert host.node_id in text
    assert "--name" in text
    await rig.propose(RevokeNode(host.node_id, "gone"))
    response = await rig.call_join(rig.join_request(token, "gpu-1", key))
    assert response.node_id != host.node_id


async def test_a_revoked_node_cannot_come_back_with_its_old_token(rig: Rig) -> None:
    token, key = await rig.token(), fresh_key()
    first = await rig.call_join(rig.join_request(token, "gpu-1", key))
    await rig.propose(RevokeNode(NodeId(first.node_id), "stolen"))
    code, reason, _ = await refused(rig, rig.join_request(token, "gpu-1", key))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NODE_REVOKED")


async def test_an_expired_and_a_revoked_token_are_refused(rig: Rig) -> None:
    expired = await rig.token(lifetime=timedelta(seconds=-1))
    code, reason, _ = await refused(rig, rig.join_request(expired, "gpu-1", fresh_key()))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "JOIN_TOKEN_EXPIRED")
    revoked = await rig.token()
    await rig.store.write(lambda tx: tokens.revoke(tx, TokenId(revoked.split("_")[1])))
    code, reason, _ = await refused(rig, rig.join_request(revoked, "gpu-1", fresh_key()))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "JOIN_TOKEN_REVOKED")
    assert await all_nodes(rig) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": ""}, "JOIN_TOKEN_INVALID"),
        ({"token": "oqj_t-000000000000_" + "a" * 52}, "JOIN_TOKEN_INVALID"),
        ({"token": "\x00\x01" * 500}, "JOIN_TOKEN_INVALID"),
        ({"certificate_signing_request": b""}, "CSR_INVALID"),
        ({"certificate_signing_request": b"\xff" * 1000}, "CSR_INVALID"),
        ({"node_name": ""}, "NODE_NAME_INVALID"),
        ({"node_name": "-x"}, "NODE_NAME_INVALID"),
        ({"node_name": "a" * 64}, "NODE_NAME_INVALID"),
        ({"node_name": "n-0123456789ab"}, "NODE_NAME_INVALID"),
        ({"node_name": "gpu;rm"}, "NODE_NAME_INVALID"),
        ({"host_time": None}, "HOST_TIME_MISSING"),
        ({"host_time": Timestamp(seconds=2**60)}, "HOST_TIME_MISSING"),
    ],
)
async def test_bad_input_is_refused_by_name_and_nothing_changes(
    rig: Rig, changes: dict[str, object], reason: str
) -> None:
    good = rig.join_request(await rig.token(), "gpu-1", fresh_key())
    fields: dict[str, Any] = {field.name: value for field, value in good.ListFields()} | changes  # Any: the request's
    request = node_link_pb2.JoinRequest(**fields)
    code, told, _ = await refused(rig, request)
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED)
    assert told == reason
    assert await all_nodes(rig) == 0


async def test_an_address_that_keeps_guessing_has_to_wait(rig: Rig) -> None:
    guess = rig.join_request("oqj_t-000000000000_" + "a" * 52, "gpu-1", fresh_key())
    for _ in range(20):
        assert (await refused(rig, guess))[0] is grpc.StatusCode.UNAUTHENTICATED
    good = rig.join_request(await rig.token(), "gpu-1", fresh_key())
    code, reason, _ = await refused(rig, good)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "JOIN_THROTTLED")
    rig.clock.offset_seconds += 61
    await rig.call_join(rig.join_request(good.token, "gpu-1", fresh_key()))


async def test_the_daemons_port_serves_no_join_and_the_peoples_port_no_stream(rig: Rig) -> None:
    host = await rig.join("gpu-1")
    mutual = grpc.ssl_channel_credentials(rig.ca.trust_pem, key_pem(host.key), host.certificate)
    request = rig.join_request(await rig.token(), "gpu-2", fresh_key())
    async with aio.secure_channel(rig.nodes_address, mutual) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await NodeLinkServiceStub(channel).Join(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    rig.nodes_address = rig.people_address
    async with host.dial() as stream:
        await stream.try_hello(host)
        assert await stream.ended() is grpc.StatusCode.UNIMPLEMENTED
