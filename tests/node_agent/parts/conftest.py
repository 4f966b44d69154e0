"""Hosts whose jobs are cleaned up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_agent.jobs.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "state", cgroup_parent=None)
    yield made
    made.clean_up()
