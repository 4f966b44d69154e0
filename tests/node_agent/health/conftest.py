"""What the tests of the health engine share."""

import pytest

from tests.node_agent.health.host import Host


@pytest.fixture
def host() -> Host:
    return Host()
