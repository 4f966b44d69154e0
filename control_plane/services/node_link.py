"""NodeLinkService: how hosts join and stay linked. `Join` is for the people's port, `Connect` for the daemons'."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from typing_extensions import override

from control_plane.services.caller import node
from control_plane.services.link_join import Joining
from control_plane.services.link_server import NodeLinks
from orquanta.v1 import node_link_pb2
from orquanta.v1.node_link_pb2_grpc import NodeLinkServiceServicer

# Any: gRPC's context is generic in the message types of each method.
Context = Any


class NodeLink(NodeLinkServiceServicer):
    """Serves the node link. Register it on both servers: the gate of each port lets only its own method through."""

    def __init__(self, *, joining: Joining, links: NodeLinks) -> None:
        self._joining = joining
        self._links = links

    @override
    async def Join(self, request: node_link_pb2.JoinRequest, context: Context) -> node_link_pb2.JoinResponse:
        return await self._joining.join(request, context.peer())

    @override
    def Connect(
        self, request_iterator: AsyncIterator[node_link_pb2.ConnectRequest], context: Context
    ) -> AsyncGenerator[node_link_pb2.ConnectResponse, None]:
        # The gate closes it: one generator less for each of thousands of links.
        return self._links.serve(node(), request_iterator, context)
