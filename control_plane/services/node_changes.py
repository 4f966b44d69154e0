"""The part of NodeService that takes nodes out of service, repairs them and puts them back: all by the governor."""

from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import Message
from typing_extensions import override

from control_plane.fleet.repair_wish import RepairWish, plan
from control_plane.governor.governor import Governor
from control_plane.model.action import (
    Action,
    CordonNode,
    DrainNode,
    Effect,
    Proposal,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    RevokeNode,
    UncordonNode,
    UpdateCondition,
)
from control_plane.model.identity import Principal
from control_plane.model.ids import ACTION
from control_plane.model.node import Node, NodeState
from control_plane.model.repair import Repair, Rung
from control_plane.services import node_views
from control_plane.services.caller import person
from control_plane.services.convert import nodes as convert
from control_plane.services.mutations import mutation
from control_plane.services.proposals import propose
from control_plane.services.validate import repairs as validate
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.others import node_reference
from control_plane.store import conditions, nodes, repairs
from control_plane.store.database import Store, Tx
from orquanta.v1 import node_pb2
from orquanta.v1.node_pb2_grpc import NodeServiceServicer

_EffectOf = Callable[[Tx, Node, str], Effect]
"""Makes an effect from the node and the reason for the audit, in the transaction that decides it."""


class _NodeRequest(Protocol):
    """The part that all requests for a change of a node have."""

    node_id: str
    reason: str
    request_id: str


