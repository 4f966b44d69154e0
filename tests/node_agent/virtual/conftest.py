from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pynvml
import pytest

from node_agent.virtual import LoadTable, VirtualHost, virtual_gpus


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def advance(clock: ManualClock) -> Callable[[float], None]:
    return clock.advance


@pytest.fixture
def load() -> LoadTable:
    return LoadTable()


@pytest.fixture
def host(clock: ManualClock, load: LoadTable) -> Iterator[VirtualHost]:
    """Eight H100 with NVML open."""
    with virtual_gpus("8xH100", host_identity="test-host", load=load, clock=clock) as host:
        pynvml.nvmlInit()
        yield host
