"""Nodes: GPU hosts that run the daemon, and the tokens with which they join."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import timedelta

from orquanta.convert.nodes import (
    read_drain,
    read_join_token,
    read_new_join_token,
    read_node,
    read_ordered_repair,
    read_ordered_test,
)
from orquanta.convert.scalars import write_duration, write_enum
from orquanta.transport import Transport, paged, request_id_or_new
from orquanta.types.nodes import Drain, JoinToken, NewJoinToken, Node, NodeState, OrderedRepair
from orquanta.types.repairs import RepairRung
from orquanta.v1 import node_pb2 as pb
from orquanta.v1 import repair_pb2
from orquanta.v1.node_pb2_grpc import NodeServiceStub


class AsyncNodes:
    """Look at nodes, repair them, take them out of service, let hosts join."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = NodeServiceStub(transport.channel)

    async def get(self, node_id: str) -> Node:
        """One node by id or name. Raises NotFound."""
        response = await self._transport.call(self._stub.GetNode, pb.GetNodeRequest(node_id=node_id))
        return read_node(response.node)

    def list(
        self, *, states: Iterable[NodeState] = (), gpu_type: str = "", page_size: int = 0
    ) -> AsyncGenerator[Node, None]:
        """Nodes by name, all but revoked ones if no states are given; pages are fetched as needed."""
        wanted = [write_enum(pb.NodeState, state) for state in states]

        async def fetch(token: str) -> tuple[Sequence[Node], str]:
            response = await self._transport.call(
                self._stub.ListNodes,
                pb.ListNodesRequest(page_size=page_size, page_token=token, states=wanted, gpu_type=gpu_type),
            )
            return [read_node(node) for node in response.nodes], response.next_page_token

        return paged(fetch)

    def watch(self, *, node_id: str = "") -> AsyncGenerator[Node, None]:
        """Every node (or the given one) as it is now, then after each change; never ends by itself."""
        return self._transport.watch(
            self._stub.WatchNodes,
            lambda token: pb.WatchNodesRequest(node_id=node_id, resume_token=token),
            lambda event: read_node(event.node),
            until=lambda _node: False,
        )

    async def cordon(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> Node:
        """Take a node out of scheduling; what runs there goes on."""
        response = await self._transport.call(
            self._stub.CordonNode,
            pb.CordonNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_node(response.node)

    async def uncordon(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> Node:
        """Put a node back into scheduling."""
        response = await self._transport.call(
            self._stub.UncordonNode,
            pb.UncordonNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_node(response.node)

    async def drain(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> Drain:
        """Take a node out of scheduling and move its jobs away, after a checkpoint if they can make one."""
        response = await self._transport.call(
            self._stub.DrainNode,
            pb.DrainNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_drain(response)

    async def repair(
        self,
        node_id: str,
        rung: RepairRung | None = None,
        *,
        gpus: Iterable[str] = (),
        service: str = "",
        dry_run: bool = False,
        reason: str = "",
        request_id: str | None = None,
    ) -> OrderedRepair:
        """Have a repair carried out, or with `dry_run` have the host tell what it would do.

        Without a rung it is the one that the node's conditions ask for. `gpus` are UUIDs or indices, all of the host
        if there are none; `service` is for `RepairRung.RESTART_SERVICE`. Progress is in `Node.repair`: see `watch`.
        Raises PreconditionFailed or ResourceExhausted if the governor does not allow it.
        """
        response = await self._transport.call(
            self._stub.RepairNode,
            pb.RepairNodeRequest(
                node_id=node_id,
                rung=repair_pb2.REPAIR_RUNG_UNSPECIFIED if rung is None else write_enum(repair_pb2.RepairRung, rung),
                gpus=gpus,
                service=service,
                dry_run=dry_run,
                reason=reason,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_ordered_repair(response)

    async def verify(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> OrderedRepair:
        """Test a node under load, without a repair; what it found is in `Node.repair`."""
        response = await self._transport.call(
            self._stub.VerifyNode,
            pb.VerifyNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_ordered_test(response)

    async def quarantine(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> Node:
        """Take a node out of service until it is released, with a hand-off report."""
        response = await self._transport.call(
            self._stub.QuarantineNode,
            pb.QuarantineNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_node(response.node)

    async def release(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> Node:
        """Put a quarantined or drained node back into service."""
        response = await self._transport.call(
            self._stub.ReleaseNode,
            pb.ReleaseNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_node(response.node)

    async def acknowledge_condition(
        self, node_id: str, condition_id: str, *, reason: str = "", request_id: str | None = None
    ) -> Node:
        """Say that a condition is known: it proposes no repair any more."""
        return await self._update_condition(node_id, condition_id, clear=False, reason=reason, request_id=request_id)

    async def clear_condition(
        self, node_id: str, condition_id: str, *, reason: str = "", request_id: str | None = None
    ) -> Node:
        """End a condition; it comes back if the trouble does."""
        return await self._update_condition(node_id, condition_id, clear=True, reason=reason, request_id=request_id)

    async def _update_condition(
        self, node_id: str, condition_id: str, *, clear: bool, reason: str, request_id: str | None
    ) -> Node:
        response = await self._transport.call(
            self._stub.UpdateCondition,
            pb.UpdateConditionRequest(
                node_id=node_id,
                condition_id=condition_id,
                clear=clear,
                reason=reason,
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_node(response.node)

    async def revoke(self, node_id: str, *, reason: str = "", request_id: str | None = None) -> Node:
        """Revoke a node's credentials and take it out of the fleet for good."""
        response = await self._transport.call(
            self._stub.RevokeNode,
            pb.RevokeNodeRequest(node_id=node_id, reason=reason, request_id=request_id_or_new(request_id)),
        )
        return read_node(response.node)

    async def create_join_token(
        self,
        *,
        lifetime: timedelta | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> NewJoinToken:
        """Make a one-time token with which a host joins: for one hour if unset, 7 days at most."""
        response = await self._transport.call(
            self._stub.CreateJoinToken,
            pb.CreateJoinTokenRequest(
                lifetime=None if lifetime is None else write_duration(lifetime),
                labels=labels or {},
                request_id=request_id_or_new(request_id),
            ),
        )
        return read_new_join_token(response)

    def list_join_tokens(self, *, page_size: int = 0) -> AsyncGenerator[JoinToken, None]:
        """Join tokens without their secrets, newest first."""

        async def fetch(token: str) -> tuple[Sequence[JoinToken], str]:
            response = await self._transport.call(
                self._stub.ListJoinTokens, pb.ListJoinTokensRequest(page_size=page_size, page_token=token)
            )
            return [read_join_token(entry) for entry in response.join_tokens], response.next_page_token

        return paged(fetch)

    async def revoke_join_token(self, join_token_id: str, *, request_id: str | None = None) -> JoinToken:
        """Make a join token unusable."""
        response = await self._transport.call(
            self._stub.RevokeJoinToken,
            pb.RevokeJoinTokenRequest(join_token_id=join_token_id, request_id=request_id_or_new(request_id)),
        )
        return read_join_token(response.join_token)
