"""What replicas tell and ask each other over a real broker."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from control_plane.bus.bucket import Bucket
from control_plane.bus.client import Bus, Message
from control_plane.bus.deltas import Deltas
from control_plane.bus.subjects import REPLICA_BUCKET, replica_link
from control_plane.clock import SystemClock
from control_plane.model.ids import NODE, NodeId, RunId, new_id
from control_plane.model.record import Noun
from control_plane.model.run import EventType, ReasoningEvent
from control_plane.replicas.deltas import DeltaRelay
from control_plane.replicas.directory import Announcement, Directory
from control_plane.replicas.leadership import Leadership
from control_plane.replicas.lease import Holder, Lease, LeaseTerms
from control_plane.replicas.wakes import Wakes
from control_plane.services.link_peers import LinkPeers
from control_plane.services.link_registry import LinkRegistry
from control_plane.services.link_terms import LinkTerms
from control_plane.store.database import Store
from tests.control_plane.bus.conftest import eventually
from tests.fake_clock import FakeClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()


@dataclass
class HeldLink:
    """A link as the registry knows it."""

    node_id: NodeId
    boot_id: str = "boot"

    def end(self, reason: str, *, permanent: bool = False, retry_after_seconds: float = 0.0) -> None:
        raise AssertionError((reason, permanent, retry_after_seconds))


def announcement(name: str) -> Announcement:
    return Announcement(name, name, "a:1", f"{name}:2", 0, "0.1.0", "p", "s", "2026-05-04T12:00:00+00:00")


def directory(name: str) -> Directory:
    said = announcement(name)
    return Directory(lambda: said, clock=CLOCK)


@contextlib.asynccontextmanager
async def running(*loops: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


@pytest_asyncio.fixture(loop_scope="module")
async def pair(sqlite_url: str) -> AsyncIterator[tuple[Store, Store]]:
    one = await Store.open(sqlite_url, clock=CLOCK, shared=True)
    two = await Store.open(sqlite_url, clock=CLOCK, shared=True)
    yield one, two
    await one.close()
    await two.close()


async def test_replicas_find_each_other(bus: Bus) -> None:
    bucket = Bucket(bus, f"{REPLICA_BUCKET}_FOUND")
    await bucket.ensure()
    alpha, beta = directory("alpha"), directory("beta")
    async with running(alpha.run(bucket), beta.run(bucket)):
        await eventually(lambda: alpha.is_there("beta") and beta.is_there("alpha"))
        # A replica that is not heard for seconds, as on a busy machine, is not there for as long.
        await eventually(lambda: set(alpha.link_servers()) == set(beta.link_servers()) == {"alpha:2", "beta:2"})


async def test_a_commit_of_one_wakes_who_waits_at_the_other(bus: Bus, pair: tuple[Store, Store]) -> None:
    one, two = pair
    async with running(Wakes(one, bus).run(), Wakes(two, bus).run()):
        for _ in range(3):
            seen = two.changes.newest
            await one.write(lambda tx: tx.emit(Noun.JOB, "j", "job.noted", ""))
            async with asyncio.timeout(30):
                assert await two.changes.wait_beyond(seen) == one.changes.newest


async def test_who_was_not_told_of_a_commit_looks_by_itself(bus: Bus, pair: tuple[Store, Store]) -> None:
    one, two = pair
    async with running(Wakes(two, bus).run()):
        await one.write(lambda tx: tx.emit(Noun.JOB, "j", "job.noted", ""))
        await eventually(lambda: two.changes.newest == one.changes.newest)


async def test_a_second_host_with_one_identity_is_found_by_the_replica_that_holds_the_first(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.services.link_peers._ANSWER_SECONDS", 30.0)
    node_id = new_id(NODE)
    holding, other = LinkRegistry(clock=CLOCK, shared=True), LinkRegistry(clock=CLOCK, shared=True)
    holding.add(HeldLink(node_id))
    holding.hosts = 120_000  # which beat thrice in a lease
    terms = LinkTerms(heartbeat_seconds=0.0, lease_seconds=180)
    async with (
        LinkPeers(bus, directory("holder"), holding, terms=terms, clock=CLOCK),
        LinkPeers(bus, directory("asker"), other, terms=terms, clock=CLOCK) as peers,
    ):
        rival = await peers.rival("holder", node_id, "another boot")
        assert rival is not None
        assert "another host" in rival.why
        assert rival.may_be_left
        assert await peers.rival("holder", node_id, "boot") is None, "a host that comes back"
        assert await peers.rival("gone", node_id, "another boot") is None, "a replica that does not answer has no links"
        assert await peers.rival("asker", node_id, "another boot") is None
        assert await peers.rival("", node_id, "another boot") is None


async def test_a_replica_that_does_not_answer_is_not_asked_about_each_of_its_hosts(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr("control_plane.services.link_peers._ANSWER_SECONDS", 0.05)
    asked: list[bytes] = []

    async def mute(question: bytes) -> None:
        asked.append(question)

    terms, registry = LinkTerms(), LinkRegistry(clock=clock, shared=True)
    subscription = await bus.serve(replica_link("mute"), mute)
    async with LinkPeers(bus, directory("curious"), registry, terms=terms, clock=clock) as peers:
        for _ in range(3):
            assert await peers.rival("mute", new_id(NODE), "boot") is None
        await eventually(lambda: len(asked) == 1)
        clock.advance(4)
        assert await peers.rival("mute", new_id(NODE), "boot") is None
        await eventually(lambda: len(asked) == 2)
    await subscription.close()


async def test_a_late_answer_of_a_replica_that_is_there_says_nothing_about_its_other_hosts(
    bus: Bus, clock: FakeClock
) -> None:
    async def answer(_question: bytes) -> bytes:
        return b'{"why": "another host is connected"}'

    near, late = announcement("near"), announcement("late")
    replicas = Directory(lambda: near, clock=clock)
    await replicas._take(Message("$KV.ORQ_REPLICAS.replica.late", json.dumps(asdict(late)).encode(), {}))
    registry = LinkRegistry(clock=clock, shared=True)
    async with LinkPeers(bus, replicas, registry, terms=LinkTerms(), clock=clock) as peers:
        assert await peers.rival("late", new_id(NODE), "boot") is None, "nobody has answered"
        subscription = await bus.serve(replica_link("late"), answer)

        async def is_refused() -> bool:
            rival = await peers.rival("late", new_id(NODE), "boot")
            return rival is not None and "another host" in rival.why

        await eventually(is_refused)
        await subscription.close()


async def test_what_a_model_writes_at_the_leader_is_read_at_the_others(bus: Bus) -> None:
    leaders, others = Deltas(), Deltas()
    piece = ReasoningEvent(
        RunId("run-0123456789ab"), 3, "orchestrator", None, EventType.MODEL_DELTA, "so", "", (), False,
        datetime(2026, 5, 4, tzinfo=UTC),
    )  # fmt: skip
    async with running(DeltaRelay(bus, leaders).tell(), DeltaRelay(bus, others).listen(lambda: False)()):
        with others.reader() as pieces:
            reading = asyncio.ensure_future(anext(aiter(pieces)))
            async with asyncio.timeout(30):
                while not reading.done():
                    leaders.publish(piece)
                    await asyncio.sleep(0.01)
        assert (await reading).run_id == piece.run_id


async def test_the_leaders_work_is_done_by_one_and_passes_on_when_it_stops(bus: Bus, pair: tuple[Store, Store]) -> None:
    bucket = Bucket(bus, f"{REPLICA_BUCKET}_LEAD")
    await bucket.ensure()
    works: list[tuple[str, int]] = []

    def candidate(name: str, store: Store) -> Leadership:
        async def work(own: Store) -> None:
            works.append((name, own.control_epoch))
            await asyncio.Event().wait()

        terms = LeaseTerms(hold_seconds=30.0, take_seconds=40.0)
        return Leadership(store, Lease(bucket, Holder(name, name), clock=CLOCK, terms=terms), work, terms=terms)

    one, two = candidate("one", pair[0]), candidate("two", pair[1])
    async with contextlib.AsyncExitStack() as stack:
        async with running(one.run()):
            await eventually(lambda: one.leads)
            await stack.enter_async_context(running(two.run()))
            assert not two.leads
        await eventually(lambda: two.leads, 60)  # or when the lease runs out, if the broker was away just then
    assert [name for name, _ in works] == ["one", "two"]
    assert works[0][1] < works[1][1]


async def test_a_leader_whose_epoch_was_taken_over_stops_working(bus: Bus, pair: tuple[Store, Store]) -> None:
    bucket = Bucket(bus, f"{REPLICA_BUCKET}_OVER")
    await bucket.ensure()
    epochs: list[int] = []
    stopped = 0

    async def work(own: Store) -> None:
        nonlocal stopped
        epochs.append(own.control_epoch)
        try:
            await asyncio.Event().wait()
        finally:
            stopped += 1

    terms = LeaseTerms(renew_seconds=0.05, hold_seconds=30.0, take_seconds=40.0)
    lease = Lease(bucket, Holder("one", "one"), clock=CLOCK, terms=terms)
    async with running(Leadership(pair[0], lease, work, terms=terms).run()):
        await eventually(lambda: len(epochs) == 1)
        taken = await pair[1].take_epoch("two", allowed=lambda: True)
        await eventually(lambda: stopped == 1 and len(epochs) == 2, 60)
    assert epochs[0] < taken < epochs[1]
