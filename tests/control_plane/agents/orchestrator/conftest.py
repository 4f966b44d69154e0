"""Somebody who asks, on each kind of database."""

import pytest

from tests.control_plane.agents.orchestrator.desk import Desk
from tests.control_plane.world import World, principal


@pytest.fixture
async def desk(any_world: World) -> Desk:
    return Desk(any_world, principal(await any_world.user(budget_usd=2000)))
