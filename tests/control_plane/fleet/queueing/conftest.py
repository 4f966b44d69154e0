"""The room of a test: the exact one of the tests, and the one of the product."""

import pytest

from control_plane.fleet.placement.hosts import Hosts
from tests.control_plane.fleet.queueing.rooms import ListRoom
from tests.control_plane.fleet.queueing.world import World


@pytest.fixture(params=["list", "hosts"])
def room_type(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "room_type", ListRoom if request.param == "list" else Hosts)
