"""What was acknowledged survives: kill -9, a full disk, a server that goes away."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest

from control_plane.errors import Unavailable
from control_plane.model.record import Noun
from control_plane.store import events
from control_plane.store.database import Store, Tx
from tests.fake_clock import FakeClock
from tests.postgresql import PostgreSql

_WRITER = """
import asyncio, sys
from control_plane.clock import SystemClock
from control_plane.model.record import Noun
from control_plane.store.database import Store, Tx

async def write(store, lane):
    for number in range(1_000_000):
        name = f"{lane}-{number}"
        await store.write(lambda tx: tx.emit(Noun.GOAL, name, "goal.acknowledged", "x" * 200))
        print(name, flush=True)

async def main():
    store = await Store.open(sys.argv[1], clock=SystemClock())
    await asyncio.gather(*(write(store, lane) for lane in range(8)))

asyncio.run(main())
"""
_ACKNOWLEDGED_BEFORE_THE_KILL = 300
_TMPFS_BYTES = 2 * 1024 * 1024


async def names(store: Store) -> set[str]:
    found: set[str] = set()
    sequence = 0
    while batch := await store.read(partial(events.after, sequence=sequence)):
        found |= {event.id for event in batch}
        sequence = batch[-1].sequence
    return found


async def test_nothing_acknowledged_is_lost_when_the_control_plane_is_killed(
    database_url: str, clock: FakeClock
) -> None:
    command = [sys.executable, "-c", _WRITER, database_url]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    acknowledged = {(await child.stdout.readline()).decode().strip() for _ in range(_ACKNOWLEDGED_BEFORE_THE_KILL)}
    child.kill()
    rest = await child.stdout.read()
    acknowledged |= {line.strip() for line in rest.decode().splitlines(keepends=True) if line.endswith("\n")}
    await child.wait()
    store = await Store.open(database_url, clock=clock)
    try:
        kept = await names(store)
        assert len(acknowledged) >= _ACKNOWLEDGED_BEFORE_THE_KILL
        assert acknowledged <= kept
        await store.write(lambda tx: tx.emit(Noun.GOAL, "after", "goal.after", ""))
    finally:
        await store.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    directory = tmp_path / "disk"
    directory.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_TMPFS_BYTES}", "none", str(directory)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture
async def store_on_small_disk(small_disk: Path, migrated_sqlite: Path, clock: FakeClock) -> AsyncIterator[Store]:
    shutil.copy(migrated_sqlite, small_disk / "orquanta.db")
    store = await Store.open(f"sqlite:///{small_disk / 'orquanta.db'}", clock=clock)
    yield store
    await store.close()


async def test_a_full_disk_refuses_writes_changes_nothing_and_recovers(
    store_on_small_disk: Store, small_disk: Path
) -> None:
    store = store_on_small_disk
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        free = shutil.disk_usage(small_disk).free
        file.write(b"x" * max(0, free - 400_000))

    async def write(name: str) -> bool:
        try:
            await store.write(lambda tx: tx.emit(Noun.GOAL, name, "goal.large", "x" * 20_000))
        except Unavailable:
            return False
        return True

    acknowledged: set[str] = set()
    refused = 0
    while refused < 20:
        names_now = [f"{len(acknowledged)}-{refused}-{lane}" for lane in range(8)]
        done = await asyncio.gather(*(write(name) for name in names_now))
        acknowledged |= {name for name, ok in zip(names_now, done, strict=True) if ok}
        refused += done.count(False)
    assert acknowledged
    assert await names(store) == acknowledged
    ballast.unlink()
    await store.write(lambda tx: tx.emit(Noun.GOAL, "after", "goal.after", "x" * 20_000))
    assert await names(store) == acknowledged | {"after"}


@pytest.mark.postgres
async def test_a_server_that_drops_connections_costs_one_refusal_and_no_acknowledged_write(
    migrated_postgresql: PostgreSql, clock: FakeClock
) -> None:
    with migrated_postgresql.database("orquanta_template") as url:
        store = await Store.open(url, clock=clock)
        try:
            await store.write(lambda tx: tx.emit(Noun.GOAL, "before", "goal.before", ""))

            def cut_off(tx: Tx) -> None:
                tx.emit(Noun.GOAL, "cut", "goal.cut", "")
                migrated_postgresql.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    f"WHERE datname = '{url.partition('@/')[2].partition('?')[0]}'"
                )

            with pytest.raises(Unavailable):
                await store.write(cut_off)
            await store.write(lambda tx: tx.emit(Noun.GOAL, "after", "goal.after", ""))
            assert await names(store) == {"before", "after"}
        finally:
            await store.close()
