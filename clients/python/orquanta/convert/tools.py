"""Tools and their results from the wire."""

import json

from orquanta.convert.scalars import read_enum
from orquanta.types.tools import Json, Tool, ToolEffect, ToolResult, ToolStatus
from orquanta.v1 import tool_pb2 as pb


def read_tool(message: pb.Tool) -> Tool:
    """A tool."""
    return Tool(
        name=message.name,
        version=message.version,
        description=message.description,
        input_schema=_read_json(message.input_schema_json),
        output_schema=_read_json(message.output_schema_json),
        effect=read_enum(ToolEffect, pb.ToolEffect, message.effect),
        idempotent=message.idempotent,
        undo_tool=message.undo_tool,
        role=message.role,
        untrusted_result=message.untrusted_result,
        origin=message.origin,
        costs_money=message.costs_money,
    )


def read_tool_result(message: pb.CallToolResponse) -> ToolResult:
    """How a call went."""
    return ToolResult(
        status=read_enum(ToolStatus, pb.ToolStatus, message.status),
        data=_read_json(message.result_json),
        error_code=message.error_code,
        error=message.error,
        action_id=message.action_id,
        evidence_id=message.evidence_id,
        truncated=message.truncated,
        untrusted=message.untrusted,
    )


def _read_json(text: str) -> Json:
    loaded = json.loads(text) if text else {}
    return loaded if isinstance(loaded, dict) else {}
