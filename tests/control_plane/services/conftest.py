from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.model.identity import Role
from control_plane.store.database import Store
from tests.control_plane.services.harness import Client, Fleet, running_fleet
from tests.fake_clock import FakeClock


@pytest.fixture
async def fleet(sqlite_store: Store, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with running_fleet(sqlite_store, clock, tmp_path) as running:
        yield running


@pytest.fixture
async def user(fleet: Fleet) -> Client:
    return await fleet.client(Role.USER)


@pytest.fixture
async def operator(fleet: Fleet) -> Client:
    return await fleet.client(Role.OPERATOR)


@pytest.fixture
async def admin(fleet: Fleet) -> Client:
    return await fleet.client(Role.ADMIN)
