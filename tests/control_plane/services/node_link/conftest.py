from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.control_plane.services.node_link.rig import Rig, running


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(tmp_path) as rig:
        yield rig
