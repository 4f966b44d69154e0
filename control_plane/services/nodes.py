"""NodeService: GPU hosts, and the tokens with which they join."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from typing_extensions import override

from control_plane.errors import NotFound
from control_plane.governor.governor import Governor
from control_plane.identity.credentials import Credentials
from control_plane.model.action import CordonNode, Proposal, RevokeNode, UncordonNode
from control_plane.model.identity import Principal
from control_plane.model.ids import ACTION, TOKEN, NodeId, TokenId
from control_plane.model.node import JoinTokenRecord, Node, NodeState
from control_plane.model.record import Event, Noun
from control_plane.services.caller import person
from control_plane.services.convert import nodes as convert
from control_plane.services.convert.scalars import from_wire
from control_plane.services.mutations import mutation
from control_plane.services.paging import Paging
from control_plane.services.proposals import propose
from control_plane.services.validate import others as validate
from control_plane.services.validate.fields import Fields
from control_plane.services.validate.jobs import gpu_type
from control_plane.services.watch import Watched, Watcher
from control_plane.store import allocations, audit, nodes, tokens
from control_plane.store.allocations import GpuHold
from control_plane.store.database import Store, Tx
from control_plane.store.nodes import NodeFilter
from orquanta.v1 import node_pb2
from orquanta.v1.node_pb2_grpc import NodeServiceServicer

JOIN_TOKEN_LIFETIME_DEFAULT: Final = timedelta(hours=1)
JOIN_TOKEN_LIFETIME_MAX: Final = timedelta(days=7)

_STATES: Final = from_wire(convert.NODE_STATE)

_NodeEffect = type[CordonNode] | type[UncordonNode] | type[RevokeNode]


@dataclass(frozen=True, slots=True)
class JoinDetails:
    """What a host needs to join besides the token's secret: where to dial, and the CA to trust (DER)."""

    server: str
    ca_certificate_der: bytes


@dataclass(frozen=True, slots=True)
class _Whole:
    """A node and who holds its GPUs, as of one transaction."""

    node: Node
    holds: Mapping[str, GpuHold]