class NodeChanges(NodeServiceServicer):
    """Changes nodes."""

    def __init__(self, store: Store, governor: Governor) -> None:
        self._store = store
        self._governor = governor

    @override
    async def CordonNode(self, request: node_pb2.CordonNodeRequest, context: object) -> node_pb2.CordonNodeResponse:
        action = await self._propose("CordonNode", request, lambda _tx, node, why: CordonNode(node.id, why))
        return node_pb2.CordonNodeResponse(node=await self._node(action))

    @override
    async def UncordonNode(
        self, request: node_pb2.UncordonNodeRequest, context: object
    ) -> node_pb2.UncordonNodeResponse:
        action = await self._propose("UncordonNode", request, lambda _tx, node, why: UncordonNode(node.id, why))
        return node_pb2.UncordonNodeResponse(node=await self._node(action))

    @override
    async def RevokeNode(self, request: node_pb2.RevokeNodeRequest, context: object) -> node_pb2.RevokeNodeResponse:
        fields = Fields()
        reference = node_reference(fields, "node_id", request.node_id)
        fields.check()
        view = await self._store.read(lambda tx: node_views.one(tx, nodes.resolve(tx, reference)))
        if view.node.state is NodeState.REVOKED:
            return node_pb2.RevokeNodeResponse(node=convert.node(view))
        action = await self._propose("RevokeNode", request, lambda _tx, node, why: RevokeNode(node.id, why))
        return node_pb2.RevokeNodeResponse(node=await self._node(action))

    @override
    async def DrainNode(self, request: node_pb2.DrainNodeRequest, context: object) -> node_pb2.DrainNodeResponse:
        action = await self._propose("DrainNode", request, lambda _tx, node, why: DrainNode(node.id, why))
        return node_pb2.DrainNodeResponse(node=await self._node(action), action_id=action.id)

    @override
    async def RepairNode(self, request: node_pb2.RepairNodeRequest, context: object) -> node_pb2.RepairNodeResponse:
        fields = Fields()
        wish = RepairWish(
            rung=validate.rung(fields, request.rung),
            gpus=validate.gpus(fields, request.gpus),
            service=validate.service(fields, request.service),
        )
        action = await self._propose(
            "RepairNode",
            request,
            lambda tx, node, why: _repair_effect(tx, node, why, wish, dry_run=request.dry_run),
            fields=fields,
        )
        ordered = await self._repair_of(action)
        return node_pb2.RepairNodeResponse(
            node=await self._node(action),
            repair_id=ordered.id if ordered is not None else "",
            incident_id=(ordered.incident_id or "") if ordered is not None else "",
            action_id=action.id,
        )

    @override
    async def VerifyNode(self, request: node_pb2.VerifyNodeRequest, context: object) -> node_pb2.VerifyNodeResponse:
        wish = RepairWish(rung=Rung.VERIFY)
        action = await self._propose(
            "VerifyNode", request, lambda tx, node, why: _repair_effect(tx, node, why, wish, dry_run=False)
        )
        ordered = await self._repair_of(action)
        return node_pb2.VerifyNodeResponse(
            node=await self._node(action), repair_id=ordered.id if ordered is not None else ""
        )

    @override
    async def QuarantineNode(
        self, request: node_pb2.QuarantineNodeRequest, context: object
    ) -> node_pb2.QuarantineNodeResponse:
        action = await self._propose("QuarantineNode", request, lambda _tx, node, why: QuarantineNode(node.id, why))
        return node_pb2.QuarantineNodeResponse(node=await self._node(action))

    @override
    async def ReleaseNode(self, request: node_pb2.ReleaseNodeRequest, context: object) -> node_pb2.ReleaseNodeResponse:
        action = await self._propose("ReleaseNode", request, lambda _tx, node, why: ReleaseNode(node.id, why))
        return node_pb2.ReleaseNodeResponse(node=await self._node(action))

    @override
    async def UpdateCondition(
        self, request: node_pb2.UpdateConditionRequest, context: object
    ) -> node_pb2.UpdateConditionResponse:
        fields = Fields()
        condition_id = validate.condition_id(fields, request.condition_id)
        caller = person()
        action = await self._propose(
            "UpdateCondition",
            request,
            lambda _tx, node, why: UpdateCondition(
                node.id, condition_id, clear=request.clear, by=caller.email, reason=why
            ),
            fields=fields,
        )
        return node_pb2.UpdateConditionResponse(node=await self._node(action))

    async def _propose(
        self, method: str, request: _NodeRequest, effect_of: _EffectOf, *, fields: Fields | None = None
    ) -> Action:
        """Propose what the caller wants done with a node; `fields` holds what is wrong with the rest of the request."""
        fields = fields or Fields()
        reference = node_reference(fields, "node_id", request.node_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        assert isinstance(request, Message)
        change = mutation(method, request, request.request_id)
        caller = person()

        def proposal(tx: Tx) -> Proposal:
            node = nodes.resolve(tx, reference)
            return Proposal(
                id=change.id(ACTION),
                effect=effect_of(tx, node, _why(caller, reason)),
                proposer=caller.email,
                reasoning=reason,
                is_person=not caller.for_agent,
                user_id=caller.user_id,
                node_id=node.id,
            )

        return await propose(self._store, self._governor, change, proposal)

    async def _node(self, action: Action) -> node_pb2.Node:
        """Return the node that an action is about, as it is now."""
        node_id = action.node_id
        assert node_id is not None
        return convert.node(await self._store.read(lambda tx: node_views.one(tx, nodes.resolve(tx, node_id))))

    async def _repair_of(self, action: Action) -> Repair | None:
        """Return the repair that an action has ordered; None while it waits for an approval."""
        return await self._store.read(lambda tx: repairs.get(tx, repairs.id_of(action.id)))


def _repair_effect(tx: Tx, node: Node, why: str, wish: RepairWish, *, dry_run: bool) -> RepairNode:
    meant = plan(wish, node, conditions.of_node(tx, node.id))
    return RepairNode(
        node_id=node.id,
        rung=meant.rung,
        reason=why,
        gpu_uuids=meant.gpu_uuids,
        service=meant.service,
        process_ids=meant.process_ids,
        dry_run=dry_run,
        condition_ids=meant.condition_ids,
    )


def _why(caller: Principal, reason: str) -> str:
    return f"by {caller.email}" + (f": {reason}" if reason else "")
