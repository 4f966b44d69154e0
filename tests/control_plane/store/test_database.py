import asyncio
import shutil
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from control_plane.errors import InvalidArgument, Unavailable
from control_plane.model.money import from_micros
from control_plane.store import audit, events, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from control_plane.store.tables import UserRow
from tests.control_plane.store.writes import announce, emails, insert, someone
from tests.fake_clock import FakeClock


async def test_a_newer_control_plane_shuts_the_older_one_out(store: Store, database_url: str, clock: FakeClock) -> None:
    await store.write(insert("before@x"))
    newer = await Store.open(database_url, clock=clock)
    try:
        assert newer.control_epoch == store.control_epoch + 1
        with pytest.raises(Unavailable) as refused:
            await store.write(insert("after@x"))
        assert refused.value.reason == "CONTROL_PLANE_SUPERSEDED"
        await newer.write(insert("newer@x"))
        assert await store.read(emails) == {"before@x", "newer@x"}
    finally:
        await newer.close()


async def test_a_database_restored_from_a_backup_gives_a_newer_epoch_than_any_before(
    tmp_path: Path, clock: FakeClock
) -> None:
    url, backup = f"sqlite:///{tmp_path / 'live.db'}", tmp_path / "backup.db"
    epochs = []
    for number in range(3):
        store = await Store.open(url, clock=clock)
        epochs.append(store.control_epoch)
        await store.close()
        if number == 0:
            shutil.copy(tmp_path / "live.db", backup)
        clock.advance(60)
    shutil.copy(backup, tmp_path / "live.db")
    restored = await Store.open(url, clock=clock)
    assert restored.control_epoch > max(epochs)
    await restored.close()


async def test_control_planes_that_start_at_once_agree_on_the_tables_and_on_who_is_newest(
    tmp_path: Path, clock: FakeClock
) -> None:
    stores = await asyncio.gather(*(Store.open(f"sqlite:///{tmp_path}/new.db", clock=clock) for _ in range(4)))
    first = int(clock.now().timestamp())
    assert sorted(store.control_epoch for store in stores) == [first, first + 1, first + 2, first + 3]
    for store in stores:
        await store.close()


_OPEN = """
import asyncio, sys
from control_plane.clock import SystemClock
from control_plane.store.database import Store

async def main():
    store = await Store.open(sys.argv[1], clock=SystemClock())
    print(store.control_epoch)
    await store.close()

asyncio.run(main())
"""


async def test_processes_that_start_at_once_on_an_empty_database_all_succeed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _OPEN, f"sqlite:///{tmp_path}/new.db"]
    children = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(3)]
    said = [(await child.communicate())[0] for child in children]
    assert len({int(text) for text in said}) == 3


async def test_a_read_sees_one_moment_however_long_it_takes(store: Store) -> None:
    await store.write(insert("before@x"))
    reading, written = Event(), Event()

    def twice(tx: Tx) -> tuple[int, int]:
        first = users.count(tx)
        reading.set()
        written.wait(30)
        tx.session.expire_all()
        return first, users.count(tx)

    read = asyncio.ensure_future(store.read(twice))
    await asyncio.to_thread(reading.wait, 30)
    await store.write(insert("meanwhile@x"))
    written.set()
    assert await read == (1, 1)
    assert await store.read(users.count) == 2


async def test_who_waits_for_a_change_is_woken_by_the_commit_and_finds_it(store: Store) -> None:
    seen = store.changes.newest
    waiting = asyncio.ensure_future(store.changes.wait_beyond(seen))
    await asyncio.sleep(0)
    await store.write(announce("a"))
    newest = await asyncio.wait_for(waiting, 30)
    assert [event.sequence for event in await store.read(lambda tx: events.after(tx, seen))] == [newest]


async def test_events_are_in_the_order_of_commits_and_pruning_keeps_the_newest(store: Store) -> None:
    await asyncio.gather(*(store.write(announce(str(number))) for number in range(20)))
    found = await store.read(lambda tx: events.after(tx, 0))
    assert [event.id for event in found] == [str(number) for number in range(20)]
    assert [event.sequence for event in found] == sorted(event.sequence for event in found)
    await store.write(lambda tx: events.prune(tx, keep=5))
    kept = await store.read(lambda tx: events.after(tx, 0))
    assert [event.id for event in kept] == [str(number) for number in range(15, 20)]
    await store.write(announce("next"))
    assert await store.read(events.newest) == kept[-1].sequence + 1


