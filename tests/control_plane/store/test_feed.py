"""The newest events in memory: what the writer hands over is what the database has, and nothing is missing."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, update
from sqlalchemy.exc import OperationalError
from sqlmodel import col

from control_plane.errors import NotFound, Unavailable
from control_plane.model.record import Event, Noun
from control_plane.store import events, feed
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from control_plane.store.tables import EventRow

JOB, NODE = (Noun.JOB,), (Noun.NODE,)


def say(*names: str, noun: Noun = Noun.JOB) -> Callable[[Tx], None]:
    def write(tx: Tx) -> None:
        for name in names:
            tx.emit(noun, name, "test.said", f"{name} ü", parent_id="p")

    return write


def undo_a_part(tx: Tx) -> None:
    say("before")(tx)
    with contextlib.suppress(NotFound), tx.savepoint():
        say("undone", "undone too")(tx)
        tx.settle()  # so that the database has given them numbers
        raise NotFound("there is no such thing")
    say("after")(tx)


def fail(tx: Tx) -> None:
    say("failed")(tx)
    tx.settle()
    raise NotFound("there is no such thing")


async def in_store(store: Store) -> tuple[Event, ...]:
    return await store.read(lambda tx: events.after(tx, 0, limit=10_000))


async def names_after(store: Store, position: int, **which: object) -> list[str]:
    page = await store.feed.since(position, **which)  # type: ignore[arg-type] # by test
    return [event.id for event in page.events]


@pytest.fixture
def unread(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the memory of a store reads from the database, which is nothing where one process writes."""
    reads: list[object] = []
    read = store.feed._read

    async def noted(function: Callable[[Tx], object]) -> object:
        reads.append(function)
        return await read(function)

    monkeypatch.setattr(store.feed, "_read", noted)
    return reads


async def test_what_is_handed_over_is_what_the_database_has_whatever_was_undone(
    store: Store, unread: list[object]
) -> None:
    await store.write(say("one", "two"))
    results = await asyncio.gather(
        *(store.write(one) for one in (say("three"), fail, undo_a_part, say(), say("last", noun=Noun.NODE))),
        return_exceptions=True,
    )
    assert [type(one) for one in results] == [type(None), NotFound, type(None), type(None), type(None)]
    page = await store.feed.since(0)
    assert page.events == await in_store(store)
    assert [one.id for one in page.events] == ["one", "two", "three", "before", "after", "last"]
    assert (page.position, page.more, page.whole) == (store.changes.newest, False, True)
    assert unread == []


async def test_memory_has_what_a_caller_has_written_when_it_hears_of_it(store: Store) -> None:
    for number in range(5):
        await store.write(say(str(number)))
        assert store.feed.current
        assert await names_after(store, 0) == [str(one) for one in range(number + 1)]


async def test_events_are_taken_by_noun_and_by_number(store: Store) -> None:
    await store.write(say("a", "b"))
    await store.write(say("n", noun=Noun.NODE))
    await store.write(say("c"))
    assert await names_after(store, 0, nouns=JOB) == ["a", "b", "c"]
    assert await names_after(store, 0, nouns=NODE) == ["n"]
    first = await store.feed.since(0, nouns=JOB, limit=2)
    assert ([event.id for event in first.events], first.more) == (["a", "b"], True)
    rest = await store.feed.since(first.position, nouns=JOB, limit=2)
    assert ([event.id for event in rest.events], rest.more) == (["c"], False)
    assert rest.position == store.changes.newest


async def test_who_is_further_behind_than_memory_reads_the_database_and_misses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "REMEMBERED_MAX", 10)
    for number in range(25):
        await store.write(say(str(number), noun=Noun.NODE if number % 5 else Noun.JOB))
    found, position, more = [], 0, True
    while more:
        page = await store.feed.since(position, limit=4)
        assert page.whole
        found += [event.id for event in page.events]
        position, more = page.position, page.more
    assert found == [str(number) for number in range(25)]
    assert await names_after(store, 0, nouns=JOB) == ["0", "5", "10", "15", "20"]
    assert len(store.feed._events) == 10
    assert (await store.feed.beyond(0))[1] is None
    newest, known = await store.feed.beyond((await in_store(store))[-11].sequence)
    assert known == (await in_store(store))[-10:]
    assert newest == store.changes.newest


