"""The spool on a real disk: order, bounds, losses, damage."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node_agent.spool.files import FILE
from node_agent.spool.items import Bounds
from node_agent.spool.spool import Spool
from orquanta.v1 import event_pb2, node_link_pb2, repair_pb2
from tests.node_agent.spool.writer import event


class StillClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def rollup(samples: int = 60) -> node_link_pb2.SpoolRecord:
    return node_link_pb2.SpoolRecord(telemetry_rollup=event_pb2.TelemetryRollup(samples=samples))


def repair(name: str, size: int = 0) -> node_link_pb2.SpoolRecord:
    return node_link_pb2.SpoolRecord(repair_report=repair_pb2.RepairReport(repair_id=name, handoff_json="x" * size))


@asynccontextmanager
async def opened(
    directory: Path, bounds: Bounds | None = None, clock: StillClock | None = None
) -> AsyncIterator[Spool]:
    async with Spool(directory, clock or StillClock(), bounds) as spool:
        running = asyncio.ensure_future(spool.run())
        try:
            yield spool
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def everything(spool: Spool) -> list[node_link_pb2.SpoolRecord]:
    records: list[node_link_pb2.SpoolRecord] = []
    while True:
        batch = await spool.read_from((records[-1].sequence if records else spool.acknowledged) + 1)
        assert batch is not None
        if not batch.records:
            return records
        records += batch.records


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the spool works in its own time
            await asyncio.sleep(0.01)


def names(records: list[node_link_pb2.SpoolRecord]) -> list[str]:
    return [record.health_event.id for record in records if record.WhichOneof("content") == "health_event"]


async def test_records_come_back_in_order_with_sequences_that_grow_by_one_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        first = spool.spool_id
        assert await spool.append(event("a"), repair("r-1")) == 2
        assert await spool.append(rollup()) == 3
        records = await everything(spool)
        assert [record.WhichOneof("content") for record in records] == [
            "health_event",
            "repair_report",
            "telemetry_rollup",
        ]
    async with opened(tmp_path) as spool:
        assert spool.spool_id == first
        assert await spool.append(event("b")) == 4
        again = await everything(spool)
    assert again[:3] == records
    assert [record.sequence for record in again] == [1, 2, 3, 4]
    assert all(record.HasField("recorded_at") for record in again)


async def test_what_is_acknowledged_is_not_sent_again_and_its_numbers_are_not_given_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(*[event(str(number)) for number in range(10)])
        await spool.acknowledge(spool.spool_id, 10)
    async with opened(tmp_path) as spool:
        assert await everything(spool) == []
        assert await spool.append(event("next")) == 11


async def test_an_acknowledgement_of_another_spool_is_ignored(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(event("a"))
        await spool.acknowledge("s-other", 1)
        assert names(await everything(spool)) == ["a"]


async def test_books_that_are_ahead_of_the_host_make_it_begin_anew_and_nothing_is_taken_for_a_repeat(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(event("a"))
        first = spool.spool_id
        await spool.acknowledge(first, 50)
        assert spool.spool_id != first
        assert names(await everything(spool)) == ["a"]


async def test_events_that_are_in_the_books_are_still_shown_on_the_host_up_to_a_bound(tmp_path: Path) -> None:
    async with opened(tmp_path, Bounds(history_events=3)) as spool:
        await spool.append(*[event(str(number)) for number in range(10)], rollup())
        await spool.acknowledge(spool.spool_id, 9)
        await until(lambda: not spool._held.forget_due)
        shown = await spool.events_after(0, 100)
    assert [found.id for _, found in shown] == ["6", "7", "8", "9"]


async def test_a_batch_keeps_to_500_records_and_1_mib(tmp_path: Path) -> None:
    async with opened(tmp_path, Bounds(recent_records=10)) as spool:
        await spool.append(*[event(str(number)) for number in range(1200)])
        first = await spool.read_from(1)
        assert first is not None
        assert len(first.records) == 500
        await spool.append(*[repair(f"r-{number}", 300_000) for number in range(5)])
        batch = await spool.read_from(1201)
        assert batch is not None
        assert len(batch.records) == 3
        assert batch.ByteSize() <= 1 << 20
        assert len(await everything(spool)) == 1205


async def test_a_record_that_no_batch_can_hold_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        with pytest.raises(ValueError, match="too large"):
            await spool.append(repair("r-1", 1 << 20))
        assert await spool.append(event("a")) == 1


async def test_a_reader_is_woken_by_the_next_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool, asyncio.timeout(30):
        waiting = asyncio.ensure_future(spool.wait_beyond(0))
        await spool.append(event("a"))
        await waiting


async def test_without_room_the_oldest_rollups_go_first_then_the_oldest_others_and_every_loss_is_told(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, Bounds(disk_bytes=3_000_000)) as spool:
        for number in range(60):
            await spool.append(repair(f"r-{number}", 20_000), rollup(60))
        for number in range(60, 200):
            await spool.append(repair(f"r-{number}", 20_000))
        await until(lambda: spool.status().lost_records > 60)
        await spool.append(event("last"))
        async with asyncio.timeout(30):
            while True:  # until it has given up what it has no room for, and has told so
                records, status = await everything(spool), spool.status()
                told = [record.loss for record in records if record.HasField("loss")]
                if status.used_bytes <= 3_000_000 and sum(loss.records for loss in told) == status.lost_records:
                    break
                await asyncio.sleep(0.01)
    kinds = [record.WhichOneof("content") for record in records]
    assert "telemetry_rollup" not in kinds
    kept = [record.repair_report.repair_id for record in records if record.HasField("repair_report")]
    assert kept == [f"r-{number}" for number in range(200 - len(kept), 200)]
    assert sum(loss.telemetry_samples for loss in told) == 60 * 60
    assert status.lost_records == 60 + 200 - len(kept)


async def test_records_older_than_the_bound_are_given_up_by_running_time_and_not_by_the_wall_clock(
    tmp_path: Path,
) -> None:
    clock = StillClock()
    async with opened(tmp_path, Bounds(age_seconds=100), clock) as spool:
        await spool.append(event("old"))
    clock.seconds += 1000  # the daemon is off
    async with opened(tmp_path, Bounds(age_seconds=100), clock) as spool:
        await spool.append(event("young"))
        await spool._writer._trim()
        assert names(await everything(spool)) == ["old", "young"]
        clock.seconds += 101
        await spool.append(event("fresh"))
        await spool._writer._trim()
        await until(lambda: spool.visible >= 4)
        records = await everything(spool)
    assert names(records) == ["fresh"]
    assert [record.loss.records for record in records if record.HasField("loss")] == [2]


async def test_a_loss_that_was_not_told_before_a_crash_is_told_after_it(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as spool:
        await spool.append(event("a"), rollup(7))
    database = sqlite3.connect(tmp_path / FILE)
    with database:
        database.execute("DELETE FROM records")
        database.execute("UPDATE spool SET lost_records = 2, lost_samples = 7")
    database.close()
    for _ in range(2):
        async with opened(tmp_path) as spool:
            await until(lambda: spool.visible == 3)
            records = await everything(spool)
    assert [(record.loss.records, record.loss.telemetry_samples) for record in records] == [(2, 7)]


async def test_a_damaged_spool_is_put_aside_and_a_fresh_one_begun_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path) as spool:
        first = spool.spool_id
        await spool.append(event("a"))
    (tmp_path / FILE).write_bytes(b"not a database at all" * 1000)
    async with opened(tmp_path) as spool:
        assert spool.spool_id != first
        await spool.append(event("b"))
        records = await everything(spool)
    assert names(records) == ["b"]
    assert ["the spool was damaged" in record.loss.reason for record in records if record.HasField("loss")] == [True]
    assert len([name for name in os.listdir(tmp_path) if name.startswith("damaged-")]) == 1  # noqa: PTH208 - not blocking
    assert "spool.damaged" in capsys.readouterr().out


async def test_damage_while_it_runs_loses_only_what_memory_does_not_hold(tmp_path: Path) -> None:
    async with opened(tmp_path, Bounds(recent_records=2)) as spool:
        first = spool.spool_id
        await spool.append(*[event(str(number)) for number in range(6)], state={"position": b"6"})
        await spool._held.in_thread(lambda: spool._held.database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        with (tmp_path / FILE).open("r+b") as file:
            file.write(b"\xff" * 65536)
        await spool._held.in_thread(lambda: spool._held.database._connection.execute("PRAGMA shrink_memory"))
        await until(lambda: spool.spool_id != first or not asyncio.ensure_future(spool.append(event("more"))))
        await spool.append(event("last"))
        records = await everything(spool)
        assert spool.state("position") == b"6"
    found = names(records)
    assert found[-1] == "last"
    assert "5" in found
    assert sum(record.loss.records for record in records) >= 4
    async with opened(tmp_path) as spool:
        assert spool.state("position") == b"6"


async def test_damage_that_many_find_at_once_is_put_aside_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path, Bounds(recent_records=2)) as spool:
        first = spool.spool_id
        await spool.append(*[event(str(number)) for number in range(6)])
        await spool._held.in_thread(lambda: spool._held.database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        with (tmp_path / FILE).open("r+b") as file:
            file.write(b"\xff" * 65536)
        await spool._held.in_thread(lambda: spool._held.database._connection.execute("PRAGMA shrink_memory"))
        await asyncio.gather(*(spool.read_from(1) for _ in range(5)), spool.append(event("more")))
        await until(lambda: spool.spool_id != first)
        second = spool.spool_id
        await spool.append(event("last"))
        assert names(await everything(spool))[-1] == "last"
        assert spool.spool_id == second
    assert capsys.readouterr().out.count("spool.damaged") == 1


@pytest.mark.parametrize("spoiled", [b"\xff\xff\xff", b"", "another's"], ids=["garbage", "empty", "another number"])
async def test_records_that_the_disk_has_spoiled_are_given_up_and_told_and_those_after_them_come(
    tmp_path: Path, spoiled: bytes | str
) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(*(repair(f"r-{number}") for number in range(1, 6)))
    with closing(sqlite3.connect(tmp_path / FILE)) as file, file:
        (other,) = file.execute("SELECT content FROM records WHERE sequence = 5").fetchone()
        content = spoiled if isinstance(spoiled, bytes) else other
        file.execute("UPDATE records SET content = ? WHERE sequence IN (1, 3)", (content,))
    async with opened(tmp_path) as spool:
        assert [record.sequence for record in await everything(spool)][:3] == [2, 4, 5]
        await spool.append(repair("r-6"))
        records = await everything(spool)
        assert [record.repair_report.repair_id for record in records if record.HasField("repair_report")] == [
            "r-2",
            "r-4",
            "r-5",
            "r-6",
        ]
        assert sum(record.loss.records for record in records) == 2
        assert spool.status().lost_records == 2


async def test_an_event_that_the_disk_has_spoiled_is_not_shown_and_the_others_are(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.append(event("one"), event("two"))
    with closing(sqlite3.connect(tmp_path / FILE)) as file, file:
        file.execute("UPDATE records SET content = ? WHERE sequence = 1", (b"\xff\xff",))
    async with opened(tmp_path) as spool:
        assert [found.id for _, found in await spool.events_after(0, 10)] == ["two"]


async def test_state_is_stored_with_its_records(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        assert spool.state("health") == b""
        await spool.append(event("a"), state={"health": b"1"})
        spool.save("kernel", b"77")
        assert spool.state("kernel") == b"77"
    async with opened(tmp_path) as spool:
        assert (spool.state("health"), spool.state("kernel")) == (b"1", b"77")
