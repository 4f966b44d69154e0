import asyncio
import gc
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from control_plane.errors import Conflict, InvalidArgument, NotFound, Unavailable
from control_plane.model.account import User
from control_plane.model.identity import Role
from control_plane.model.ids import new_user_id
from control_plane.model.money import from_micros
from control_plane.model.record import Noun
from control_plane.store import audit, events, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from control_plane.store.tables import UserRow
from control_plane.store.writer import Write
from tests.fake_clock import FakeClock

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def someone(email: str) -> User:
    return User(new_user_id(), email, Role.USER, False, NOON, None, Decimal(0), Decimal(0), None)


def insert(email: str) -> Callable[[Tx], None]:
    return lambda tx: users.insert(tx, someone(email), "hash")


def emails(tx: Tx) -> set[str]:
    return set(tx.session.execute(select(col(UserRow.email))).scalars())


def announce(name: str) -> Callable[[Tx], None]:
    return lambda tx: tx.emit(Noun.GOAL, name, f"goal.{name}", "")


async def together(store: Store, *functions: Callable[[Tx], object]) -> list[object]:
    """Queue writes behind one that holds the writer, so that they form one batch."""
    started, release = Event(), Event()

    def hold_the_writer(_tx: Tx) -> None:
        started.set()
        release.wait(30)

    first = asyncio.ensure_future(store.write(hold_the_writer))
    await asyncio.to_thread(started.wait, 30)
    rest = asyncio.gather(*(store.write(function) for function in functions), return_exceptions=True)
    await asyncio.sleep(0)
    release.set()
    await first
    return list(await rest)


async def test_writes_that_wait_share_a_commit_and_a_failing_one_undoes_only_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    writer = store._database.writer
    commit = writer._commit

    def counted(batch: list[Write[object]]) -> None:
        batches.append(len(batch))
        commit(batch)

    monkeypatch.setattr(writer, "_commit", counted)

    def violate_a_key(tx: Tx) -> None:
        announce("violated")(tx)
        users.insert(tx, someone("third@x"), "hash")
        row = UserRow(id="1", email="third@x", password_hash="", role="user", created_at=NOON)
        tx.session.add(row)

    def fail(tx: Tx) -> None:
        announce("failed")(tx)
        users.insert(tx, someone("fourth@x"), "hash")
        raise ValueError("a bug")

    def refuse(tx: Tx) -> None:
        users.insert(tx, someone("fifth@x"), "hash")
        raise NotFound("there is no such thing")

    results = await together(
        store, insert("second@x"), violate_a_key, fail, refuse, announce("good"), insert("sixth@x")
    )
    assert [type(result) for result in results] == [type(None), Conflict, ValueError, NotFound, type(None), type(None)]
    assert await store.read(emails) == {"second@x", "sixth@x"}
    assert batches == [1, 6]
    assert [event.id for event in await store.read(lambda tx: events.after(tx, 0))] == ["good"]


async def test_a_savepoint_undoes_its_part_with_its_events_and_the_rest_goes_on(store: Store) -> None:
    def fail_inside(tx: Tx) -> None:
        with tx.savepoint():
            announce("inside")(tx)
            insert("inside@x")(tx)
            tx.session.add(UserRow(id="1", email="inside@x", password_hash="", role="user", created_at=NOON))

    def write(tx: Tx) -> None:
        announce("before")(tx)
        insert("before@x")(tx)
        with pytest.raises(Conflict):
            fail_inside(tx)
        announce("after")(tx)

    await store.write(write)
    assert await store.read(emails) == {"before@x"}
    found = await store.read(lambda tx: events.after(tx, 0))
    assert [event.id for event in found] == ["before", "after"]
    assert store.changes.newest == found[-1].sequence


async def test_a_write_sees_what_it_has_just_written_in_sums_and_searches(store: Store) -> None:
    def write(tx: Tx) -> tuple[int, int]:
        tx.session.add(UserRow(id="1", email="a@x", password_hash="", role="user", created_at=NOON))
        before = users.count(tx)
        row = tx.session.get(UserRow, "1")
        assert row is not None
        row.spent_usd_micros = 5
        return before, int(users.totals(tx)[0] * 1_000_000)

    assert await store.write(write) == (1, 5)


async def test_a_caller_that_goes_away_does_not_undo_its_write(store: Store) -> None:
    release = Event()

    def slow(tx: Tx) -> None:
        release.wait(30)
        insert("kept@x")(tx)

    task = asyncio.ensure_future(store.write(slow))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await store.write(insert("later@x"))
    assert await store.read(emails) == {"kept@x", "later@x"}


async def test_a_write_that_fails_after_its_caller_went_away_is_no_bug_of_the_event_loop(store: Store) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    release = Event()

    def slow(tx: Tx) -> None:
        release.wait(30)
        raise NotFound("nothing there")

    task = asyncio.ensure_future(store.write(slow))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    release.set()
    await store.write(insert("later@x"))
    gc.collect()
    assert told == []


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


async def test_who_waits_for_a_commit_hears_of_it_before_anybody_hears_of_the_change(store: Store) -> None:
    heard: list[str] = []
    seen = store.changes.newest

    async def watch() -> None:
        await store.changes.wait_beyond(seen)
        heard.append("change")

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await store.write(announce("one"), committed=lambda _: heard.append("commit"))
    await watching
    assert heard == ["commit", "change"]


async def test_nobody_hears_of_a_commit_that_did_not_happen(store: Store) -> None:
    heard: list[str] = []

    def fail(_tx: Tx) -> None:
        raise NotFound("no such thing")

    with pytest.raises(NotFound):
        await store.write(fail, committed=lambda _: heard.append("commit"))
    await store.read(lambda _: None)
    assert heard == []
