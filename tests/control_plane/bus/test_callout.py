"""A host's rights on the bus, against a real broker: what a stolen node credential can and cannot do."""

import asyncio
from typing import Any

import pytest

from control_plane.bus.client import Bus, Message
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subjects import (
    ALL_TELEMETRY,
    EventNoun,
    event,
    node_inbox_prefix,
    node_log,
    node_telemetry,
)
from control_plane.model.ids import JOB, new_id
from tests.control_plane.bus.conftest import (
    Node,
    NodeClient,
    eventually,
)

Streams = tuple[StreamSpec, ...]


async def test_host_publishes_under_its_own_id_and_gets_its_acknowledgement(
    bus: Bus, streams: Streams, as_a: NodeClient, a: Node
) -> None:
    heard: asyncio.Queue[Message] = asyncio.Queue()
    await bus.subscribe(ALL_TELEMETRY, heard.put)
    js = as_a.stream()

    await as_a.client.publish(node_telemetry(a.node_id), b"sample")
    log = node_log(a.node_id, new_id(JOB))
    first = await js.publish(log, b"line", headers={"Nats-Msg-Id": "1"})
    again = await js.publish(log, b"line", headers={"Nats-Msg-Id": "1"})

    sample = await heard.get()
    assert (sample.subject, sample.data) == (node_telemetry(a.node_id), b"sample")
    assert (first.stream, first.duplicate, again.seq, again.duplicate) == ("ORQ_LOGS", None, first.seq, True)
    assert await as_a.violations() == []


@pytest.mark.parametrize(
    "subject",
    [
        "orq.node.{b}.telemetry",
        "orq.node.{b}.log.j-0123456789ab",
        "orq.event.job.x",
        "_INBOX.{b}.x",
        "$JS.API.STREAM.PURGE.ORQ_EVENTS",
        "$JS.API.STREAM.INFO.ORQ_LOGS",
        "$JS.ACK.ORQ_LOGS.c.1.1.1.1.1",
        "$SYS.REQ.USER.AUTH",
        "$SYS.REQ.SERVER.PING",
        "orq.node.telemetry",
        "elsewhere",
    ],
)
async def test_host_cannot_publish_elsewhere(
    bus: Bus, streams: Streams, as_a: NodeClient, b: Node, subject: str
) -> None:
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        if not message.subject.startswith("_INBOX.") or b.node_id in message.subject:
            heard.append(message)

    await bus.subscribe(">", hear)
    await as_a.client.publish(subject.format(b=b.node_id), b"forged")

    assert len(await as_a.violations()) == 1
    assert [message for message in heard if message.data == b"forged"] == []


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "*",
        "orq.>",
        "orq.node.{b}.>",
        "orq.node.{a}.>",
        "orq.event.>",
        "_INBOX.>",
        "_INBOX.{b}.>",
        "$SYS.>",
        "$JS.>",
    ],
)
async def test_host_cannot_subscribe_to_anything_but_its_inbox(
    as_a: NodeClient, a: Node, b: Node, subject: str
) -> None:
    async def ignore(message: Any) -> None:
        raise AssertionError(message)

    await as_a.client.subscribe(subject.format(a=a.node_id, b=b.node_id), cb=ignore)

    assert len(await as_a.violations()) == 1


@pytest.mark.parametrize(
    "reply",
    [
        "orq.node.{b}.telemetry",
        "orq.node.{b}.log.j-0123456789ab",
        "orq.event.job.forged",
        "$JS.API.STREAM.PURGE.ORQ_EVENTS",
        "$JS.API.STREAM.DELETE.ORQ_EVENTS",
        "$SYS.REQ.USER.AUTH",
    ],
)
async def test_reply_subject_of_a_host_cannot_make_the_broker_speak_for_it(
    bus: Bus, streams: Streams, as_a: NodeClient, b: Node, reply: str
) -> None:
    await bus.publish_event(event(EventNoun.JOB, "j"), b"kept", message_id="1")
    forged: list[Message] = []

    async def hear(message: Message) -> None:
        forged.append(message)

    for subject in (ALL_TELEMETRY, f"orq.node.{b.node_id}.>", "orq.event.>"):
        await bus.subscribe(subject, hear)

    await as_a.client.publish(node_log(as_a.node_id, new_id(JOB)), b"x", reply=reply.format(b=b.node_id))
    own = await as_a.stream().publish(node_log(as_a.node_id, new_id(JOB)), b"last")
    await bus.publish_event(event(EventNoun.JOB, "k"), b"after", message_id="2")
    async for delivery in bus.consume(Stream.EVENTS, "check"):
        await delivery.ack()
        if delivery.data == b"after":
            break

    await eventually(lambda: forged != [])  # what subscribers hear may come after what a stream delivers
    assert delivery.stream_sequence == 2
    assert own.seq <= 2
    assert [message.subject for message in forged] == ["orq.event.job.k"]


async def test_tracing_header_cannot_make_the_broker_publish_for_a_host(
    bus: Bus, streams: Streams, as_a: NodeClient, a: Node, b: Node
) -> None:
    trace = {"Nats-Trace-Dest": node_telemetry(b.node_id)}
    await as_a.client.publish(node_telemetry(a.node_id), b"x", headers=trace)

    assert len(await as_a.violations()) == 1


async def test_host_cannot_read_the_replies_of_another(streams: Streams, as_a: NodeClient, as_b: NodeClient) -> None:
    seen_by_a: list[Any] = []

    async def hear(message: Any) -> None:
        seen_by_a.append(message)

    await as_a.client.subscribe(f"{node_inbox_prefix(as_a.node_id)}.>", cb=hear)
    await as_b.stream().publish(node_log(as_b.node_id, new_id(JOB)), b"x")
    await as_a.client.flush()

    assert seen_by_a == []


async def test_host_that_floods_its_log_does_not_push_out_events(streams: Streams) -> None:
    by_stream = {spec.stream: spec for spec in streams}
    assert set(by_stream[Stream.EVENTS].subjects).isdisjoint(by_stream[Stream.LOGS].subjects)
