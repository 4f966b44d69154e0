"""A fleet that tests share as long as they leave nothing behind in it, and settings under which faults show soon."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from bench.fleet import Fleet, Host
from orquanta.client import AsyncClient

QUICK = {
    "heartbeat_seconds": "0.5",
    "lease_seconds": "3",
    "fence_seconds": "4",
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


@pytest.fixture
def quick_fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """Make a fleet of the test's own, with settings that differ from the quick ones as given."""

    def make(**settings: str) -> Fleet:
        return Fleet({**QUICK, **settings}, directory=tmp_path / "fleet")

    return make
