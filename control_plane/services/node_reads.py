"""The part of NodeService that only reads."""

from collections.abc import AsyncIterator
from typing import Final

from typing_extensions import override

from control_plane.services import node_views
from control_plane.services.convert import nodes as convert
from control_plane.services.convert.scalars import from_wire
from control_plane.services.paging import Paging
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.job_resources import gpu_type
from control_plane.services.validate.others import node_reference
from control_plane.services.watch import Watcher
from control_plane.store import nodes
from control_plane.store.database import Store
from control_plane.store.nodes import NodeFilter
from orquanta.v1 import node_pb2
from orquanta.v1.node_pb2_grpc import NodeServiceServicer

_STATES: Final = from_wire(convert.NODE_STATE)


class NodeReads(NodeServiceServicer):
    """Returns, lists and follows nodes."""

    def __init__(self, store: Store, watcher: Watcher) -> None:
        self._store = store
        self._watcher = watcher

    @override
    async def GetNode(self, request: node_pb2.GetNodeRequest, context: object) -> node_pb2.GetNodeResponse:
        reference = _reference(request.node_id)
        view = await self._store.read(lambda tx: node_views.one(tx, nodes.resolve(tx, reference)))
        return node_pb2.GetNodeResponse(node=convert.node(view))

    @override
    async def ListNodes(self, request: node_pb2.ListNodesRequest, context: object) -> node_pb2.ListNodesResponse:
        fields = Fields()
        states = tuple(fields.enums("states", request.states, _STATES))
        model = gpu_type(fields, "gpu_type", request.gpu_type) if request.gpu_type else ""
        fields.check()
        paging = Paging(request)
        views, token = await self._store.read(
            lambda tx: node_views.page(tx, NodeFilter(states=states, gpu_type=model), paging.wanted)
        )
        return node_pb2.ListNodesResponse(
            nodes=[convert.node(view, brief=True) for view in views], next_page_token=paging.next(token)
        )

    @override
    async def WatchNodes(
        self, request: node_pb2.WatchNodesRequest, context: object
    ) -> AsyncIterator[node_pb2.WatchNodesResponse]:
        only = None
        if request.node_id:
            reference = _reference(request.node_id)
            only = (await self._store.read(lambda tx: nodes.resolve(tx, reference))).id
        async for change in self._watcher.watch(node_views.watched(only), request.resume_token):
            yield node_pb2.WatchNodesResponse(node=convert.node(change.item), resume_token=change.resume_token)


def _reference(text: str) -> str:
    fields = Fields()
    reference = node_reference(fields, "node_id", text)
    fields.check()
    return reference
