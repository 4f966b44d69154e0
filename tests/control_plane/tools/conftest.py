from pathlib import Path

import pytest

from control_plane.fleet.prices import PriceTable
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from control_plane.tools.toolbox import Toolbox
from tests.control_plane.tools.bench import Bench
from tests.control_plane.world import World


@pytest.fixture
async def bench(world: World, tmp_path: Path) -> Bench:
    """A toolbox on a small fleet."""
    logs = LogStore(tmp_path / "logs", poll_seconds=0.01, drain_seconds=0.01)
    await logs.start()
    telemetry = TelemetryWindows(clock=world.clock)
    toolbox = Toolbox(
        world.store,
        world.governor,
        logs=logs,
        telemetry=telemetry,
        memory=None,
        prices=PriceTable(),
        clock=world.clock,
    )
    return Bench(world, toolbox, logs, telemetry)
