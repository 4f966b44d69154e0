"""The bus mends itself: a broker that is killed, stopped, emptied; cancellations that are lost on the way."""

import asyncio
import contextlib
import os
import signal
from dataclasses import replace

import pytest

from control_plane.bus.cancellation import end, heeded
from control_plane.bus.client import Bus, Message
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subjects import EventNoun, event
from control_plane.errors import (
    Unavailable,
)
from tests.control_plane.bus.conftest import CLOCK, Site, eventually
from tests.standstill import stand_still

Streams = tuple[StreamSpec, ...]

JOB_EVENT = event(EventNoun.JOB, "j-1")


async def until_healthy(bus: Bus, *, after: int) -> None:
    """Wait for the reconnect that follows the `after`-th."""
    back = asyncio.Event()

    async def note() -> None:
        back.set()

    bus.on_reconnect(note)
    if bus.reconnects <= after:
        await back.wait()


async def kill(broker: EmbeddedNats) -> None:
    await eventually(lambda: broker.pid is not None)  # clients may be served a moment before it is known
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGKILL)


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
    assert broker.restarts >= 3  # more, if its port was taken for a moment


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
    assert broker.pid is not None
    stand_still(broker.pid)
    session = bus.connection()
    waiting = asyncio.ensure_future(bus.publish_event(JOB_EVENT, b"x", message_id="1"))
    await eventually(lambda: len(session.publisher._waiting) == 1 and session.client.pending_data_size == 0)
    assert not waiting.done()
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


async def test_close_returns_even_if_a_cancellation_is_lost_on_the_way(
    bus: Bus, broker: EmbeddedNats, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    restoring = asyncio.Event()

    async def deaf(*_: object, **__: object) -> None:
        restoring.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr("control_plane.bus.connection.ensure_stream", deaf)
    await kill(broker)
    await restoring.wait()

    async with asyncio.timeout(30):
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
