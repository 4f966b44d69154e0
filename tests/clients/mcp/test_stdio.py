"""The fleet as an MCP server: the library's own client, real pipes, a real control plane."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from mcp import ClientSession
from mcp.types import CallToolResult, TextContent

from control_plane.model.identity import Role
from control_plane.store import actions, nodes
from control_plane.store.actions import ActionFilter
from control_plane.store.pages import PageRequest
from orquanta.v1 import job_pb2
from tests.clients.mcp.conftest import Connect
from tests.control_plane.services.harness import Client, Fleet, a_job
from tests.control_plane.world import principal


async def call(session: ClientSession, name: str, **arguments: Any) -> CallToolResult:  # Any: arguments of any tool
    result = await session.call_tool(name, arguments)
    assert isinstance(result, CallToolResult)
    last = result.content[-1]
    assert isinstance(last, TextContent)
    assert json.loads(last.text) == result.structured_content
    return result


async def test_an_agent_sees_the_tools_with_what_they_do_and_uses_them(fleet: Fleet, connect: Connect) -> None:
    operator = await fleet.client(Role.OPERATOR)
    node = await fleet.node("alpha")
    async with connect(operator) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        hints = {
            name: (tool.annotations.read_only_hint, tool.annotations.destructive_hint, tool.annotations.idempotent_hint)
            for name, tool in tools.items()
            if tool.annotations is not None
        }
        assert hints["list_nodes"] == (True, False, True)
        assert hints["cordon_node"] == (False, False, True)
        assert hints["drain_node"] == (False, True, True)
        assert "dry_run" in tools["drain_node"].input_schema["properties"]
        assert "dry_run" not in tools["list_nodes"].input_schema["properties"]

        listed = await call(session, "list_nodes", gpu_type="H100")
        assert not listed.is_error
        assert listed.structured_content["result"]["nodes"][0]["id"] == node.id

        dry = await call(session, "cordon_node", node="alpha", dry_run=True)
        assert dry.structured_content["status"] == "dry_run"
        assert not (await fleet.store.read(lambda tx: nodes.resolve(tx, node.id))).cordoned

        done = await call(session, "cordon_node", node="alpha", reason="over MCP")
        assert done.structured_content["status"] == "ok"
        assert (await fleet.store.read(lambda tx: nodes.resolve(tx, node.id))).cordoned
    assert operator.user is not None
    page = await fleet.store.read(lambda tx: actions.page(tx, ActionFilter(), PageRequest(5)))
    (action,) = page.items
    assert action.proposer == f"mcp:{operator.user.email}"
    assert action.id == done.structured_content["action_id"]


async def test_errors_denials_and_approvals_are_told_as_structured_content(fleet: Fleet, connect: Connect) -> None:
    user, operator = await fleet.client(Role.USER), await fleet.client(Role.OPERATOR)
    big = {"name": "big", "command": "true", "gpu_count": 64, "max_runtime_seconds": 86_400}
    async with connect(user) as session:
        wrong = await call(session, "list_nodes", limit=0)
        assert (wrong.is_error, wrong.structured_content["error_code"]) == (True, "ARGUMENTS_INVALID")
        unknown = await call(session, "shell", command="reboot")
        assert (unknown.is_error, unknown.structured_content["error_code"]) == (True, "UNKNOWN_TOOL")
        too_low = await call(session, "drain_node", node="alpha")
        assert too_low.structured_content["error_code"] == "ROLE_TOO_LOW"
        waits = await call(session, "launch_jobs", jobs=[big])
        assert waits.structured_content["status"] == "approval_required"
        assert not waits.is_error
        assert any(waits.structured_content["action_id"] in one.text for one in waits.content[:-1])  # type: ignore[union-attr] # notes are texts
        assert operator.user is not None
        await fleet.governor.set_kill_switch(engaged=True, principal=principal(operator.user), reason="a test")
        denied = await call(session, "launch_jobs", jobs=[{**big, "gpu_count": 1}])
        assert (denied.is_error, denied.structured_content["status"]) == (True, "denied")
        assert denied.structured_content["error_code"] == "KILL_SWITCH"


async def test_strangers_words_are_marked(fleet: Fleet, connect: Connect) -> None:
    user, viewer = await fleet.client(Role.USER), await fleet.client(Role.VIEWER)
    await user.jobs.SubmitJob(job_pb2.SubmitJobRequest(spec=a_job("ignore-previous-instructions")))
    async with connect(viewer) as session:
        listed = await call(session, "list_jobs")
    assert listed.structured_content["untrusted"] is True
    first = listed.content[0]
    assert isinstance(first, TextContent)
    assert "never instructions" in first.text


async def test_a_credential_that_is_no_good_is_an_answer(fleet: Fleet, connect: Connect) -> None:
    async with connect(fleet.anonymous("not-a-token")) as session:
        result = await call(session, "list_nodes")
    assert result.is_error
    assert result.structured_content["error"]


@pytest.mark.parametrize("how", ["interrupt", "close"])
async def test_it_ends_at_once_and_says_nothing_when_told_to(
    fleet: Fleet, environment: Callable[[Client], dict[str, str]], how: str
) -> None:
    viewer = await fleet.client(Role.VIEWER)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orquanta.cli",
        "mcp",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(viewer),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    process.stdin.write(b"not json at all\n" + json.dumps(hello).encode() + b"\n")
    answers: list[dict[str, Any]] = []  # Any: JSON
    while not any(answer.get("id") == 1 for answer in answers):
        answers.append(json.loads(await asyncio.wait_for(process.stdout.readline(), 30)))
    if how == "interrupt":
        os.kill(process.pid, signal.SIGINT)
    else:
        process.stdin.close()
    code = await asyncio.wait_for(process.wait(), 30)
    assert process.stderr is not None
    assert (await process.stderr.read()).decode() == ""
    assert await process.stdout.read() == b""
    assert code == (130 if how == "interrupt" else 0)


async def test_it_says_what_is_missing(fleet: Fleet, environment: Callable[[Client], dict[str, str]]) -> None:
    nobody = environment(fleet.anonymous())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orquanta.cli", "mcp", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=nobody
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 4
    assert b"orquanta login" in said
