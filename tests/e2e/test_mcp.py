"""Another agent uses a real fleet over MCP: the real client, real pipes, the real control plane and a real host."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult

from orquanta.types.jobs import JobState
from tests.e2e.conftest import Site, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


async def call(session: ClientSession, name: str, **arguments: Any) -> dict[str, Any]:  # Any: JSON
    result = await session.call_tool(name, arguments)
    assert isinstance(result, CallToolResult)
    told: dict[str, Any] = result.structured_content  # Any: JSON
    return told


async def test_an_agent_launches_a_job_reads_what_it_wrote_and_is_held_from_then_on(site: Site, tmp_path: Path) -> None:
    key = await site.admin.auth.create_api_key("agent over MCP")
    program = StdioServerParameters(
        command=str(Path(sys.executable).with_name("orquanta")),
        args=["mcp"],
        env={
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "ORQUANTA_SERVER": site.fleet.server,
            "ORQUANTA_CA": str(site.fleet.ca_file),
            "ORQUANTA_TOKEN": key.secret,
        },
    )
    async with stdio_client(program) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        names = {tool.name for tool in (await session.list_tools()).tools}
        assert names >= {"fleet_summary", "launch_jobs", "job_logs", "diagnose_job", "drain_node"}
        fleet = await call(session, "fleet_summary", gpu_type="H100")
        assert fleet["result"]["gpus_idle"] >= 1
        job = {"name": "over-mcp", "command": "echo from another agent", "gpu_count": 1, "max_runtime_seconds": 60}
        launched = await call(session, "launch_jobs", jobs=[job])
        assert launched["status"] == "ok", launched
        (job_id,) = launched["result"]["job_ids"]
        assert (await reaches(site.admin, job_id, JobState.SUCCEEDED)).user_email
        while (log := await call(session, "job_logs", job=job_id))["result"]["more_may_come"]:  # noqa: ASYNC110 - on its way
            await asyncio.sleep(0.05)
        assert [line["text"] for line in log["result"]["lines"]] == ["from another agent"]
        assert log["untrusted"] is True
        # It has read words that a stranger could have written: what it asks for now needs a person.
        held = await call(session, "launch_jobs", jobs=[job])
        assert held["status"] == "approval_required", held
        action = await site.admin.actions.get(held["action_id"])
        assert action.proposer.startswith("mcp:")
    # Nobody approves their own request, and their agent's is theirs.
    await site.admin.actions.reject(action.id, reason="only a test")
    await site.admin.auth.revoke_api_key(key.api_key.id)