async def test_long_messages_make_memory_reach_less_far_back(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CHARACTERS_MAX", 1_000)
    for length in (10, 300, 300, 300, 300, 2_000, 5):
        await sqlite_store.write(partial(Tx.emit, noun=Noun.NODE, item_id="n", kind="test.said", message="x" * length))
        assert sum(len(event.message) for event in sqlite_store.feed._events) == sqlite_store.feed._characters <= 1_000
    assert [len(event.message) for event in sqlite_store.feed._events] == [5]
    assert len((await sqlite_store.feed.since(0)).events) == 7


async def test_who_is_behind_what_was_pruned_is_told_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "REMEMBERED_MAX", 2)
    for number in range(6):
        await store.write(say(str(number)))
    await store.write(lambda tx: events.prune(tx, keep=3))
    page = await store.feed.since(0)
    assert ([event.id for event in page.events], page.whole) == (["3", "4", "5"], False)
    assert (await store.feed.since(page.position)).whole


async def test_events_that_are_deleted_by_the_commit_that_wrote_them_are_no_guess(store: Store) -> None:
    await store.write(say("first"))

    def write(tx: Tx) -> None:
        say("gone", "kept")(tx)
        events.prune(tx, keep=1)

    await store.write(write)
    await store.write(say("later"))
    # What is between is not known any more, and nobody is made to believe otherwise.
    page = await store.feed.since(0)
    assert ([event.id for event in page.events], page.whole) == (["kept", "later"], False)


async def test_who_waits_for_what_concerns_it_is_not_woken_by_others(store: Store) -> None:
    looked: list[str] = []

    def concerns(event: Event) -> bool:
        looked.append(event.id)
        return event.noun is Noun.NODE

    waiting = asyncio.ensure_future(store.feed.reason(concerns, store.feed.newest))
    await asyncio.sleep(0)
    await store.write(say("a"))
    await store.write(say("b"))
    await store.write(say("c", "n", noun=Noun.NODE))
    position = await asyncio.wait_for(waiting, 30)
    assert await names_after(store, position) == ["c", "n"]
    assert looked == ["a", "b", "c"]


@pytest.mark.postgres
async def test_among_control_planes_everybody_has_the_events_of_all_in_order_and_reads_them_once(
    pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    reads: list[int] = []
    read = two.feed._read

    async def noted(function: Callable[[Tx], object]) -> object:
        reads.append(two.feed.newest)
        return await read(function)

    monkeypatch.setattr(two.feed, "_read", noted)
    for store in pair:  # each hears of the other's commits
        other = two if store is one else one
        store.on_commit(other.changes.advance)
    seen: list[list[int]] = [[] for _ in range(8)]

    async def follow(mine: list[int], store: Store) -> None:
        position = 0
        while len(mine) < 240:
            await store.feed.beyond(position)
            page = await store.feed.since(position, limit=50)
            mine += [event.sequence for event in page.events]
            position = page.position

    async def write(store: Store) -> None:
        for _ in range(40):
            await asyncio.gather(store.write(say("x", "y")), store.write(undo_a_part), return_exceptions=True)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for index, mine in enumerate(seen):
            tasks.create_task(follow(mine, pair[index % 2]))
        for store in pair:
            tasks.create_task(partial(write, store)())
    written = [event.sequence for event in await in_store(one)]
    assert all(mine == written[: len(mine)] for mine in seen)
    assert reads == sorted(set(reads))  # nobody reads again what is known


async def test_one_that_is_handed_nothing_reads_each_event_once_for_all_who_wait(sqlite_store: Store) -> None:
    reads: list[object] = []

    async def read(function: Callable[[Tx], object]) -> object:
        reads.append(function)
        return await sqlite_store.read(function)

    beside = EventFeed(sqlite_store.changes, read)
    waiting = [asyncio.ensure_future(beside.beyond(0)) for _ in range(20)]
    await asyncio.sleep(0)
    await sqlite_store.write(say("a", "b"))
    found = await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert {tuple(event.id for event in known or ()) for _, known in found} == {("a", "b")}
    assert len(reads) == 1


async def test_what_a_commit_wrote_whose_answer_was_lost_is_told_without_another_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    position, commit, lost = store.feed.newest, Connection.commit, list[str]()

    def lose_one_answer(self: Connection) -> None:
        commit(self)
        if threading.current_thread().name == "store-write" and not lost:
            lost.append("answer")
            raise OperationalError("commit", {}, Exception("the server closed the connection unexpectedly"))

    monkeypatch.setattr(Connection, "commit", lose_one_answer)
    with pytest.raises(Unavailable, match="not known"):
        await store.write(say("in the books"))
    async with asyncio.timeout(30):
        await store.changes.wait_beyond(position)
    assert await names_after(store, position) == ["in the books"]


async def test_an_event_of_a_newer_control_plane_about_something_unknown_here_is_read_as_such(store: Store) -> None:
    def write(tx: Tx) -> None:
        say("of tomorrow")(tx)
        tx.settle()
        tx.session.execute(update(EventRow).where(col(EventRow.id) == "of tomorrow").values(noun="quota"))

    await store.write(write)
    assert [event.noun for event in await in_store(store) if event.id == "of tomorrow"] == [Noun.UNKNOWN]
