"""Hosts that clean up after themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_agent.jobs.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "state", cgroup_parent="/orquanta-test")
    yield made
    made.clean_up()


@pytest.fixture(params=["isolated", "shared"])
def any_host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host that gives each job a process namespace, and one that cannot and has no cgroups either."""
    if request.param == "isolated":
        made = Host(tmp_path / "state", cgroup_parent="/orquanta-test")
    else:
        made = Host(tmp_path / "state", isolate_pids=False, cgroup_parent=None)
    yield made
    made.clean_up()
