"""The tool that tells what is wrong with a node: codes, counts and times, never the host's own sentences."""

from typing import Annotated, Literal

from pydantic import Field

from control_plane.model.health import Condition
from control_plane.model.identity import Principal
from control_plane.model.ids import NodeId
from control_plane.store import conditions, nodes
from control_plane.store.database import Tx
from control_plane.tools.arguments import Input
from control_plane.tools.definition import Found, ReadTool, Sources
from control_plane.tools.output import Moment, Output, Part, Token
from control_plane.tools.references import NodeReference

_HISTORY_MAX = 100
_EVIDENCE_TOLD = 8


class ConditionOut(Part):
    """A condition. `severity` is info, warning or fatal; `code` is the Xid number for kind "XID".

    `repair` is the rung that fits, empty if none is known.
    """

    evidence_id: Token
    id: Token
    kind: Token
    code: int
    severity: Token
    scope: Literal["host", "gpu", "link"]
    gpu_uuid: Token
    count: int
    first_seen_at: Moment
    last_seen_at: Moment
    repair: str
    repair_by: str
    earlier_repairs: int
    acknowledged: bool
    observations: tuple[Token, ...]


class ChangeOut(Part):
    """How a condition changed."""

    evidence_id: Token
    at: Moment
    change: Literal["raised", "changed", "cleared"]
    kind: Token
    code: int
    gpu_uuid: Token


class NodeConditions(Input):
    """Of which node, and how much of the history."""

    node: NodeReference
    history: Annotated[int, Field(ge=0, le=_HISTORY_MAX, description="Past changes to tell, newest first")] = 20


class NodeConditionsOut(Output):
    """What is wrong with a node now, worst first, and how that changed, newest first."""

    node_id: str
    conditions: tuple[ConditionOut, ...]
    history: tuple[ChangeOut, ...]


def condition_out(node_id: NodeId, condition: Condition) -> ConditionOut:
    """Return a condition without the words of its host."""
    return ConditionOut(
        evidence_id=f"condition:{node_id}/{condition.id}",
        id=condition.id,
        kind=condition.kind,
        code=condition.code,
        severity=condition.severity.name.lower(),
        scope=condition.scope.value,
        gpu_uuid=condition.gpu_uuid,
        count=condition.count,
        first_seen_at=condition.first_seen_at,
        last_seen_at=condition.last_seen_at,
        repair=condition.repair.name.lower() if condition.repair is not None else "",
        repair_by=condition.authority.value if condition.authority is not None else "",
        earlier_repairs=condition.earlier_repairs,
        acknowledged=bool(condition.acknowledged_by),
        observations=tuple(piece.id for piece in condition.evidence[:_EVIDENCE_TOLD]),
    )


async def _read(sources: Sources, _principal: Principal, wanted: NodeConditions) -> Found[NodeConditionsOut]:
    def read(tx: Tx) -> NodeConditionsOut:
        node = nodes.resolve(tx, wanted.node)
        changes = conditions.history(tx, node.id, limit=wanted.history) if wanted.history else ()
        return NodeConditionsOut(
            node_id=node.id,
            conditions=tuple(condition_out(node.id, one) for one in conditions.of_node(tx, node.id)),
            history=tuple(
                ChangeOut(
                    evidence_id=f"condition:{node.id}/{one.condition.id}",
                    at=one.occurred_at,
                    change=one.kind.value,
                    kind=one.condition.kind,
                    code=one.condition.code,
                    gpu_uuid=one.condition.gpu_uuid,
                )
                for one in changes
            ),
        )

    output = await sources.store.read(read)
    return Found(output, f"node:{output.node_id}", empty=not output.conditions and not output.history)


NODE_CONDITIONS = ReadTool(
    name="node_conditions",
    description="Tells what is wrong with a host (Xids, ECC, NVLink, disk, thermal, ...), which repair fits, and how "
    "that changed. Empty means that nothing is wrong.",
    arguments=NodeConditions,
    result=NodeConditionsOut,
    read=_read,
    untrusted=False,
)
