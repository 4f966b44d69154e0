"""ToolService: what agents of people's own, and other agents over MCP, may do with the fleet, under the same gate.

A call is judged as an agent's, never as the person's whose credential it carries.
"""

from typing import Final

from typing_extensions import override

from control_plane.model.tool import ToolCall, ToolContext
from control_plane.services.caller import person
from control_plane.services.convert import tools as convert
from control_plane.services.mutations import Mutation, mutation
from control_plane.services.tool_taint import TaintBook
from control_plane.services.validate.fields import REASON_CHARACTERS_MAX, Fields
from control_plane.store.database import Store, Tx
from control_plane.tools.toolbox import Toolbox
from orquanta.v1 import tool_pb2
from orquanta.v1.tool_pb2_grpc import ToolServiceServicer

_NAME_MAX: Final = 200
_ARGUMENTS_MAX: Final = 64 * 1024


class Tools(ToolServiceServicer):
    """Serves tools."""

    def __init__(self, *, store: Store, toolbox: Toolbox, taint: TaintBook) -> None:
        self._store = store
        self._toolbox = toolbox
        self._taint = taint

    @override
    async def ListTools(self, request: tool_pb2.ListToolsRequest, context: object) -> tool_pb2.ListToolsResponse:
        return tool_pb2.ListToolsResponse(tools=[convert.tool(spec) for spec in self._toolbox.specs(person().role)])

    @override
    async def CallTool(self, request: tool_pb2.CallToolRequest, context: object) -> tool_pb2.CallToolResponse:
        fields = Fields()
        name = fields.text("name", request.name, least=1, most=_NAME_MAX)
        arguments_json = fields.text("arguments_json", request.arguments_json, most=_ARGUMENTS_MAX)
        reasoning = fields.text("reasoning", request.reasoning, most=REASON_CHARACTERS_MAX)
        fields.request_id(request.request_id)
        fields.check()
        caller = person()
        change = mutation("CallTool", request, request.request_id)
        changes = self._toolbox.changes(name)
        if changes and not request.dry_run:
            await self._remember(change)
        called = ToolContext(
            principal=caller,
            caller=f"mcp:{caller.email}",
            step_key=f"{caller.user_id}/{change.request_id}",
            reasoning=reasoning,
            tainted=changes and await self._taint.is_tainted(caller),
            dry_run=request.dry_run,
        )
        result = await self._toolbox.call(ToolCall(name, arguments_json), called)
        if result.untrusted:
            await self._taint.read(caller)
        return convert.result(result)

    async def _remember(self, change: Mutation) -> None:
        """Bind the request id to what is asked for. Raises AlreadyExists if it was used for something else."""

        def remember(tx: Tx) -> None:
            if change.remembered(tx) is None:
                change.remember(tx, change.method)

        await self._store.write(remember)
