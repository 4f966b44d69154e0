"""The bus against a real broker: publishing and consuming."""

import asyncio

import pytest

from control_plane.bus.client import Bus, Delivery, Message
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.streams import Stream, StreamSpec, stream_specs
from control_plane.bus.subjects import EventNoun, event, events_of
from tests.control_plane.bus.conftest import Site

Streams = tuple[StreamSpec, ...]


JOB_EVENT = event(EventNoun.JOB, "j-1")


async def take(bus: Bus, durable: str, count: int, **options: float) -> list[Delivery]:
    """Consume and settle `count` events."""
    taken: list[Delivery] = []
    async for delivery in bus.consume(Stream.EVENTS, durable, **options):  # type: ignore[arg-type] # by test
        taken.append(delivery)
        await delivery.ack()
        if len(taken) == count:
            break
    return taken


async def test_same_message_id_is_stored_once(bus: Bus, streams: Streams) -> None:
    first = await bus.publish_event(JOB_EVENT, b"a", message_id="1")
    again = await bus.publish_event(JOB_EVENT, b"a", message_id="1")
    other = await bus.publish_event(JOB_EVENT, b"b", message_id="2")

    assert (first.stream, first.duplicate) == ("ORQ_EVENTS", False)
    assert (again.sequence, again.duplicate) == (first.sequence, True)
    assert (other.sequence, other.duplicate) == (first.sequence + 1, False)


async def test_concurrent_publishes_each_get_their_own_receipt(bus: Bus, streams: Streams) -> None:
    receipts = await asyncio.gather(
        *(bus.publish_event(JOB_EVENT, str(n).encode(), message_id=str(n)) for n in range(500))
    )
    assert {receipt.sequence for receipt in receipts} == set(range(1, 501))


async def test_consumer_gets_messages_in_order_with_what_their_publisher_gave(bus: Bus, streams: Streams) -> None:
    for number in range(5):
        await bus.publish_event(JOB_EVENT, str(number).encode(), message_id=f"id-{number}")

    taken = await take(bus, "reader", 5, batch=2)

    assert [delivery.data for delivery in taken] == [b"0", b"1", b"2", b"3", b"4"]
    assert [delivery.message_id for delivery in taken] == [f"id-{n}" for n in range(5)]
    assert [delivery.stream_sequence for delivery in taken] == [1, 2, 3, 4, 5]
    assert {delivery.subject for delivery in taken} == {JOB_EVENT}
    assert {delivery.deliveries for delivery in taken} == {1}


async def test_consumer_gets_a_message_the_moment_it_is_published(bus: Bus, streams: Streams) -> None:
    stream = bus.consume(Stream.EVENTS, "reader", batch=100)
    waiting = asyncio.ensure_future(anext(stream))
    await bus.publish_event(JOB_EVENT, b"now", message_id="1")

    async with asyncio.timeout(20):
        delivery = await waiting
    assert delivery.data == b"now"
    await stream.aclose()


async def test_durable_consumer_goes_on_where_it_stopped(bus: Bus, streams: Streams) -> None:
    for number in range(4):
        await bus.publish_event(JOB_EVENT, str(number).encode(), message_id=str(number))

    first = await take(bus, "reader", 2, batch=2)
    rest = await take(bus, "reader", 2, batch=2)
    other = await take(bus, "another", 4)

    assert [delivery.data for delivery in first + rest] == [b"0", b"1", b"2", b"3"]
    assert len(other) == 4


async def test_retried_message_comes_again_and_discarded_one_does_not(bus: Bus, streams: Streams) -> None:
    await bus.publish_event(JOB_EVENT, b"retry", message_id="1")
    await bus.publish_event(JOB_EVENT, b"discard", message_id="2")
    seen: list[tuple[bytes, int]] = []
    async for delivery in bus.consume(Stream.EVENTS, "reader"):
        seen.append((delivery.data, delivery.deliveries))
        if delivery.data == b"discard":
            await delivery.discard()
        elif delivery.deliveries == 1:
            await delivery.retry()
        else:
            await delivery.ack()
            break

    assert sorted(seen) == [(b"discard", 1), (b"retry", 1), (b"retry", 2)]


async def test_unsettled_message_comes_again_after_its_wait(bus: Bus, streams: Streams) -> None:
    await bus.publish_event(JOB_EVENT, b"x", message_id="1")
    counts: list[int] = []
    async for delivery in bus.consume(Stream.EVENTS, "reader", ack_wait_seconds=0.2):
        counts.append(delivery.deliveries)
        if delivery.deliveries == 2:
            break
    assert counts == [1, 2]


async def test_filter_passes_over_other_subjects(bus: Bus, streams: Streams) -> None:
    await bus.publish_event(event(EventNoun.GOAL, "g"), b"goal", message_id="1")
    await bus.publish_event(JOB_EVENT, b"job", message_id="2")
    async for delivery in bus.consume(Stream.EVENTS, "jobs", filter_subject=events_of(EventNoun.JOB)):
        assert delivery.data == b"job"
        break


async def test_core_message_reaches_all_subscribers_and_a_failing_handler_is_no_end(bus: Bus) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def fragile(message: Message) -> None:
        if message.data == b"bad":
            raise ValueError(message.data)
        if message.data == b"cancelled":
            raise asyncio.CancelledError
        heard.put_nowait(message.data)

    await bus.subscribe("x.*", fragile)
    for data in (b"bad", b"cancelled", b"good"):
        await bus.publish("x.y", data)

    assert await heard.get() == b"good"


async def test_closed_subscription_hears_nothing(bus: Bus) -> None:
    heard: list[bytes] = []
    after: asyncio.Queue[Message] = asyncio.Queue()

    async def hear(message: Message) -> None:
        heard.append(message.data)

    subscription = await bus.subscribe("x", hear)
    await subscription.close()
    await bus.subscribe("x", after.put)
    await bus.publish("x", b"1")
    await after.get()

    assert heard == []


async def test_slow_handler_drops_and_counts_beyond_its_bound(bus: Bus) -> None:
    gate, done = asyncio.Event(), asyncio.Event()
    handled: list[bytes] = []

    async def slow(message: Message) -> None:
        await gate.wait()
        handled.append(message.data)

    async def finish(message: Message) -> None:
        done.set()

    subscription = await bus.subscribe("x", slow, pending_messages=10)
    await bus.subscribe("end", finish)
    for _ in range(100):
        await bus.publish("x", b"x")
    await bus.publish("end", b"")
    await done.wait()
    gate.set()

    assert 85 <= subscription.dropped <= 90
    assert bus.healthy


async def test_consumer_ends_when_the_bus_is_closed(site: Site, broker: EmbeddedNats) -> None:
    bus = Bus(site.endpoint(broker.url))
    await bus.start()
    await bus.ensure_streams(stream_specs())
    await bus.publish_event(JOB_EVENT, b"x", message_id="1")
    seen: list[bytes] = []
    got_one = asyncio.Event()

    async def consume() -> None:
        async for delivery in bus.consume(Stream.EVENTS, "reader"):
            seen.append(delivery.data)
            got_one.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(consume())
        await got_one.wait()
        await bus.close()
    assert seen == [b"x"]
    assert not bus.healthy


async def test_consumer_can_be_cancelled(bus: Bus, streams: Streams) -> None:
    task = asyncio.ensure_future(take(bus, "reader", 1))
    await asyncio.wait([task], timeout=0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bus.publish_event(JOB_EVENT, b"x", message_id="1")
    assert [delivery.data for delivery in await take(bus, "reader", 1)] == [b"x"]
