"""Simulated hosts against a real control plane: they join, run a gang, break, are repaired, and serve again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orquanta.client import AsyncClient
from orquanta.gameday import fleet as gameday
from orquanta.types.jobs import JobSpec, JobState, ResourceRequest
from orquanta.types.nodes import NodeState
from simulator.faults import Script
from simulator.fleet import Fleet
from simulator.options import read

pytestmark = pytest.mark.e2e

HOSTS = 50
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def simulated(fleet: gameday.Fleet, admin: AsyncClient, *arguments: str) -> AsyncIterator[Fleet]:
    """Run hosts in this process until the block ends."""
    key = fleet.directory / "sim.key"
    key.write_text((await admin.auth.create_api_key("sim")).secret)
    connection = ["--server", fleet.server, "--api-key-file", str(key), "--ca-file", str(fleet.ca_file)]
    hosts = Fleet(read([*connection, "--hosts", str(HOSTS), "--connects-per-second", "500", *arguments]))
    running = asyncio.create_task(hosts.run())
    try:
        yield hosts
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def until(hosts: Fleet, **least: int) -> None:
    """Wait until the simulator's figures have reached these."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(int(hosts.figures()[name]) < value for name, value in least.items()):  # noqa: ASYNC110 - figures
            await asyncio.sleep(0.05)


async def cured(admin: AsyncClient, name: str) -> bool:
    """Return whether what was wrong in the fleet is resolved, and a host is as it was."""
    states = [incident.state.value async for incident in admin.incidents.list()]
    node = await admin.nodes.get(name)
    return (states, node.state, node.conditions) == (["resolved"], NodeState.READY, ())


@pytest.mark.long
async def test_fifty_simulated_hosts_join_run_a_gang_break_and_are_repaired(tmp_path: Path) -> None:
    async with gameday.Fleet(directory=tmp_path) as fleet:
        admin = await fleet.client()
        arguments = ("--racks", "5", "--zones", "2", "--job-seconds", "1", "--repair-seconds", "0.2", "--gpus", "4")
        async with simulated(fleet, admin, *arguments) as hosts:
            await until(hosts, links_up=HOSTS)
            nodes = [node async for node in admin.nodes.list()]
            assert len(nodes) == HOSTS
            assert {(node.labels["rack"], node.labels["simulated"]) for node in nodes} == {
                (f"rack-{number}", "true") for number in range(5)
            }

            resources = ResourceRequest(gpu_count=8, node_count=2)
            # A gang of an hour would cost more than passes without an approval.
            spec = JobSpec(name="gang", command="true", resources=resources, max_runtime_seconds=300)
            job = (await admin.jobs.submit(spec)).job
            async with asyncio.timeout(PATIENCE_SECONDS):
                ended = await admin.jobs.wait(job.id)
            assert ended.state is JobState.SUCCEEDED, ended.status_reason
            assert hosts.figures()["members_succeeded"] == 2

            hosts.strike(Script.parse("xid119@0:1"), 7, time.time())
            await until(hosts, repairs_succeeded=1)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not await cured(admin, "sim-00007"):  # noqa: ASYNC110 - no watch tells of what is resolved already
                    await asyncio.sleep(0.05)

            await until(hosts, telemetry_sent=2 * HOSTS)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await admin.metrics.fleet()).telemetry.batches < HOSTS:  # noqa: ASYNC110 - counters
                    await asyncio.sleep(0.05)
