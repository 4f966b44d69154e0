"""A durable pull consumer over one connection.

Messages are handed on the moment they come: one pull request stands open at a time, and the next is made when it
is used up or has run out. Each request has a reply subject of its own, so that the end of an old one is not
taken for the end of the present one.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from typing import Final

import nats.errors
from nats.aio.msg import Msg
from nats.js import api
from nats.js.api import Header

from control_plane.bus.cancellation import heeded
from control_plane.bus.messages import Delivery
from control_plane.bus.session import Session

_EXPIRES_SECONDS: Final = 30
_HEARTBEAT_SECONDS: Final = 5
_SILENCE_SECONDS: Final = 3.0 * _HEARTBEAT_SECONDS
_NANOSECONDS: Final = 1_000_000_000
_HEARTBEAT_STATUS: Final = "100"


async def deliveries(
    session: Session, stream: str, config: api.ConsumerConfig, *, batch: int
) -> AsyncGenerator[Delivery, None]:
    """Yield deliveries until the connection ends or the consumer has to be made again.

    Raises:
        nats.errors.Error, TimeoutError: the broker cannot make the consumer just now.
    """
    client = session.client
    with heeded():
        await session.jetstream.add_consumer(stream, config)
    inbox = client.new_inbox()
    queue: asyncio.Queue[Msg | None] = asyncio.Queue()  # holds what was asked for: `batch` and a few statuses
    ended = asyncio.ensure_future(session.closed.wait())
    ended.add_done_callback(lambda _: queue.put_nowait(None))
    with heeded():
        subscription = await client.subscribe(f"{inbox}.*", cb=queue.put)
    try:
        for number in itertools.count():
            reply = f"{inbox}.{number}"
            request = {
                "batch": batch,
                "expires": _EXPIRES_SECONDS * _NANOSECONDS,
                "idle_heartbeat": _HEARTBEAT_SECONDS * _NANOSECONDS,
            }
            next_message = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{config.durable_name}"
            await client.publish(next_message, json.dumps(request).encode(), reply=reply)
            left = batch
            while left > 0:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    message = await queue.get()
                if message is None:
                    return
                status = (message.headers or {}).get(Header.STATUS.value)
                if message.reply:  # only a message of the stream can be acknowledged
                    left -= 1
                    yield _delivery(message)
                elif status != _HEARTBEAT_STATUS and message.subject == reply:
                    if status not in _REQUEST_OVER:  # e.g. 409: deleted, or moved to another server
                        raise nats.errors.Error(f"the consumer is gone (status {status})")
                    break
    finally:
        ended.cancel()
        if not client.is_closed:
            await subscription.unsubscribe()


_REQUEST_OVER: Final = {
    api.StatusCode.NO_MESSAGES.value,
    api.StatusCode.REQUEST_TIMEOUT.value,
}


def _delivery(message: Msg) -> Delivery:
    metadata = message.metadata
    return Delivery(
        subject=message.subject,
        data=message.data,
        headers=message.headers or {},
        stream_sequence=metadata.sequence.stream,
        deliveries=metadata.num_delivered,
        _message=message,
    )
