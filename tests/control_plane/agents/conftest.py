import pytest

from tests.control_plane.clinic import Clinic
from tests.control_plane.world import World


@pytest.fixture
def clinic(world: World) -> Clinic:
    return Clinic.of(world)
