"""What the local store does besides: the file, its damages and bounds, and embedders that come and go."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from control_plane.errors import Unavailable
from control_plane.memory.contract import Embedder, Vectors
from control_plane.memory.hashed_ngrams import HashedNgrams
from control_plane.memory.local import LocalMemory
from control_plane.model.memory import MemoryQuery
from tests.control_plane.memory.values import NOW, a_memory, memory_id
from tests.fake_clock import FakeClock


class OtherModel:
    """Four dimensions; away while `away` says so."""

    name = "other-4-v1"
    dimensions = 4
    floor = 0.5
    away = False

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if self.away:
            raise Unavailable("the embedder is away")
        rows = [[text.count("bus") + 1, text.count("disk"), 0, 0] for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return scaled

    async def close(self) -> None:
        pass


@asynccontextmanager
async def opened(path: Path, embedder: Embedder | None = None, rows: int = 50_000) -> AsyncIterator[LocalMemory]:
    store = LocalMemory(path, embedder or HashedNgrams(), clock=FakeClock(), rows_per_tenant=rows)
    yield store
    await store.close()


def put_aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]"))


async def test_memories_outlive_the_process_and_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "memory" / "memory.db"
    async with opened(path) as store:
        kept = await store.remember(a_memory("a"))
    assert path.stat().st_mode & 0o077 == 0
    async with opened(path) as store:
        assert await store.get(kept.id) == kept
        (found,) = await store.search(MemoryQuery("GPUs falling off busses"), now=NOW)
        assert found.memory.id == kept.id


@pytest.mark.parametrize("damage", ["rubbish", "beginning", "middle", "empty-page"])
async def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "memory.db"
    async with opened(path) as store:
        for number in range(200):
            await store.remember(a_memory(f"m{number}"))
    content = bytearray(path.read_bytes())
    match damage:
        case "rubbish":
            content = bytearray(b"not a database at all" * 500)
        case "beginning":
            content[:100] = bytes(100)
        case "middle":
            for start in range(4096, len(content), 4096):
                content[start : start + 64] = b"\xa5" * 64
        case _:
            content[4096:12288] = bytes(8192)
    path.write_bytes(content)
    async with opened(path) as store:
        await store.remember(a_memory("anew"))
        assert (await store.status()).memories == 1
    (aside,) = put_aside(path)
    assert aside.read_bytes() == bytes(content)


async def test_a_file_damaged_while_it_is_open_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    async with opened(path) as store:
        kept = await store.remember(a_memory("a"))
        with sqlite3.connect(path) as other:
            other.execute("UPDATE memories SET outcome = 'nonsense'")
        other.close()
        with pytest.raises(Unavailable, match="put aside"):
            await store.get(kept.id)
        assert await store.get(kept.id) is None
        assert (await store.remember(a_memory("b"))).count == 1
        assert (await store.status()).error == ""


async def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "memory.db", FakeClock()
    for number in range(5):
        path.write_bytes(b"rubbish %d" % number * 500)
        store = LocalMemory(path, HashedNgrams(), clock=clock)
        assert (await store.status()).error == ""
        await store.close()
        clock.advance(1)
    aside = put_aside(path)
    assert [one.read_bytes()[:9] for one in aside] == [b"rubbish 2", b"rubbish 3", b"rubbish 4"]


async def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    async with opened(path) as store:
        with pytest.raises(Unavailable, match="later OrQuanta"):
            await store.remember(a_memory("a"))
        assert "later OrQuanta" in (await store.status()).error
    assert put_aside(path) == []


async def test_a_place_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.write_text("a file where a folder should be")
    async with opened(blocked / "memory.db") as store:
        with pytest.raises(Unavailable, match="cannot be used"):
            await store.search(MemoryQuery("anything"), now=NOW)
        assert (await store.status()).error
        blocked.unlink()
        assert (await store.remember(a_memory("a"))).count == 1
        assert (await store.status()).error == ""


async def test_beyond_the_bound_the_oldest_unused_go_first(tmp_path: Path) -> None:
    async with opened(tmp_path / "memory.db", rows=3) as store:
        for number in range(3):
            await store.remember(a_memory(f"m{number}", created_at=NOW + timedelta(hours=number)))
        await store.remember(a_memory("of ana", tenant="ana"))
        await store.search(MemoryQuery("m0", limit=1), now=NOW + timedelta(days=1))
        await store.remember(a_memory("m3", created_at=NOW + timedelta(hours=3)))
        kept = {memory.id async for memory in store.export()}
        assert kept == {memory_id(name) for name in ("m0", "m2", "m3", "of ana")}


async def test_vectors_of_two_embedders_are_never_mixed(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    async with opened(path) as store:
        await store.remember(a_memory("a", text="the bus"))
        await store.remember(a_memory("b", text="a disk disk disk disk"))
    async with opened(path, OtherModel()) as store:
        status = await store.status()
        assert (status.embedder, status.waiting) == ("other-4-v1", 2)
        (by_word,) = await store.search(MemoryQuery("disk"), now=NOW)
        assert by_word.memory.id == memory_id("b")
        assert await store.search(MemoryQuery("zebra bus-like", limit=1), now=NOW) != ()
        assert await store.search(MemoryQuery("nothing of it"), now=NOW) == ()
        assert await store.reembed(at_most=1) == 1
        assert (await store.status()).waiting == 1
        assert await store.reembed(at_most=100) == 1
        assert await store.reembed(at_most=100) == 0
        assert (await store.status()).waiting == 0
        found = await store.search(MemoryQuery("wholly other words"), now=NOW)
        assert memory_id("a") in {one.memory.id for one in found}
    async with opened(path) as store:
        assert (await store.status()).waiting == 2


async def test_without_the_embedder_words_must_do(tmp_path: Path) -> None:
    embedder = OtherModel()
    async with opened(tmp_path / "memory.db", embedder) as store:
        embedder.away = True
        await store.remember(a_memory("a"))
        status = await store.status()
        assert (status.memories, status.waiting, status.error) == (1, 1, "the embedder is away")
        (found,) = await store.search(MemoryQuery("what fell off the bus"), now=NOW)
        assert found.memory.id == memory_id("a")
        with pytest.raises(Unavailable):
            await store.reembed(at_most=10)
        embedder.away = False
        assert await store.reembed(at_most=10) == 1
        assert (await store.status()).error == ""


async def test_a_vector_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    async with opened(path) as store:
        for name in ("short", "nan", "whole"):
            await store.remember(a_memory(name))
    with sqlite3.connect(path) as db:
        db.execute("UPDATE memories SET vector = x'00' WHERE id = ?", (memory_id("short"),))
        nan = np.full(512, np.nan, dtype="<f4").tobytes()
        db.execute("UPDATE memories SET vector = ? WHERE id = ?", (nan, memory_id("nan")))
    db.close()
    async with opened(path) as store:
        assert (await store.status()).waiting == 2
        assert await store.reembed(at_most=10) == 2
