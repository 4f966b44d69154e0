"""Messages that are in flight together: stored in their order, each once, whatever happens to the broker meanwhile."""

import asyncio
import os
import signal
from dataclasses import replace

from control_plane.agents.publishing import publish_all
from control_plane.bus.client import AT_ONCE_MAX, Bus, Outgoing
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subjects import EventNoun, event
from control_plane.errors import InvalidArgument, Unavailable
from tests.control_plane.bus.conftest import eventually
from tests.standstill import stand_still

Streams = tuple[StreamSpec, ...]

NUMBER = 3_000
KILLED_AT = (300, 1_500)


def outgoing(number: int, data: bytes = b"x") -> Outgoing:
    return Outgoing(event(EventNoun.JOB, f"j-{number % 7}"), data, f"m-{number}")


async def stored(bus: Bus, last: str) -> list[str]:
    """Return what is in the stream, up to a message."""
    found: dict[int, str] = {}
    async for delivery in bus.consume(Stream.EVENTS, "afterwards"):
        await delivery.ack()
        found[delivery.stream_sequence] = str(delivery.message_id)
        if delivery.message_id == last:
            break
    return [found[number] for number in sorted(found)]


async def test_messages_that_are_sent_together_are_stored_in_their_order(bus: Bus, streams: Streams) -> None:
    told = await bus.publish_events([outgoing(number) for number in range(AT_ONCE_MAX)])
    assert (told.stored, told.failure) == (AT_ONCE_MAX, None)
    again = await bus.publish_events([outgoing(number) for number in range(AT_ONCE_MAX)])
    assert (again.stored, again.failure) == (AT_ONCE_MAX, None)
    await bus.publish_event("orq.event.job.end", b"", message_id="end")
    assert await stored(bus, "end") == [f"m-{number}" for number in range(AT_ONCE_MAX)] + ["end"]


async def test_kills_of_the_broker_lose_none_and_change_no_order(
    bus: Bus, broker: EmbeddedNats, streams: Streams
) -> None:
    async def follow() -> None:
        kills = iter(KILLED_AT)
        at = next(kills)
        async for delivery in bus.consume(Stream.EVENTS, "reader"):
            await delivery.ack()
            number = int(str(delivery.message_id).removeprefix("m-"))
            if number >= at and broker.pid is not None:
                os.kill(broker.pid, signal.SIGKILL)
                at = next(kills, NUMBER)
            if number == NUMBER - 1:
                return

    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        tasks.create_task(publish_all(bus, [outgoing(number) for number in range(NUMBER)], who="test"))
    assert broker.restarts >= len(KILLED_AT)  # more, if its port was taken for a moment
    assert await stored(bus, f"m-{NUMBER - 1}") == [f"m-{number}" for number in range(NUMBER)]


async def test_one_that_the_stream_does_not_take_is_left_out_and_said_to_be_the_cause(
    bus: Bus, streams: Streams
) -> None:
    await bus.ensure_streams([replace(spec, max_message_bytes=1_000) for spec in streams])
    # Too large for the stream, and too large to be sent at all.
    for first, size in ((0, 2_000), (10, 2 << 20)):
        messages = [outgoing(first + number, bytes(size) if number == 3 else b"x") for number in range(10)]
        told = await bus.publish_events(messages)
        assert told.stored == 3
        assert isinstance(told.failure, InvalidArgument)
        await publish_all(bus, messages, who="test")
    await bus.publish_event("orq.event.job.end", b"", message_id="end")
    assert await stored(bus, "end") == [f"m-{number}" for number in range(20) if number not in (3, 13)] + ["end"]


async def test_messages_in_flight_are_not_taken_for_stored_when_the_broker_dies(
    bus: Bus, broker: EmbeddedNats, streams: Streams
) -> None:
    assert broker.pid is not None
    stand_still(broker.pid)
    waiting = asyncio.ensure_future(bus.publish_events([outgoing(number) for number in range(5)]))
    await eventually(lambda: len(bus.connection().publisher._waiting) == 5)
    os.kill(broker.pid, signal.SIGKILL)
    told = await waiting
    assert told.stored == 0
    assert isinstance(told.failure, Unavailable)
    await broker.stop()
    await eventually(lambda: not bus.healthy)
    told = await bus.publish_events([outgoing(0)])
    assert (told.stored, getattr(told.failure, "reason", "")) == (0, "BUS_DISCONNECTED")
