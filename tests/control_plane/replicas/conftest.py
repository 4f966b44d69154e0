"""One real broker for the tests of a module about replicas.

Not for those of all modules: between them others may run for minutes, each with an event loop of its own, and the
broker gives up a connection whose loop stands still.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from control_plane.bus.client import Bus
from control_plane.bus.embedded import EmbeddedNats
from control_plane.clock import SystemClock
from tests.control_plane.bus.conftest import Site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bus]:
    site = Site.create(tmp_path_factory.mktemp("replicas"))
    async with (
        EmbeddedNats(site.broker_config(), clock=SystemClock()) as broker,
        Bus(site.endpoint(broker.url)) as bus,
    ):
        yield bus


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the bucket waits for a busy machine too, not for a second."""
    monkeypatch.setattr("control_plane.bus.bucket._ANSWER_SECONDS", 30.0)
