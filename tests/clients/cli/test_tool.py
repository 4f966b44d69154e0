"""`orquanta tool`."""

import json
from pathlib import Path

from orquanta.v1 import tool_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer

DRAIN = tool_pb2.Tool(
    name="drain_node",
    version="1",
    description="Takes a host out of service.",
    input_schema_json=json.dumps(
        {
            "type": "object",
            "properties": {"node": {"type": "string", "description": "Id or name"}, "reason": {"type": "string"}},
            "required": ["node"],
        }
    ),
    effect=tool_pb2.TOOL_EFFECT_DESTRUCTIVE,
    undo_tool="release_node",
    role="operator",
    origin="orquanta",
)


async def test_tools_are_listed_and_shown_with_their_arguments(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("ToolService/ListTools", tool_pb2.ListToolsResponse(tools=[DRAIN]))
    listed = await cli("tool", "list")
    assert "drain_node  destructive  operator  orquanta" in listed.stdout
    assert (await cli("tool", "list", "--json")).document()["tools"][0]["effect"] == "destructive"
    shown = await cli("tool", "show", "drain_node")
    assert "release_node" in shown.stdout
    assert "nothing" in shown.stdout
    assert "Id or name" in shown.stdout
    assert (await cli("tool", "show", "nothing")).code == 2


async def test_a_call_carries_its_arguments_from_wherever_they_are(
    server: ScriptedServer, cli: RunCli, tmp_path: Path
) -> None:
    answer = tool_pb2.CallToolResponse(status=tool_pb2.TOOL_STATUS_OK, result_json='{"nodes": []}', untrusted=True)
    server.answer("ToolService/CallTool", answer)
    file = tmp_path / "arguments.json"
    file.write_text('{"limit": 2}')
    said = await cli("tool", "call", "list_nodes", '{"limit": 1}')
    assert said.code == 0
    assert json.loads(said.stdout) == {"nodes": []}
    assert "strangers" in said.stderr
    await cli("tool", "call", "list_nodes", f"@{file}", "--request-id", "r-1", "--reason", "why", "--dry-run")
    await cli("tool", "call", "list_nodes", "-", stdin='{"limit": 3}')
    await cli("tool", "call", "list_nodes")
    sent = server.requests("ToolService/CallTool", tool_pb2.CallToolRequest)
    assert [json.loads(one.arguments_json) for one in sent] == [{"limit": 1}, {"limit": 2}, {"limit": 3}, {}]
    assert (sent[1].request_id, sent[1].reasoning, sent[1].dry_run) == ("r-1", "why", True)
    assert sent[0].request_id


async def test_the_exit_code_says_how_a_call_went(server: ScriptedServer, cli: RunCli) -> None:
    for status, code in (
        (tool_pb2.TOOL_STATUS_OK, 0),
        (tool_pb2.TOOL_STATUS_NO_DATA, 0),
        (tool_pb2.TOOL_STATUS_DRY_RUN, 0),
        (tool_pb2.TOOL_STATUS_ERROR, 1),
        (tool_pb2.TOOL_STATUS_DENIED, 5),
        (tool_pb2.TOOL_STATUS_APPROVAL_REQUIRED, 5),
    ):
        server.answer(
            "ToolService/CallTool",
            tool_pb2.CallToolResponse(status=status, error_code="CODE", error="" if code == 0 else "words"),
        )
        said = await cli("tool", "call", "stop_job", '{"job": "train"}')
        assert said.code == code
        assert ("(CODE): words" in said.stderr) is (code != 0)


async def test_arguments_that_are_none_are_a_usage_error(server: ScriptedServer, cli: RunCli) -> None:
    for text in ("{", "[1]", "@/nowhere/at/all", '{"a": "' + "x" * 70_000 + '"}'):
        assert (await cli("tool", "call", "list_nodes", text)).code == 2
    assert not server.calls
