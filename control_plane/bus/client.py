"""What passes through the broker, on a connection that mends itself (`control_plane.bus.connection`)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

import nats.errors
import structlog

from control_plane.bus.cancellation import heeded
from control_plane.bus.connection import KeptConnection
from control_plane.bus.consumer import deliveries
from control_plane.bus.jetstream import consumer_config
from control_plane.bus.messages import Delivery, Message, Outgoing, Published, Receipt
from control_plane.bus.publishing import AT_ONCE_MAX, disconnected, too_large
from control_plane.bus.session import BusEndpoint
from control_plane.bus.streams import Stream
from control_plane.bus.subscriptions import Answer, Handler, HandlerLoop, ResponderLoop, Subscription
from control_plane.errors import Unavailable

__all__ = [
    "AT_ONCE_MAX",
    "Bus",
    "BusEndpoint",
    "Delivery",
    "Message",
    "Outgoing",
    "Published",
    "Receipt",
    "Subscription",
]

log = structlog.get_logger()

_CONSUMER_RETRY_SECONDS: Final = 0.5
_MIB: Final = 1 << 20


class Bus(KeptConnection):
    """Publishes, subscribes and consumes.

    While there is no connection a publish fails at once with Unavailable: what must not be lost is in the store and
    is told again.
    """

    async def publish(self, subject: str, data: bytes) -> None:
        """Publish by core NATS: whoever listens now gets it, nobody confirms it.

        Raises:
            Unavailable: BUS_DISCONNECTED. InvalidArgument: BUS_MESSAGE_TOO_LARGE.
        """
        try:
            await self.connection().client.publish(subject, data)
        except nats.errors.MaxPayloadError:
            raise too_large(len(data)) from None
        except nats.errors.Error as error:
            raise disconnected(str(error)) from None

    async def publish_event(
        self, subject: str, data: bytes, *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> Receipt:
        """Publish to the stream that takes `subject` and wait until it is stored.

        Publishing again under the same `message_id` within the stream's window stores nothing.

        Raises:
            Unavailable: BUS_DISCONNECTED, BUS_NO_CONFIRMATION, BUS_NO_STREAM or BUS_NOT_STORED.
            ResourceExhausted: BUS_STORAGE_FULL. InvalidArgument: BUS_MESSAGE_TOO_LARGE.
        """
        return await self.connection().publisher.publish_event(Outgoing(subject, data, message_id, headers or {}))

    async def publish_events(self, messages: Sequence[Outgoing]) -> Published:
        """Publish to streams in this order, at most `AT_ONCE_MAX` messages, and wait until they are stored.

        They are sent on one connection without waiting for one another, and the broker takes them in that order. What
        is not known to be stored is to be published again, from the first such message on and under the same ids: so
        none is lost, and none is stored twice within the stream's window. What `publish_event` would raise is returned.
        """
        try:
            session = self.connection()
        except Unavailable as error:
            return Published(0, error)
        return await session.publisher.publish_events(messages)

    async def request(self, subject: str, data: bytes, *, timeout_seconds: float = 2.0) -> bytes:
        """Ask a service of the broker and return its answer.

        Raises:
            Unavailable: BUS_DISCONNECTED or BUS_NO_ANSWER.
        """
        try:
            with heeded():
                answer = await self.connection().client.request(subject, data, timeout=timeout_seconds)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            raise Unavailable(f"nobody answers on {subject}: try again", reason="BUS_NO_ANSWER") from None
        except nats.errors.Error as error:
            raise disconnected(str(error)) from None
        return answer.data

    async def subscribe(
        self,
        subject: str,
        handler: Handler,
        *,
        pending_messages: int = 65_536,
        pending_bytes: int = 64 * _MIB,
        queue: str = "",
    ) -> Subscription:
        """Have `handler` awaited for each message on `subject`, one after the other.

        Beyond `pending_messages` or `pending_bytes` of backlog messages are dropped and counted. An exception in
        the handler is logged and the next message follows.
        """
        loop = HandlerLoop(handler)
        return await self._subscribe(
            subject, loop, queue=queue, pending_messages=pending_messages, pending_bytes=pending_bytes
        )

    async def serve(
        self,
        subject: str,
        answer: Answer,
        *,
        queue: str = "",
        concurrency: int = 1,
        pending_messages: int = 16_384,
    ) -> Subscription:
        """Answer the broker's own requests on `subject`, up to `concurrency` at a time; None means silence."""
        loop = ResponderLoop(answer, self.publish, concurrency=concurrency)
        return await self._subscribe(
            subject, loop, queue=queue, pending_messages=pending_messages, pending_bytes=64 * _MIB
        )

    async def consume(
        self,
        stream: Stream,
        durable: str,
        *,
        filter_subject: str | None = None,
        batch: int = 256,
        ack_wait_seconds: float = 30.0,
        max_in_flight: int = 1024,
        forget_after_seconds: float = 0.0,
    ) -> AsyncGenerator[Delivery, None]:
        """Yield the messages of a stream to the consumer named `durable`, from the first it has not settled.

        What is not settled within `ack_wait_seconds` is delivered again; at most `max_in_flight` are unsettled
        at a time. With `forget_after_seconds` the broker forgets a consumer that is away for so long. Reconnects are
        not noticed, apart from messages that come twice. Ends when the bus is closed.
        """
        config = consumer_config(
            durable,
            filter_subject=filter_subject,
            ack_wait_seconds=ack_wait_seconds,
            max_in_flight=max_in_flight,
            forget_after_seconds=forget_after_seconds,
        )
        while (session := await self.next_session()) is not None:
            source = deliveries(session, stream.value, config, batch=batch)
            try:
                async with contextlib.aclosing(source):
                    async for delivery in source:
                        yield delivery
            except (nats.errors.Error, TimeoutError) as error:
                if not session.closed.is_set():
                    log.warning("bus.consumer_retries", durable=durable, error=str(error) or "timeout")
                    await asyncio.sleep(_CONSUMER_RETRY_SECONDS)

    async def _subscribe(
        self,
        subject: str,
        loop: HandlerLoop | ResponderLoop,
        *,
        queue: str,
        pending_messages: int,
        pending_bytes: int,
    ) -> Subscription:
        subscription = Subscription(
            subject,
            loop,
            queue=queue,
            pending_messages=pending_messages,
            pending_bytes=pending_bytes,
            forget=self.forget,
        )
        await self.keep(subscription)
        return subscription