async def test_events_are_numbered_on_after_all_were_pruned_and_the_store_was_reopened(
    store: Store, database_url: str, clock: FakeClock
) -> None:
    await store.write(announce("a"))
    newest = store.changes.newest
    await store.write(lambda tx: events.prune(tx, keep=0))
    await store.close()
    reopened = await Store.open(database_url, clock=clock)
    try:
        await reopened.write(announce("b"))
        assert reopened.changes.newest > newest
    finally:
        await reopened.close()


REWRITES = ["UPDATE audit_records SET outcome = 'nothing happened'", "DELETE FROM audit_records"]
REWRITES_OF = {
    "sqlite": [
        "INSERT OR REPLACE INTO audit_records SELECT * FROM audit_records",
        "REPLACE INTO audit_records SELECT * FROM audit_records",
        "UPDATE OR REPLACE audit_records SET id = id",
    ],
    "postgresql": [
        "TRUNCATE audit_records CASCADE",
        "INSERT INTO audit_records SELECT * FROM audit_records ON CONFLICT (id) DO UPDATE SET outcome = ''",
    ],
}


async def test_audit_records_cannot_be_changed_or_deleted(store: Store) -> None:
    await store.write(lambda tx: audit.append(tx, agent_name="a", action="b", reasoning="because", outcome="done"))
    before = await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    for statement in REWRITES + REWRITES_OF[store.dialect]:
        with store._engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(statement))
    assert await store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest())) == before


async def test_money_is_exact_to_the_millionth(store: Store) -> None:
    amounts = [Decimal("0.000001"), Decimal("9007199254.740993"), Decimal("0.1"), Decimal("0.2"), from_micros(2**62)]
    user = someone("rich@x")
    await store.write(lambda tx: users.insert(tx, user, "hash"))
    for amount in amounts:
        await store.write(lambda tx, more=amount: users.account(tx, user.id, spent_usd=more, reserved_usd=-more))  # type: ignore[misc]
    kept = await store.read(lambda tx: users.require(tx, user.id))
    assert (kept.spent_usd, kept.reserved_usd) == (sum(amounts), -sum(amounts))


async def test_times_come_back_aware_to_the_microsecond_and_naive_ones_are_refused(store: Store) -> None:
    when = datetime(2026, 3, 29, 1, 30, 0, 123_457, tzinfo=UTC)
    row = UserRow(id="1", email="a@x", password_hash="", role="user", created_at=when)
    await store.write(lambda tx: tx.session.add(row))
    kept = await store.read(lambda tx: users.by_email(tx, "A@x"))
    assert kept is not None
    assert kept.created_at == when
    assert kept.created_at.tzinfo is UTC
    naive = UserRow(id="2", email="b@x", password_hash="", role="user", created_at=when.replace(tzinfo=None))
    with pytest.raises(Unavailable, match="naive"):
        await store.write(lambda tx: tx.session.add(naive))


async def test_a_closed_store_refuses_at_once_instead_of_letting_callers_wait(store: Store) -> None:
    queued = [asyncio.ensure_future(store.write(insert(f"{number}@x"))) for number in range(3)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*queued)
    for call in (store.write(insert("late@x")), store.read(emails)):
        with pytest.raises(Unavailable):
            await asyncio.wait_for(call, 30)
    with pytest.raises(Unavailable):
        await store.changes.wait_beyond(store.changes.newest)
    await store.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:"])
async def test_a_bad_url_is_refused_with_what_to_write_instead(url: str, clock: FakeClock) -> None:
    with pytest.raises(InvalidArgument, match="sqlite:///PATH"):
        await Store.open(url, clock=clock)


@pytest.mark.parametrize("url", ["sqlite:////proc/none/x.db", "postgresql://u@/db?host=/nowhere"])
async def test_a_database_that_cannot_be_reached_is_unavailable(url: str, clock: FakeClock) -> None:
    with pytest.raises(Unavailable):
        await Store.open(url, clock=clock)
