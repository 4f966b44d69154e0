"""The loops that follow the store's events: a database that goes away for a moment must not end them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from control_plane.agents.announcer import Announcer
from control_plane.agents.revocation import Revocation
from control_plane.bus.client import Bus
from control_plane.bus.messages import Outgoing, Published
from control_plane.clock import SystemClock
from control_plane.errors import Unavailable
from control_plane.model.ids import NodeId
from control_plane.model.record import Noun
from control_plane.store.database import Store, Tx
from control_plane.store.feed import EventFeed
from control_plane.urgency import Urgency
from tests.fake_clock import FakeClock


class _Heard(Bus):
    """A bus that remembers what it is told to publish."""

    def __init__(self) -> None:
        self.subjects: asyncio.Queue[str] = asyncio.Queue()

    async def publish_events(self, messages: Sequence[Outgoing]) -> Published:
        for message in messages:
            self.subjects.put_nowait(message.subject)
        return Published(len(messages))


class _Failing:
    """Makes the next read of events fail, and tells when it did."""

    def __init__(self, store: Store) -> None:
        self.failed = asyncio.Event()
        self._read = store.read

    async def read(self, function: Callable[[Tx], object]) -> object:
        if not self.failed.is_set():
            self.failed.set()
            raise Unavailable("the server was restarted", reason="STORE_UNAVAILABLE")
        return await self._read(function)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"sqlite:///{tmp_path / 'orquanta.db'}", clock=SystemClock())
    yield store
    await store.close()


def _revoke(tx: Tx) -> None:
    tx.emit(Noun.NODE, "n-000000000001", "node.revoked", "stolen")


async def test_the_announcer_announces_what_was_committed_while_the_database_could_not_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus, failing = _Heard(), _Failing(store)
    monkeypatch.setattr(store, "feed", EventFeed(store.changes, failing.read))
    running = asyncio.ensure_future(Announcer(store, bus).run())
    await asyncio.sleep(0)
    await store.write(_revoke)
    async with asyncio.timeout(30):
        await failing.failed.wait()
        assert await bus.subjects.get() == "orq.event.node.n-000000000001"
    running.cancel()


async def test_the_announcer_waits_for_what_is_urgent_before_each_part_of_what_there_is_to_announce(
    store: Store,
) -> None:
    class Counted(Urgency):
        """Counts how often somebody asks whether it is calm."""

        asked = 0

        async def calm(self) -> None:
            self.asked += 1
            await super().calm()

    bus, urgency = _Heard(), Counted(longest_wait_seconds=0.01)
    running = asyncio.ensure_future(Announcer(store, bus, urgency=urgency).run())
    await asyncio.sleep(0)

    def write(tx: Tx) -> None:
        for number in range(3_000):
            tx.emit(Noun.NODE, f"n-{number:012}", "node.revoked", "stolen")

    with urgency.urgent():
        await store.write(write)
        async with asyncio.timeout(30):
            for number in range(3_000):
                assert await bus.subjects.get() == f"orq.event.node.n-{number:012}"
        assert urgency.asked == 2
    running.cancel()


async def test_what_one_whose_clock_was_behind_left_unannounced_is_announced_by_the_next_leader(tmp_path: Path) -> None:
    clock, bus = FakeClock(), _Heard()
    store = await Store.open(f"sqlite:///{tmp_path / 'orquanta.db'}", clock=clock)
    await store.write(_revoke)
    clock.advance(300)
    running = asyncio.ensure_future(Announcer(store, bus, again_seconds=60).run())
    async with asyncio.timeout(30):
        assert await bus.subjects.get() == "orq.event.node.n-000000000001"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()


async def test_a_revocation_is_felt_even_if_the_database_could_not_be_read_at_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: asyncio.Queue[NodeId] = asyncio.Queue()
    failing = _Failing(store)
    monkeypatch.setattr(store, "feed", EventFeed(store.changes, failing.read))

    async def note(node_id: NodeId) -> None:
        cut.put_nowait(node_id)

    running = asyncio.ensure_future(Revocation(store, note).run())
    await asyncio.sleep(0)
    await store.write(_revoke)
    async with asyncio.timeout(30):
        await failing.failed.wait()
        assert await cut.get() == "n-000000000001"
    running.cancel()
