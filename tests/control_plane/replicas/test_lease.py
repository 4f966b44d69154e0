"""The lease of the leader in a real JetStream; each replica has a clock of its own, moved by the test."""

import itertools

import pytest
import pytest_asyncio

from control_plane.bus.bucket import Bucket
from control_plane.bus.client import Bus
from control_plane.bus.subjects import REPLICA_BUCKET
from control_plane.replicas.lease import KEY, Holder, Lease, LeaseTerms
from tests.fake_clock import FakeClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

TERMS = LeaseTerms()

_numbers = itertools.count()


@pytest_asyncio.fixture(loop_scope="module")
async def bucket(bus: Bus) -> Bucket:
    bucket = Bucket(bus, f"{REPLICA_BUCKET}_{next(_numbers)}")
    assert await bucket.ensure() == 1, "a single server keeps one copy"
    assert await bucket.ensure() == 1, "and the bucket is not made twice"
    return bucket


def lease(bucket: Bucket, name: str) -> tuple[Lease, FakeClock]:
    clock = FakeClock()
    return Lease(bucket, Holder(name, f"{name}-1"), clock=clock, terms=TERMS), clock


async def test_one_replica_holds_the_lease_until_nobody_has_seen_it_renewed_for_long_enough(bucket: Bucket) -> None:
    (one, clock_of_one), (two, clock_of_two) = lease(bucket, "one"), lease(bucket, "two")
    assert await one.try_take()
    assert one.held
    for _ in range(5):
        assert not await two.try_take()
        clock_of_one.advance(TERMS.renew_seconds)
        clock_of_two.advance(TERMS.renew_seconds)
        assert await one.renew()
    assert not await two.try_take()
    clock_of_two.advance(TERMS.take_seconds - 0.01)
    assert not await two.try_take()
    clock_of_two.advance(0.01)
    assert await two.try_take()
    assert not await one.renew()


async def test_a_holder_stops_by_its_own_clock_before_another_one_may_begin(bucket: Bucket) -> None:
    one, clock = lease(bucket, "one")
    assert await one.try_take()
    clock.advance(TERMS.hold_seconds)
    assert not one.held
    assert TERMS.hold_seconds < TERMS.take_seconds


async def test_of_those_who_find_the_lease_free_at_once_one_gets_it(bucket: Bucket) -> None:
    leases = [lease(bucket, f"r{number}")[0] for number in range(4)]
    assert [await one.try_take() for one in leases] == [True, False, False, False]


async def test_a_lease_that_is_given_back_is_taken_at_once(bucket: Bucket) -> None:
    (one, _), (two, _) = lease(bucket, "one"), lease(bucket, "two")
    assert await one.try_take()
    await one.give_back()
    assert not one.held
    assert await two.try_take()


async def test_a_lease_is_given_back_also_after_a_renewal_that_was_given_up_on_its_way(bucket: Bucket) -> None:
    (one, _), (two, _) = lease(bucket, "one"), lease(bucket, "two")
    assert await one.try_take()
    await bucket.put(KEY, one.mine.to_json())
    await one.give_back()
    assert await two.try_take()
    await one.give_back()
    assert await two.renew(), "what another one holds is not given away"


async def test_a_renewal_whose_answer_was_lost_is_known_as_its_own(bucket: Bucket) -> None:
    one, _ = lease(bucket, "one")
    assert await one.try_take()
    await bucket.put(KEY, one.mine.to_json())
    assert await one.renew()
    await bucket.put(KEY, Holder("one", "one-2").to_json())
    assert not await one.renew(), "the same replica, started anew, is another holder"


async def test_a_value_changes_only_from_the_revision_that_was_read(bucket: Bucket) -> None:
    assert await bucket.get("a") is None
    first = await bucket.swap("a", b"1", revision=0)
    assert first is not None
    assert await bucket.swap("a", b"2", revision=0) is None
    second = await bucket.swap("a", b"2", revision=first)
    entry = await bucket.get("a")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"2", second)
