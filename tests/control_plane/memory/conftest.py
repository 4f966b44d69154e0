"""Stores of memories, each backend held to the same contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.memory.contract import MemoryStore
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from tests.fake_clock import FakeClock


@pytest.fixture(params=["local"])
async def memories(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> AsyncIterator[MemoryStore]:
    """An empty store of each kind."""
    store = LocalMemory(tmp_path / "memory.db", HashedNgrams(), clock=clock)
    yield store
    await store.close()
