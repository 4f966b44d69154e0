"""`orquanta-node join`: a one-time token and a signing request become an identity."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from node_agent.clock import Clock
from node_agent.errors import (
    AgentError,
    AlreadyJoined,
    JoinRefused,
    ServerNotTrusted,
    ServerUnreachable,
    StateUnusable,
)
from node_agent.link import keys
from node_agent.link.certificate import CertificateRejected
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.tls import Address, find_fault, join_channel, trusting
from node_agent.link.token import JoinToken
from orquanta.v1 import node_link_pb2, node_link_pb2_grpc

_CALL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class JoinOrder:
    """What a person asked for."""

    server: Address
    token: JoinToken
    node_name: str
    labels: Mapping[str, str]
    agent_version: str
    force: bool = False
    """Replace the identity that is there."""


async def join(order: JoinOrder, store: IdentityStore, *, clock: Clock) -> Identity:
    """Join the fleet and store the identity; nothing on disk changes unless everything worked.

    Safe to run again after any failure: the key is kept, by which the control plane knows the retry of a
    token that it has already taken. Raises an AgentError.
    """
    if store.is_joined() and not order.force:
        raise AlreadyJoined(
            f"This host is already node {store.load().node_id}. To join another fleet, or again after a "
            "revocation, stop the daemon and add --force."
        )
    store.prepare()
    fault = await find_fault(order.server, trusting(order.token.ca_certificate_pem))
    if fault is not None:
        raise fault
    request = node_link_pb2.JoinRequest(
        token=order.token.credential,
        certificate_signing_request=_make_request(store),
        node_name=order.node_name,
        host_time=_timestamp(clock),
        agent_version=order.agent_version,
        labels=dict(order.labels),
    )
    return _accept(await _call(order, request), order, store, clock)


def _make_request(store: IdentityStore) -> bytes:
    try:
        return keys.make_request(store.pending_key_file)
    except OSError as error:
        raise StateUnusable(
            f"{store.pending_key_file} cannot be written: {error.strerror or error}. Free some space or fix the "
            "permissions, then run the same command again; the token was not used."
        ) from error
    except CertificateRejected as error:
        raise StateUnusable(f"{error}.") from error


def _timestamp(clock: Clock) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(clock.now())
    return stamp


async def _call(order: JoinOrder, request: node_link_pb2.JoinRequest) -> node_link_pb2.JoinResponse:
    async with join_channel(order.server, order.token.ca_certificate_pem) as channel:
        stub = node_link_pb2_grpc.NodeLinkServiceStub(channel)
        try:
            return await stub.Join(request, timeout=_CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _refusal(order, error) from error


def _refusal(order: JoinOrder, error: grpc.aio.AioRpcError) -> AgentError:
    details = error.details() or error.code().name
    if error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
        return ServerUnreachable(
            f"{order.server} did not complete the request: {details}. Check that this is the port for people "
            "(50051 by default), not the one for daemons. Run the same command again; a token that was already "
            "taken by this host still works for it."
        )
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return ServerUnreachable(
            f"{order.server} does not take joins. Give the people's port (50051 by default), not the daemons' port."
        )
    return JoinRefused(f"The control plane refused: {details}")


def _accept(response: node_link_pb2.JoinResponse, order: JoinOrder, store: IdentityStore, clock: Clock) -> Identity:
    try:
        facts = keys.inspect(store.pending_key_file, response.ca_certificate, response.certificate)
        servers = tuple(str(Address.parse(server)) for server in response.link_servers)
    except CertificateRejected as error:
        raise ServerNotTrusted(f"The answer of {order.server} cannot be used: {error}.") from error
    if facts.node_id != response.node_id or not servers:
        raise ServerNotTrusted(
            f"The answer of {order.server} contradicts itself: certificate for {facts.node_id!r}, node id "
            f"{response.node_id!r}, {len(servers)} link servers. Check the control plane's log."
        )
    off = facts.clock_error(clock.now())
    if off:
        raise JoinRefused(
            f"This host's clock is wrong: the certificate that was just issued is off by {off}. "
            "Set the clock (`timedatectl set-ntp true`) and run the same command again."
        )
    return store.save(
        node_name=order.node_name,
        link_servers=servers,
        facts=facts,
        certificate_pem=response.certificate,
        ca_pem=response.ca_certificate,
    )
