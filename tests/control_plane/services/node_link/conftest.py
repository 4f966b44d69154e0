import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.agents.incidents.agent import Incidents
from tests.control_plane.services.node_link.rig import Rig, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig


@pytest.fixture
async def healing(rig: Rig) -> AsyncIterator[None]:
    agent = asyncio.create_task(Incidents(rig.store, rig.governor).run())
    yield
    agent.cancel()
    await asyncio.wait([agent])
