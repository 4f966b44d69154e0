"""Tools: what agents may do with the fleet, under the same gate as everything else."""

import builtins
import json

from orquanta.convert.tools import read_tool, read_tool_result
from orquanta.transport import Transport, request_id_or_new
from orquanta.types.tools import Json, Tool, ToolResult
from orquanta.v1 import tool_pb2 as pb
from orquanta.v1.tool_pb2_grpc import ToolServiceStub

_CALL_SECONDS = 60.0  # a tool from another server may take its time


class AsyncTools:
    """See which tools there are, and call them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = ToolServiceStub(transport.channel)

    async def list(self) -> builtins.list[Tool]:
        """The tools that you may use, by name."""
        response = await self._transport.call(self._stub.ListTools, pb.ListToolsRequest())
        return [read_tool(tool) for tool in response.tools]

    async def call(
        self,
        name: str,
        arguments: Json | None = None,
        *,
        dry_run: bool = False,
        reasoning: str = "",
        request_id: str | None = None,
    ) -> ToolResult:
        """Call a tool; wrong arguments, denials and needed approvals are results, not errors.

        A tool that changes something proposes an action, judged as an agent's. With `dry_run` it is only judged.
        Raises AlreadyExists when `request_id` was used for another call.
        """
        response = await self._transport.call(
            self._stub.CallTool,
            pb.CallToolRequest(
                name=name,
                arguments_json=json.dumps(dict(arguments or {})),
                dry_run=dry_run,
                reasoning=reasoning,
                request_id=request_id_or_new(request_id),
            ),
            timeout_seconds=_CALL_SECONDS,
        )
        return read_tool_result(response)
