"""What all tests of the daemon need."""

from collections.abc import Iterator

import pytest
from grpc import aio


@pytest.fixture(scope="session", autouse=True)
def _grpc_stays_up() -> Iterator[None]:
    """Keep gRPC's poller thread through all tests.

    Otherwise it ends with the last channel of a test and starts with the first of the next, on another event loop,
    and gRPC 1.78 can crash the process in between. A daemon has one loop for all its life.
    """
    aio.init_grpc_aio()
    yield
    aio.shutdown_grpc_aio()
