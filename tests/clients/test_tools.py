"""Tools through the SDK, asynchronous and blocking."""

import asyncio

from orquanta import AsyncClient, Client
from orquanta.types import ToolEffect, ToolStatus
from orquanta.v1 import tool_pb2
from tests.clients.conftest import Certificates
from tests.clients.scripted import ScriptedServer

LIST = tool_pb2.Tool(
    name="list_nodes", input_schema_json='{"type": "object"}', effect=tool_pb2.TOOL_EFFECT_READ, idempotent=True
)


async def test_tools_come_with_their_schemas_and_results_with_their_status(
    server: ScriptedServer, certificates: Certificates
) -> None:
    server.answer("ToolService/ListTools", tool_pb2.ListToolsResponse(tools=[LIST]))
    server.answer(
        "ToolService/CallTool",
        tool_pb2.CallToolResponse(status=tool_pb2.TOOL_STATUS_APPROVAL_REQUIRED, action_id="act-1", result_json="[]"),
    )
    async with AsyncClient(server.address, api_key="k-secret", ca_certificate=certificates.ca) as client:
        (tool,) = await client.tools.list()
        result = await client.tools.call("drain_node", {"node": "alpha"}, reasoning="hot")
    assert (tool.effect, tool.input_schema, tool.idempotent) == (ToolEffect.READ, {"type": "object"}, True)
    assert (result.status, result.action_id, result.data) == (ToolStatus.APPROVAL_REQUIRED, "act-1", {})
    assert result.status.is_failure
    (sent,) = server.requests("ToolService/CallTool", tool_pb2.CallToolRequest)
    assert (sent.arguments_json, sent.reasoning) == ('{"node": "alpha"}', "hot")


async def test_the_blocking_client_has_them_too(server: ScriptedServer, certificates: Certificates) -> None:
    server.answer("ToolService/ListTools", tool_pb2.ListToolsResponse(tools=[LIST]))

    def names() -> list[str]:
        with Client(server.address, api_key="k-secret", ca_certificate=certificates.ca) as client:
            return [tool.name for tool in client.tools.list()]

    assert await asyncio.to_thread(names) == ["list_nodes"]
