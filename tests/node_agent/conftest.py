"""What all tests of the daemon need."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from grpc import aio

from tests.node_agent.kernel_log import Kernel
from tests.node_agent.site import Site, site_of


@pytest.fixture(scope="session", autouse=True)
def _grpc_stays_up() -> Iterator[None]:
    """Keep gRPC's poller thread through all tests.

    Otherwise it ends with the last channel of a test and starts with the first of the next, on another event loop,
    and gRPC 1.78 can crash the process in between. A daemon has one loop for all its life.
    """
    loop = asyncio.new_event_loop()  # gRPC asks for a loop, and a test before these may have left none
    loop.run_until_complete(_run(aio.init_grpc_aio))
    yield
    aio.shutdown_grpc_aio()
    loop.close()


async def _run(function: Callable[[], None]) -> None:
    function()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path / "kmsg")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with site_of(tmp_path) as made:
        await made.join()
        yield made
