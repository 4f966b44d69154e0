"""Writes that wait share a commit; each of them stands or falls alone."""

import asyncio
import gc
from threading import Event

import pytest

from control_plane.errors import Conflict, NotFound
from control_plane.store import events, users
from control_plane.store.database import Store, Tx
from control_plane.store.tables import UserRow
from control_plane.store.writer import Write
from tests.control_plane.store.writes import NOON, announce, emails, insert, someone, together


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
