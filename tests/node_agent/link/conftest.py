"""A scripted control plane, and a node's link to it in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.link.identity import Identity, IdentityStore
from node_agent.link.join import JoinOrder, join
from node_agent.link.tls import Address
from node_agent.link.token import JoinToken
from tests.node_agent.pki import Authority
from tests.node_agent.plane import Plane, serving


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async with serving(Plane(Authority())) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    return IdentityStore(tmp_path / "state")


Join = Callable[[], Awaitable[Identity]]


@pytest.fixture
def joined(plane: Plane, store: IdentityStore) -> Join:
    """Make the host a node of the plane."""

    async def do() -> Identity:
        order = JoinOrder(
            server=Address.parse(plane.join_address),
            token=JoinToken.parse(plane.token),
            node_name="host-1",
            labels={"rack": "7"},
            agent_version="1.2.3",
        )
        return await join(order, store, clock=SystemClock())

    return do