class Nodes(NodeServiceServicer):
    """Serves nodes."""

    def __init__(
        self,
        *,
        store: Store,
        governor: Governor,
        watcher: Watcher,
        credentials: Credentials,
        join: JoinDetails,
    ) -> None:
        self._store = store
        self._governor = governor
        self._watcher = watcher
        self._credentials = credentials
        self._join = join

    @override
    async def GetNode(self, request: node_pb2.GetNodeRequest, context: object) -> node_pb2.GetNodeResponse:
        return node_pb2.GetNodeResponse(node=await self._as_it_is(_reference(request.node_id)))

    @override
    async def ListNodes(self, request: node_pb2.ListNodesRequest, context: object) -> node_pb2.ListNodesResponse:
        fields = Fields()
        states = tuple(fields.enums("states", request.states, _STATES))
        model = gpu_type(fields, "gpu_type", request.gpu_type) if request.gpu_type else ""
        fields.check()
        paging = Paging(request)
        page, holds = await self._store.read(
            lambda tx: (nodes.page(tx, NodeFilter(states=states, gpu_type=model), paging.wanted), allocations.holds(tx))
        )
        return node_pb2.ListNodesResponse(
            nodes=[convert.node(node, holds) for node in page.items], next_page_token=paging.next(page.next_token)
        )

    @override
    async def WatchNodes(
        self, request: node_pb2.WatchNodesRequest, context: object
    ) -> AsyncIterator[node_pb2.WatchNodesResponse]:
        only = None
        if request.node_id:
            reference = _reference(request.node_id)
            only = (await self._store.read(lambda tx: nodes.resolve(tx, reference))).id
        async for change in self._watcher.watch(_watched(only), request.resume_token):
            yield node_pb2.WatchNodesResponse(
                node=convert.node(change.item.node, change.item.holds), resume_token=change.resume_token
            )

    @override
    async def CordonNode(self, request: node_pb2.CordonNodeRequest, context: object) -> node_pb2.CordonNodeResponse:
        node = await self._change("CordonNode", request, CordonNode)
        return node_pb2.CordonNodeResponse(node=node)

    @override
    async def UncordonNode(
        self, request: node_pb2.UncordonNodeRequest, context: object
    ) -> node_pb2.UncordonNodeResponse:
        node = await self._change("UncordonNode", request, UncordonNode)
        return node_pb2.UncordonNodeResponse(node=node)

    @override
    async def RevokeNode(self, request: node_pb2.RevokeNodeRequest, context: object) -> node_pb2.RevokeNodeResponse:
        reference = _reference(request.node_id)
        node = await self._store.read(lambda tx: nodes.resolve(tx, reference))
        if node.state is NodeState.REVOKED:
            return node_pb2.RevokeNodeResponse(node=await self._as_it_is(node.id))
        return node_pb2.RevokeNodeResponse(node=await self._change("RevokeNode", request, RevokeNode))

    @override
    async def CreateJoinToken(
        self, request: node_pb2.CreateJoinTokenRequest, context: object
    ) -> node_pb2.CreateJoinTokenResponse:
        fields = Fields()
        lifetime = validate.lifetime(
            fields,
            request.lifetime if request.HasField("lifetime") else None,
            default=JOIN_TOKEN_LIFETIME_DEFAULT,
            most=JOIN_TOKEN_LIFETIME_MAX,
        )
        labels = fields.labels("labels", request.labels)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("CreateJoinToken", request, request.request_id)
        token_id = change.id(TOKEN)
        issued = self._credentials.join_token(token_id, self._join.ca_certificate_der)
        caller = person()

        def make(tx: Tx) -> JoinTokenRecord:
            if change.remembered(tx) is not None:
                return _token(tx, token_id)
            record = JoinTokenRecord(
                id=token_id,
                created_by=caller.email,
                created_at=tx.now,
                expires_at=tx.now + lifetime,
                labels=labels,
            )
            tokens.insert(tx, record, issued.secret_sha256)
            change.remember(tx, token_id)
            _audit(tx, caller, "join_token.created", token_id, f"valid until {record.expires_at:%Y-%m-%d %H:%M UTC}")
            return record

        record = await self._store.write(make)
        return node_pb2.CreateJoinTokenResponse(
            join_token=convert.join_token(record), secret=issued.text, server=self._join.server
        )

    @override
    async def ListJoinTokens(
        self, request: node_pb2.ListJoinTokensRequest, context: object
    ) -> node_pb2.ListJoinTokensResponse:
        paging = Paging(request)
        page = await self._store.read(lambda tx: tokens.page(tx, paging.wanted))
        return node_pb2.ListJoinTokensResponse(
            join_tokens=[convert.join_token(record) for record in page.items],
            next_page_token=paging.next(page.next_token),
        )

    @override
    async def RevokeJoinToken(
        self, request: node_pb2.RevokeJoinTokenRequest, context: object
    ) -> node_pb2.RevokeJoinTokenResponse:
        fields = Fields()
        token_id = fields.id("join_token_id", TOKEN, request.join_token_id)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation("RevokeJoinToken", request, request.request_id)
        caller = person()

        def revoke(tx: Tx) -> JoinTokenRecord:
            if change.remembered(tx) is None:
                if _token(tx, token_id).revoked_at is None:
                    _audit(tx, caller, "join_token.revoked", token_id, "")
                tokens.revoke(tx, token_id)
                change.remember(tx, token_id)
            return _token(tx, token_id)

        record = await self._store.write(revoke)
        return node_pb2.RevokeJoinTokenResponse(join_token=convert.join_token(record))

    async def _change(
        self,
        method: str,
        request: node_pb2.CordonNodeRequest | node_pb2.UncordonNodeRequest | node_pb2.RevokeNodeRequest,
        effect: _NodeEffect,
    ) -> node_pb2.Node:
        fields = Fields()
        reference = validate.node_reference(fields, "node_id", request.node_id)
        reason = fields.reason(request.reason)
        fields.request_id(request.request_id)
        fields.check()
        change = mutation(method, request, request.request_id)
        caller = person()

        def proposal(tx: Tx) -> Proposal:
            node_id = nodes.resolve(tx, reference).id
            text = f"by {caller.email}" + (f": {reason}" if reason else "")
            return Proposal(
                id=change.id(ACTION),
                effect=effect(node_id=node_id, reason=text),
                proposer=caller.email,
                reasoning=reason,
                is_person=True,
                user_id=caller.user_id,
                node_id=node_id,
            )

        action = await propose(self._store, self._governor, change, proposal)
        return await self._as_it_is(action.node_id or reference)

    async def _as_it_is(self, reference: str) -> node_pb2.Node:
        whole = await self._store.read(lambda tx: _whole(tx, nodes.resolve(tx, reference)))
        return convert.node(whole.node, whole.holds)


def _reference(text: str) -> str:
    fields = Fields()
    reference = validate.node_reference(fields, "node_id", text)
    fields.check()
    return reference


def _whole(tx: Tx, node: Node) -> _Whole:
    return _Whole(node, allocations.holds(tx, node_id=node.id))


def _token(tx: Tx, token_id: TokenId) -> JoinTokenRecord:
    found = tokens.get(tx, token_id)
    if found is None:
        raise NotFound(
            f"there is no join token {token_id}; list them with: orquanta node token list", reason="TOKEN_NOT_FOUND"
        )
    return found[0]


def _audit(tx: Tx, caller: Principal, action: str, token_id: TokenId, reasoning: str) -> None:
    audit.append(
        tx,
        agent_name=caller.email,
        action=action,
        reasoning=reasoning,
        outcome="done",
        payload={"join_token_id": token_id},
        user_id=caller.user_id,
    )


def _watched(only: NodeId | None) -> Watched[NodeId, _Whole]:
    def concerns(event: Event) -> NodeId | None:
        if event.noun is not Noun.NODE or (only is not None and event.id != only):
            return None
        return NodeId(event.id)

    def current(tx: Tx) -> Sequence[_Whole]:
        if only is not None:
            return (_whole(tx, nodes.resolve(tx, only)),)
        holds = allocations.holds(tx)
        return [_Whole(node, holds) for node in nodes.active(tx)]

    def load(tx: Tx, node_ids: Iterable[NodeId]) -> Mapping[NodeId, _Whole]:
        found = ((wanted, nodes.get(tx, wanted)) for wanted in node_ids)
        return {wanted: _whole(tx, node) for wanted, node in found if node is not None}

    def ended(tx: Tx) -> bool:
        return only is not None and nodes.resolve(tx, only).state is NodeState.REVOKED

    return Watched(scope=("nodes", only or ""), concerns=concerns, current=current, load=load, ended=ended)
