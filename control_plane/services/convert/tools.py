"""Tools and their results on the wire."""

import json
from typing import Final

from control_plane.model.tool import ToolEffect, ToolResult, ToolSpec, ToolStatus
from control_plane.services.convert.scalars import wire_enum
from orquanta.v1 import tool_pb2

TOOL_EFFECT: Final = wire_enum(ToolEffect, tool_pb2.ToolEffect.Value, "TOOL_EFFECT")
TOOL_STATUS: Final = wire_enum(ToolStatus, tool_pb2.ToolStatus.Value, "TOOL_STATUS")


def tool(spec: ToolSpec) -> tool_pb2.Tool:
    """Return a tool."""
    return tool_pb2.Tool(
        name=spec.name,
        version=spec.version,
        description=spec.description,
        input_schema_json=_json(spec.input_schema),
        output_schema_json=_json(spec.output_schema),
        effect=TOOL_EFFECT[spec.effect],
        idempotent=spec.idempotent,
        undo_tool=spec.undo_tool,
        role=spec.role.value,
        untrusted_result=spec.untrusted_result,
        origin=spec.origin,
        costs_money=spec.costs_money,
    )


def result(value: ToolResult) -> tool_pb2.CallToolResponse:
    """Return how a call went."""
    return tool_pb2.CallToolResponse(
        status=TOOL_STATUS[value.status],
        result_json=_json(value.data),
        error_code=value.error_code,
        error=value.error,
        action_id=value.action_id or "",
        evidence_id=value.evidence_id,
        truncated=value.truncated,
        untrusted=value.untrusted,
    )


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
