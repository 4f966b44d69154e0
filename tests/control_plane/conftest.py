import pytest

from control_plane.store.database import Store
from tests.control_plane.world import World
from tests.fake_clock import FakeClock


@pytest.fixture
def world(sqlite_store: Store, clock: FakeClock) -> World:
    """A governor on SQLite, where the database makes no difference."""
    return World.on(sqlite_store, clock)


@pytest.fixture
def any_world(store: Store, clock: FakeClock) -> World:
    """A governor on each kind of database."""
    return World.on(store, clock)
