"""A fleet that tests share as long as they leave nothing behind in it, and settings for those of their own."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from orquanta.client import AsyncClient
from orquanta.errors import PreconditionFailed
from orquanta.gameday.fleet import Fleet, Host
from orquanta.types.jobs import Job, JobState

QUICK = {
    "heartbeat_seconds": "0.5",
    # No host is lost because the machine stands still for some seconds; tests of lost hosts set what they need.
    "lease_seconds": "30",
    "fence_seconds": "60",
    "fence_margin_seconds": "1",
    "default_stop_grace_seconds": "1",
    "approval_above_usd": "100",
}


@dataclass(frozen=True)
class Site:
    """A control plane with one host, and its administrator."""

    fleet: Fleet
    admin: AsyncClient
    host: Host

    def host_channel(self) -> grpc.aio.Channel:
        """A channel to the daemons' port with the host's own certificate."""
        return node_channel(self.fleet, self.host)


def node_channel(fleet: Fleet, host: Host) -> grpc.aio.Channel:
    """A channel to the daemons' port with a host's certificate, as whoever copied its files could open it."""
    files = [(host.identity / name).read_bytes() for name in ("ca.pem", "key.pem", "certificate.pem")]
    return grpc.aio.secure_channel(fleet.nodes_server, grpc.ssl_channel_credentials(*files))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One fleet for all tests of this worker that ask for it; each waits until what it started has ended."""
    async with Fleet(QUICK, directory=tmp_path_factory.mktemp("shared")) as fleet:
        admin = await fleet.client()
        yield Site(fleet, admin, await fleet.add_host(admin, "shared", "8xH100"))


@asynccontextmanager
async def guests(site: Site, **gpus: str) -> AsyncIterator[list[Host]]:
    """Hosts that belong to one test, by name; in the end they are revoked and stopped."""
    hosts = await asyncio.gather(*(site.fleet.add_host(site.admin, name, kind) for name, kind in gpus.items()))
    try:
        yield hosts
    finally:
        for host in hosts:
            with contextlib.suppress(PreconditionFailed):  # the test did that
                await site.admin.nodes.revoke(host.node_id)
            await host.stop()
            shutil.rmtree(site.fleet.directory / host.name)
            del site.fleet.hosts[host.name]


async def reaches(client: AsyncClient, job_id: str, *states: JobState) -> Job:
    """Return the job once it is in one of these states; it must get there before it ends otherwise."""
    async for job in client.jobs.watch(job_id=job_id):
        if job.state in states:
            return job
    raise AssertionError(f"{job_id} ended, and was never {' or '.join(states)}: {await client.jobs.get(job_id)}")


async def output(client: AsyncClient, job_id: str, *, follow: bool = False) -> bytes:
    """Return what a job has written."""
    return b"".join([chunk.data async for chunk in client.jobs.logs(job_id, follow=follow)])


@pytest.fixture
def quick_fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """Make a fleet of the test's own, with settings that differ from the quick ones as given."""

    def make(**settings: str) -> Fleet:
        return Fleet({**QUICK, **settings}, directory=tmp_path / "fleet")

    return make
