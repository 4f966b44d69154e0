"""What the Weaviate store does besides, against a real server."""

import pytest

from control_plane.errors import Unavailable
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.weaviate import WeaviateMemory
from control_plane.memory.weaviate_connection import WeaviateServer
from control_plane.model.memory import MemoryQuery
from tests.control_plane.memory.conftest import RunningWeaviate, free_ports
from tests.control_plane.memory.test_local import OtherModel
from tests.control_plane.memory.values import NOW, a_memory, memory_id
from tests.fake_clock import FakeClock


@pytest.mark.weaviate
async def test_vectors_of_two_embedders_are_never_mixed(weaviate: RunningWeaviate, clock: FakeClock) -> None:
    weaviate.clear()
    store = weaviate.memory(clock)
    await store.remember(a_memory("a", text="the bus"))
    await store.remember(a_memory("b", text="a disk disk disk disk", tenant="ana"))
    await store.close()
    store = weaviate.memory(clock, OtherModel())
    status = await store.status()
    assert (status.store, status.embedder, status.memories, status.waiting) == ("weaviate", "other-4-v1", 2, 2)
    (by_word,) = await store.search(MemoryQuery("disk", tenant="ana"), now=NOW)
    assert by_word.memory.id == memory_id("b")
    assert await store.search(MemoryQuery("nothing of it"), now=NOW) == ()
    assert await store.reembed(at_most=1) == 1
    assert await store.reembed(at_most=100) == 1
    assert await store.reembed(at_most=100) == 0
    assert (await store.status()).waiting == 0
    found = await store.search(MemoryQuery("wholly other words"), now=NOW)
    assert [one.memory.id for one in found] == [memory_id("a")]
    await store.close()


async def test_a_server_that_is_away_is_told_and_stops_nothing(clock: FakeClock) -> None:
    http, rpc = free_ports(2)
    store = WeaviateMemory(WeaviateServer("127.0.0.1", http, rpc), HashedNgrams(), clock=clock)
    with pytest.raises(Unavailable, match="Weaviate server cannot be used"):
        await store.search(MemoryQuery("anything"), now=NOW)
    with pytest.raises(Unavailable):
        await store.remember(a_memory("a"))
    assert "cannot be used" in (await store.status()).error
    await store.close()
