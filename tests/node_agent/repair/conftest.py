"""A stage for each test, whose processes do not outlive it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_agent.repair.repair_host import Host
from tests.node_agent.repair.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "host")
    try:
        made.build()
        yield made
    finally:
        made.destroy()


@pytest.fixture
def host(stage: Stage) -> Iterator[Host]:
    made = Host(stage)
    yield made
    made.hardware.stop_probe()
