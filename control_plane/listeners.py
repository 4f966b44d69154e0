"""The two gRPC ports: people and joining hosts on one, daemons on the other."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import grpc
import structlog
from grpc import aio

from control_plane.clock import Clock
from control_plane.credentials import Certificates
from control_plane.errors import PreconditionFailed
from control_plane.open_files import connections, raise_limit
from control_plane.services.access import Port
from control_plane.services.composition import (
    CONCURRENT_CALLS_MAX,
    SERVER_OPTIONS,
    PeopleServices,
    add_health_and_reflection,
)
from control_plane.services.interceptors import Gate
from control_plane.services.node_link import NodeLink
from control_plane.setting_addresses import join_address, split_address
from control_plane.settings import Settings
from control_plane.telemetry.windows import NODES_MAX
from orquanta.v1 import node_link_pb2_grpc

log = structlog.get_logger()

_GRACE_SECONDS = 3.0
_LINKS_MAX = NODES_MAX + 1_000
"""Calls in progress at once on the daemons' port: a stream of each host, and some that end as others take over."""
_LINK_OPTIONS = (
    *SERVER_OPTIONS,
    ("grpc.http2.bdp_probe", 0),  # or each host's message would be answered by a ping, to learn how large its window is
    ("grpc.tsi.max_frame_size", 1024),  # each connection's buffer for what it sends; by itself 16 KB
)
_CONNECTIONS_MAX = "grpc.max_allowed_incoming_connections"
_NODE_LINK = "orquanta.v1.NodeLinkService"


class Listeners:
    """Opens both ports; they are closed, calls in progress first, with the stack."""

    def __init__(self, settings: Settings, certificates: Certificates, *, people_port: int, nodes_port: int) -> None:
        self._settings = settings
        self._certificates = certificates
        self._people = join_address(split_address(settings.people_address)[0], people_port)
        self._nodes = join_address(split_address(settings.nodes_address)[0], nodes_port)

    async def open(self, stack: AsyncExitStack, people: PeopleServices, node_link: NodeLink, *, clock: Clock) -> None:
        """Serve. Raises PreconditionFailed when a port was taken meanwhile."""
        most = connections(raise_limit())
        people_options = (*SERVER_OPTIONS, (_CONNECTIONS_MAX, most.people))
        people_server = _server(people.gate, people_options, CONCURRENT_CALLS_MAX)
        names = [*people.add_to(people_server), _NODE_LINK]
        node_link_pb2_grpc.add_NodeLinkServiceServicer_to_server(node_link, people_server)
        credentials = None if self._settings.insecure else self._certificates.people_credentials()
        await _start(stack, people_server, names, self._people, credentials)

        nodes_options = (*_LINK_OPTIONS, (_CONNECTIONS_MAX, most.hosts))
        nodes_server = _server(Gate(port=Port.NODES, authenticator=None, clock=clock), nodes_options, _LINKS_MAX)
        node_link_pb2_grpc.add_NodeLinkServiceServicer_to_server(node_link, nodes_server)
        await _start(
            stack,
            nodes_server,
            [_NODE_LINK],
            self._nodes,
            self._certificates.nodes_credentials(),
        )


def _server(gate: Gate, options: Sequence[tuple[str, int]], calls_max: int) -> aio.Server:
    return aio.server(interceptors=[gate], options=options, maximum_concurrent_rpcs=calls_max)


async def _start(
    stack: AsyncExitStack,
    server: aio.Server,
    names: list[str],
    address: str,
    credentials: grpc.ServerCredentials | None,
) -> None:
    health = await add_health_and_reflection(server, names)
    try:
        if credentials is None:
            log.warning(
                "server.plaintext", address=address, why="insecure is set: passwords cross the network in clear"
            )
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise PreconditionFailed(
            f"{address} was taken while the control plane started; stop what listens there and start again",
            reason="PORT_TAKEN",
        ) from error
    await server.start()
    stack.push_async_callback(server.stop, _GRACE_SECONDS)
    stack.push_async_callback(health.enter_graceful_shutdown)
