from collections.abc import AsyncIterator

import pytest

from control_plane.store.database import Store
from tests.fake_clock import FakeClock
from tests.postgresql import PostgreSql


@pytest.fixture
async def pair(migrated_postgresql: PostgreSql, clock: FakeClock) -> AsyncIterator[tuple[Store, Store]]:
    """Two control planes that share one PostgreSQL."""
    with migrated_postgresql.database("orquanta_template") as url:
        one, two = await Store.open(url, clock=clock, shared=True), await Store.open(url, clock=clock, shared=True)
        yield one, two
        await one.close()
        await two.close()
