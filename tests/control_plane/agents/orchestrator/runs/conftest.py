from pathlib import Path

import pytest

from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from tests.control_plane.agents.orchestrator.runs.rig import Rig
from tests.control_plane.world import World, principal


@pytest.fixture
async def rig(world: World, tmp_path: Path) -> Rig:
    logs = LogStore(tmp_path / "logs", member_max_bytes=1 << 20, total_max_bytes=16 << 20, drain_seconds=0.01)
    await logs.start()
    return Rig(world, logs, TelemetryWindows(clock=world.clock), principal(await world.user("ada")))
