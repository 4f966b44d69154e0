"""`orquanta cost`: what is asked of the tool, and what its answers become."""

import json

import pytest

from orquanta.v1 import tool_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer

TOLD = {
    "by": "team",
    "team": "research",
    "since": "2026-10-01T00:00:00Z",
    "until": "2026-11-01T00:00:00Z",
    "total_usd": "11.97",
    "reserved_usd": "4",
    "people": ["ada@example.com"],
    "lines": [
        {"key": "research/nlp", "cost_usd": "7.98", "attempts": 2, "gpu_hours": 2.0},
        {"key": "", "cost_usd": "3.99", "attempts": 1, "gpu_hours": 1.0},
    ],
}
OK = tool_pb2.CallToolResponse(status=tool_pb2.TOOL_STATUS_OK, result_json=json.dumps(TOLD))


async def test_what_a_team_spent_is_asked_for_a_period_and_told_with_its_sum(
    server: ScriptedServer, cli: RunCli
) -> None:
    server.answer("ToolService/CallTool", OK)
    period = ("--since", "2026-10-01", "--until", "2026-11-01T00:00:00+01:00")
    result = await cli("cost", "--team", "research", "--by", "team", *period)
    (request,) = server.requests("ToolService/CallTool", tool_pb2.CallToolRequest)
    assert request.name == "costs"
    assert json.loads(request.arguments_json) == {
        "by": "team",
        "team": "research",
        "limit": 50,
        "since": "2026-10-01T00:00:00+00:00",
        "until": "2026-11-01T00:00:00+01:00",
    }
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["TEAM", "COST"], ["research/nlp", "$7.98"], ["-", "$3.99"]]
    assert "total     $11.97" in lines


async def test_costs_are_one_json_document(server: ScriptedServer, cli: RunCli) -> None:
    server.answer("ToolService/CallTool", OK)
    document = (await cli("cost", "--json")).document()
    assert (document["total_usd"], document["lines"][0]["key"]) == ("11.97", "research/nlp")


@pytest.mark.parametrize(
    ("code", "exit_code"), [("TEAM_NOT_FOUND", 3), ("TEAM_AMBIGUOUS", 2), ("ARGUMENTS_INVALID", 2), ("INTERNAL", 1)]
)
async def test_what_the_tool_refuses_is_an_error_of_its_kind(
    server: ScriptedServer, cli: RunCli, code: str, exit_code: int
) -> None:
    refusal = tool_pb2.CallToolResponse(
        status=tool_pb2.TOOL_STATUS_ERROR, error_code=code, error="there is no team speech; there are research"
    )
    server.answer("ToolService/CallTool", refusal)
    result = await cli("cost", "--team", "speech", "--json")
    assert (result.code, result.error()["reason"]) == (exit_code, code)
    assert "there are research" in result.error()["message"]


@pytest.mark.parametrize("since", ["yesterday", "7", "-3d", "999999999999d", "2026-13-01"])
async def test_a_time_that_is_none_is_wrong_usage(cli: RunCli, since: str) -> None:
    result = await cli("cost", f"--since={since}")
    assert (result.code, f"'{since}' is neither a day" in result.stderr) == (2, True)
