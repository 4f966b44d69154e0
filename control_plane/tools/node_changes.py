"""Tools that take hosts out of service, repair them and put them back: each a proposal to the governor."""

from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import Field

from control_plane.errors import PreconditionFailed
from control_plane.fleet.repair_wish import RepairPlan, RepairWish, plan
from control_plane.model.action import (
    CordonNode,
    DrainNode,
    Effect,
    QuarantineNode,
    ReleaseNode,
    RepairNode,
    UncordonNode,
)
from control_plane.model.ids import NodeId
from control_plane.model.node import Node
from control_plane.model.repair import Rung
from control_plane.model.tool import ToolEffect
from control_plane.store import conditions, nodes
from control_plane.store.database import Tx
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Ask, Wish, WriteTool
from control_plane.tools.references import NodeReference

RungName = Literal["stop_process", "move_job", "reset_gpu", "restart_service", "reload_driver", "reboot_host", "verify"]

_GPUS_MAX: Final = 64


class ChangeNode(Input):
    """Which node, and why."""

    node: NodeReference
    reason: Annotated[str, Field(max_length=500, description="Why, for the audit")] = ""


class RepairNodeInput(ChangeNode):
    """Which repair: without a rung, the one that fits what is wrong."""

    rung: Annotated[RungName | None, Field(description="The repair; left out: the one that fits")] = None
    gpus: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...],
        Field(max_length=_GPUS_MAX, description="Indices or UUIDs; none: what the conditions are about"),
    ] = ()
    service: Annotated[str | None, Field(max_length=100, description="For restart_service")] = None


def _why(ask: Ask, reason: str) -> str:
    return f"by {ask.caller} for {ask.principal.email}" + (f": {reason}" if reason else "")


def _simple(effect: Callable[[NodeId, str], Effect]) -> Callable[[Tx, Ask, ChangeNode], Wish]:
    """Return the wish for an effect that needs a node and a reason alone."""

    def wish(tx: Tx, ask: Ask, wanted: ChangeNode) -> Wish:
        node = nodes.resolve(tx, wanted.node)
        return Wish(effect(node.id, _why(ask, wanted.reason)), target=node.id, node_id=node.id)

    return wish


def _repair(tx: Tx, ask: Ask, wanted: RepairNodeInput) -> Wish:
    node = nodes.resolve(tx, wanted.node)
    rung = Rung[wanted.rung.upper()] if wanted.rung else None
    meant = plan(RepairWish(rung, wanted.gpus, wanted.service or ""), node, conditions.of_node(tx, node.id))
    return _repair_wish(tx, ask, node, meant, wanted)


def _verify(tx: Tx, ask: Ask, wanted: ChangeNode) -> Wish:
    node = nodes.resolve(tx, wanted.node)
    meant = plan(RepairWish(Rung.VERIFY), node, conditions.of_node(tx, node.id))
    return Wish(_effect(node, meant, _why(ask, wanted.reason)), target=node.id, node_id=node.id)


def _repair_wish(tx: Tx, ask: Ask, node: Node, meant: RepairPlan, wanted: RepairNodeInput) -> Wish:
    """A plan that left the repair open has named the one that fits, on what it fits, and no other."""
    named = "/".join(filter(None, (node.id, meant.rung.name.lower(), wanted.service, ",".join(meant.gpu_uuids))))
    effect = _effect(node, meant, _why(ask, wanted.reason))
    if wanted.rung is None and not wanted.gpus and not wanted.service:
        return Wish(effect, target=node.id, also=(named,), node_id=node.id)
    also = (node.id,) if _fitting(tx, node) == meant else ()
    return Wish(effect, target=named, also=also, node_id=node.id)


def _fitting(tx: Tx, node: Node) -> RepairPlan | None:
    """Return the repair that fits what is wrong with the node; None if none does."""
    try:
        return plan(RepairWish(None), node, conditions.of_node(tx, node.id))
    except PreconditionFailed:
        return None


def _effect(node: Node, meant: RepairPlan, why: str) -> RepairNode:
    return RepairNode(
        node_id=node.id,
        rung=meant.rung,
        reason=why,
        gpu_uuids=meant.gpu_uuids,
        service=meant.service,
        process_ids=meant.process_ids,
        condition_ids=meant.condition_ids,
    )


CORDON_NODE = WriteTool(
    name="cordon_node",
    description="Keeps new jobs off a host; those on it go on.",
    arguments=ChangeNode,
    effect=ToolEffect.WRITE,
    wish=_simple(CordonNode),
    undo_tool="uncordon_node",
)
UNCORDON_NODE = WriteTool(
    name="uncordon_node",
    description="Lets jobs onto a cordoned host again.",
    arguments=ChangeNode,
    effect=ToolEffect.WRITE,
    wish=_simple(UncordonNode),
    undo_tool="cordon_node",
)
DRAIN_NODE = WriteTool(
    name="drain_node",
    description="Takes a host out of service and moves its jobs away; it stays out until it is released.",
    arguments=ChangeNode,
    effect=ToolEffect.DESTRUCTIVE,
    wish=_simple(DrainNode),
    undo_tool="release_node",
)
REPAIR_NODE = WriteTool(
    name="repair_node",
    description="Takes a host out of service, moves jobs that are in the way and repairs it: the rung that fits, or a "
    "named one, gentlest first. It is verified before it serves again.",
    arguments=RepairNodeInput,
    effect=ToolEffect.DESTRUCTIVE,
    wish=_repair,
)
VERIFY_NODE = WriteTool(
    name="verify_node",
    description="Takes a host out of service, tests its GPUs, and puts it back if they pass.",
    arguments=ChangeNode,
    effect=ToolEffect.WRITE,
    wish=_verify,
)
QUARANTINE_NODE = WriteTool(
    name="quarantine_node",
    description="Takes a host out of service until a person releases it; its jobs are moved away.",
    arguments=ChangeNode,
    effect=ToolEffect.DESTRUCTIVE,
    wish=_simple(QuarantineNode),
    undo_tool="release_node",
)
RELEASE_NODE = WriteTool(
    name="release_node",
    description="Puts a host back into service that was drained, repaired or quarantined.",
    arguments=ChangeNode,
    effect=ToolEffect.WRITE,
    wish=_simple(ReleaseNode),
    undo_tool="drain_node",
)
