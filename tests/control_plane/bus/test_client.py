"""The bus against a real broker: publishing, consuming, and mending itself."""

import asyncio
import contextlib
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.bus.cancellation import end, heeded
from control_plane.bus.client import Bus, Delivery, Message
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.streams import Stream, StreamSpec, stream_specs
from control_plane.bus.subjects import EventNoun, event, events_of
from control_plane.errors import (
    InvalidArgument,
    PreconditionFailed,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from control_plane.identity.ca import CertificateAuthority
from tests.control_plane.bus.conftest import CLOCK, Site, eventually

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


async def until_healthy(bus: Bus, *, after: int) -> None:
    """Wait for the reconnect that follows the `after`-th."""
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    bus.on_reconnect(note)
    if bus.reconnects <= after:
        await back.wait()


async def kill(broker: EmbeddedNats, number: signal.Signals = signal.SIGKILL) -> None:
    assert broker.pid is not None
    os.kill(broker.pid, number)


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

    async with asyncio.timeout(5):
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


async def test_kill_of_the_broker_loses_no_acknowledged_event_and_the_bus_comes_back(
    bus: Bus, broker: EmbeddedNats, streams: Streams
) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await bus.subscribe("core", heard.put)
    acknowledged: list[bytes] = []
    consumed: list[bytes] = []

    async def publish() -> None:
        number = 0
        while broker.restarts < 3 or number < 300:
            data = str(number).encode()
            try:
                await bus.publish_event(JOB_EVENT, data, message_id=f"m{number}")
            except Unavailable:
                await asyncio.sleep(0.02)
            else:
                acknowledged.append(data)
                number += 1
                if number in {50, 100, 150}:
                    await kill(broker)
        await bus.publish_event(JOB_EVENT, b"end", message_id="end")

    async def consume() -> None:
        async for delivery in bus.consume(Stream.EVENTS, "reader"):
            await delivery.ack()
            if delivery.data == b"end":
                return
            consumed.append(delivery.data)

    async with asyncio.TaskGroup() as group:
        group.create_task(consume())
        group.create_task(publish())
    await bus.publish("core", b"again")

    assert (await heard.get()).data == b"again"
    assert set(acknowledged) == set(consumed)
    assert list(dict.fromkeys(consumed)) == acknowledged
    assert broker.restarts == 3


async def test_publishing_without_a_connection_fails_at_once_and_says_so(
    bus: Bus, broker: EmbeddedNats, streams: Streams
) -> None:
    await broker.stop()
    await eventually(lambda: not bus.healthy)

    with pytest.raises(Unavailable) as caught:
        await bus.publish_event(JOB_EVENT, b"x", message_id="1")
    assert caught.value.reason == "BUS_DISCONNECTED"
    with pytest.raises(Unavailable):
        await bus.publish("x", b"x")
    with pytest.raises(Unavailable):
        await bus.ensure_streams(streams)


async def test_publish_in_flight_fails_when_the_broker_dies(bus: Bus, broker: EmbeddedNats, streams: Streams) -> None:
    await kill(broker, signal.SIGSTOP)
    waiting = asyncio.ensure_future(bus.publish_event(JOB_EVENT, b"x", message_id="1"))
    await asyncio.wait([waiting], timeout=0.05)
    await kill(broker)
    with pytest.raises(Unavailable):
        await waiting


async def test_subscription_made_while_disconnected_works_after_the_reconnect(bus: Bus, broker: EmbeddedNats) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    before = bus.reconnects
    await kill(broker)
    await bus.subscribe("x", heard.put)
    await until_healthy(bus, after=before)
    await bus.publish("x", b"1")
    assert (await heard.get()).data == b"1"


async def test_streams_are_made_again_when_the_brokers_data_is_gone(
    site: Site, bus: Bus, broker: EmbeddedNats, streams: Streams
) -> None:
    before = bus.reconnects
    await broker.stop()
    for file in sorted((site.directory / "nats" / "store").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    fresh = EmbeddedNats(replace(site.broker_config(), port=broker.port), clock=CLOCK)
    async with fresh:
        await until_healthy(bus, after=before)
        receipt = await bus.publish_event(JOB_EVENT, b"x", message_id="1")
        assert receipt.sequence == 1


async def test_stream_settings_are_brought_up_to_date(bus: Bus, streams: Streams) -> None:
    await bus.ensure_streams([replace(spec, max_message_bytes=10) for spec in streams])
    with pytest.raises(InvalidArgument) as caught:
        await bus.publish_event(JOB_EVENT, b"x" * 11, message_id="1")
    assert caught.value.reason == "BUS_MESSAGE_TOO_LARGE"


async def test_message_beyond_the_brokers_bound_is_refused(bus: Bus, streams: Streams) -> None:
    with pytest.raises(InvalidArgument):
        await bus.publish_event(JOB_EVENT, bytes(2 << 20), message_id="1")
    with pytest.raises(InvalidArgument):
        await bus.publish("x", bytes(2 << 20))
    assert (await bus.publish_event(JOB_EVENT, b"x", message_id="2")).sequence == 1


async def test_subject_without_a_stream_is_named_as_the_cause(bus: Bus) -> None:
    with pytest.raises(Unavailable) as caught:
        await bus.publish_event(JOB_EVENT, b"x", message_id="1")
    assert caught.value.reason == "BUS_NO_STREAM"


async def test_streams_that_do_not_fit_the_store_are_refused(site: Site) -> None:
    config = replace(site.broker_config(), max_store_bytes=1 << 20)
    async with EmbeddedNats(config, clock=CLOCK) as broker, Bus(site.endpoint(broker.url)) as bus:
        with pytest.raises(Unavailable) as caught:
            await bus.ensure_streams(stream_specs())
    assert caught.value.reason == "BUS_STREAM_FAILED"
    assert "insufficient storage" in caught.value.message


async def test_full_store_is_named_as_the_cause(bus: Bus, broker: EmbeddedNats, site: Site, streams: Streams) -> None:
    """The broker may write files of 64 KiB at most, which to it is a disk that is full."""
    assert broker.pid is not None
    resource.prlimit(broker.pid, resource.RLIMIT_FSIZE, (65_536, 65_536))

    async def fill() -> None:
        for number in range(20):
            await bus.publish_event(JOB_EVENT, bytes(20_000), message_id=str(number))

    with pytest.raises((ResourceExhausted, Unavailable)) as caught:
        await fill()
    assert caught.value.reason in {"BUS_STORAGE_FULL", "BUS_NOT_STORED", "BUS_NO_CONFIRMATION"}
    assert "space" in caught.value.message
    await bus.publish("core", b"still works")


async def test_wrong_password_is_refused_by_name(site: Site, broker: EmbeddedNats) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await Bus(replace(site.endpoint(broker.url), password="wrong")).start()
    assert caught.value.reason == "BUS_REFUSED"
    assert "wrong" not in caught.value.message


async def test_broker_of_another_ca_is_refused_by_name(site: Site, broker: EmbeddedNats, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(CertificateAuthority.load_or_create(tmp_path / "other", clock=CLOCK).trust_pem)
    with pytest.raises(PreconditionFailed) as caught:
        await Bus(replace(site.endpoint(broker.url), ca_file=other)).start()
    assert caught.value.reason == "BUS_TLS"


async def test_broker_with_another_name_is_refused(site: Site, broker: EmbeddedNats) -> None:
    endpoint = replace(site.endpoint(broker.url), tls_hostname="elsewhere.example")
    with pytest.raises(PreconditionFailed) as caught:
        await Bus(endpoint).start()
    assert caught.value.reason == "BUS_TLS"


async def test_unreachable_broker_is_named_with_its_address(site: Site) -> None:
    with pytest.raises(Unavailable) as caught:
        await Bus(site.endpoint("tls://127.0.0.1:1"), connect_timeout_seconds=0.5).start()
    assert caught.value.reason == "BUS_UNREACHABLE"
    assert "127.0.0.1:1" in caught.value.message


async def test_missing_certificate_file_is_named(site: Site, broker: EmbeddedNats, tmp_path: Path) -> None:
    endpoint = replace(site.endpoint(broker.url), certificate_file=tmp_path / "nothing.pem")
    with pytest.raises(PreconditionFailed) as caught:
        await Bus(endpoint).start()
    assert "nothing.pem" in caught.value.message


async def test_password_stays_out_of_the_representation(site: Site) -> None:
    assert site.secrets.nats_control_password not in repr(site.endpoint("tls://x:1"))
    assert site.secrets.nats_control_password not in repr(site.broker_config())


async def test_close_returns_even_if_a_cancellation_is_lost_on_the_way(
    bus: Bus, broker: EmbeddedNats, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    restoring = asyncio.Event()

    async def deaf(*_: object, **__: object) -> None:
        restoring.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr("control_plane.bus.client.ensure_stream", deaf)
    await kill(broker)
    await restoring.wait()

    async with asyncio.timeout(5):
        await bus.close()


async def test_lost_cancellation_is_raised_after_the_call() -> None:
    reached = False

    async def deaf() -> None:
        nonlocal reached
        with heeded():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            reached = True

    task = asyncio.ensure_future(deaf())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reached


async def test_task_that_resists_is_cancelled_until_it_ends() -> None:
    async def stubborn() -> None:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    await end(task)
    assert task.done()


async def test_a_connection_that_is_over_without_a_word_of_the_library_is_made_again(bus: Bus) -> None:
    client = bus.connection().client
    client._closed_cb = None  # as when its closing waits for ever for a broker that was killed meanwhile
    await client.close()
    await eventually(lambda: bus.reconnects == 1 and bus.healthy)
    await bus.publish("orq.event.job.x", b"")
