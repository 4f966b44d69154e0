"""A real control plane and `orquanta mcp` beside it, as an MCP client starts it."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client

from control_plane.store.database import Store
from tests.control_plane.services.harness import Client, Fleet, running_fleet
from tests.fake_clock import FakeClock

Connect = Callable[[Client], AbstractAsyncContextManager[ClientSession]]


@pytest.fixture
async def fleet(sqlite_store: Store, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(sqlite_store, clock, tmp_path) as running:
        yield running


@pytest.fixture
def environment(fleet: Fleet, tmp_path: Path) -> Callable[[Client], dict[str, str]]:
    def of(client: Client) -> dict[str, str]:
        ca = tmp_path / "ca.pem"
        ca.write_bytes(fleet.ca_pem)
        return {
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            "ORQUANTA_SERVER": f"localhost:{fleet.port}",
            "ORQUANTA_TOKEN": client.credential,
            "ORQUANTA_CA": str(ca),
        }

    return of


@pytest.fixture
def connect(environment: Callable[[Client], dict[str, str]]) -> Connect:
    """Connect an MCP client to `orquanta mcp` with somebody's credential."""

    @asynccontextmanager
    async def connected(client: Client) -> AsyncIterator[ClientSession]:
        program = StdioServerParameters(
            command=sys.executable, args=["-m", "orquanta.cli", "mcp"], env=environment(client)
        )
        async with stdio_client(program) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
            await session.initialize()
            yield session

    return connected
