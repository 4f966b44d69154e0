"""Real processes at both ends: what is cancelled ends at once, what is moved saves its work first."""

import asyncio

import pytest

from orquanta.types.jobs import JobSpec, JobState, ResourceRequest
from tests.e2e.conftest import Site, guests, output, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]

SAVER = "trap 'echo saved; exit 0' USR1; echo ready; while :; do sleep 0.05; done"


async def ready(site: Site, name: str) -> str:
    """Start a job that saves its work when it is asked to; return its id once it listens."""
    spec = JobSpec(
        name=name,
        command=SAVER,
        resources=ResourceRequest(gpu_types=("L4",), gpu_count=1),
        checkpoint_signal="SIGUSR1",
        checkpoint_seconds=600,
    )
    job_id = (await site.admin.jobs.submit(spec)).job.id
    await reaches(site.admin, job_id, JobState.RUNNING)
    async with asyncio.timeout(60):
        async for chunk in site.admin.jobs.logs(job_id, follow=True):
            if b"ready" in chunk.data:
                break
    return job_id


async def test_a_cancelled_job_saves_nothing_and_a_moved_one_does(site: Site) -> None:
    async with guests(site, saver="2xL4") as (host,):
        cancelled, moved = await ready(site, "cancelled"), await ready(site, "moved")
        await site.admin.jobs.cancel(cancelled, reason="a typo")
        await reaches(site.admin, cancelled, JobState.CANCELLED)
        assert await output(site.admin, cancelled, follow=True) == b"ready\n"
        await site.admin.nodes.drain(host.node_id, reason="its fan rattles")
        await reaches(site.admin, moved, JobState.QUEUED)
        async with asyncio.timeout(60):
            while await output(site.admin, moved) != b"ready\nsaved\n":  # noqa: ASYNC110 - it is on its way
                await asyncio.sleep(0.05)
        await site.admin.jobs.cancel(moved)
