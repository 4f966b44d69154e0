"""One PostgreSQL under several control planes: who may write, and in which order others see it."""

import asyncio

import pytest

from control_plane.agents.pausing import Pause
from control_plane.errors import Unavailable
from control_plane.model.record import Noun
from control_plane.store import agents, events
from control_plane.store.database import Store

pytestmark = pytest.mark.postgres


async def test_each_may_write_what_people_and_hosts_say(pair: tuple[Store, Store]) -> None:
    for store in (*pair, *pair):
        await store.write(lambda tx: tx.emit(Noun.JOB, "j", "job.noted", ""))
        await store.confirm()


async def test_what_an_older_epoch_decides_is_refused_and_changes_nothing(pair: tuple[Store, Store]) -> None:
    one, two = pair
    older = one.of_epoch(await one.take_epoch("one", allowed=lambda: True))
    await older.write(lambda tx: tx.emit(Noun.JOB, "first", "job.noted", ""))
    newer = two.of_epoch(await two.take_epoch("two", allowed=lambda: True))
    assert newer.control_epoch > older.control_epoch
    before = await one.newest_event()
    with pytest.raises(Unavailable) as refused:
        await older.write(lambda tx: tx.emit(Noun.JOB, "late", "job.noted", ""))
    assert refused.value.reason == "CONTROL_PLANE_SUPERSEDED"
    assert older.superseded
    assert await two.newest_event() == before
    await one.write(lambda tx: tx.emit(Noun.JOB, "said", "job.noted", ""))
    await newer.write(lambda tx: tx.emit(Noun.JOB, "decided", "job.noted", ""))
    assert (await one.leadership())[:2] == (newer.control_epoch, "two")
    assert await one.read(one.epoch_of_orders) == newer.control_epoch


async def test_of_writes_that_share_a_commit_each_is_judged_by_its_own_epoch(pair: tuple[Store, Store]) -> None:
    one, two = pair
    older = one.of_epoch(await one.take_epoch("one", allowed=lambda: True))
    await two.take_epoch("two", allowed=lambda: True)
    outcomes = await asyncio.gather(
        *(store.write(lambda tx: tx.now) for store in (one, older, one, older)), return_exceptions=True
    )
    assert [isinstance(outcome, Unavailable) for outcome in outcomes] == [False, True, False, True]


async def test_no_epoch_is_taken_by_who_does_not_hold_the_lease_any_more(pair: tuple[Store, Store]) -> None:
    one, _ = pair
    before = await one.leadership()
    with pytest.raises(Unavailable):
        await one.take_epoch("one", allowed=lambda: False)
    assert await one.leadership() == before


async def test_events_become_visible_in_the_order_of_their_numbers_whoever_writes_them(
    pair: tuple[Store, Store],
) -> None:
    one, two = pair
    writing = asyncio.gather(
        *(store.write(lambda tx: tx.emit(Noun.JOB, "j", "job.noted", "")) for _ in range(150) for store in pair)
    )
    seen: list[int] = []
    while not writing.done():
        for store in (two, one):
            page = await store.read(lambda tx: events.after(tx, 0, limit=1_000))
            # Nothing ever appears before what was seen already.
            assert [event.sequence for event in page][: len(seen)] == seen
            seen = [event.sequence for event in page]
    await writing
    assert len(await one.read(lambda tx: events.after(tx, 0, limit=1_000))) == 300


async def test_a_pause_that_another_control_plane_has_recorded_holds_at_once(pair: tuple[Store, Store]) -> None:
    one, two = pair
    await one.write(lambda tx: agents.register(tx, "a"))
    pause = Pause(one, "a")
    assert not await pause.holds()
    await two.write(lambda tx: agents.set_paused(tx, "a", paused=True))
    assert await pause.holds()
