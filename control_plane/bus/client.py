"""The connection to the broker: one that mends itself.

nats-py gives a client up for good after an authorisation error or an expired grant, and waits without jitter
between attempts. So each of its clients lives for one connection here and never reconnects; the bus makes the
next one, for ever, and subscribes again. While there is no connection a publish fails at once with Unavailable:
what must not be lost is in the store and is told again.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Final, Self

import nats.errors
import structlog

from control_plane.bus.cancellation import end, heeded
from control_plane.bus.consumer import deliveries
from control_plane.bus.jetstream import consumer_config, ensure_stream
from control_plane.bus.messages import Delivery, Message, Outgoing, Published, Receipt
from control_plane.bus.publishing import AT_ONCE_MAX, disconnected, too_large
from control_plane.bus.session import BusEndpoint, Session
from control_plane.bus.streams import Stream, StreamSpec
from control_plane.bus.subscriptions import Answer, Handler, HandlerLoop, ResponderLoop, Subscription
from control_plane.errors import OrQuantaError, Unauthenticated, Unavailable

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

_FIRST_RETRY_SECONDS: Final = 0.05
_MAX_RETRY_SECONDS: Final = 5.0
_CONSUMER_RETRY_SECONDS: Final = 0.5
_MIB: Final = 1 << 20


class Bus:
    """Publishes, subscribes and consumes; connects in `start` and again whenever the connection is lost."""

    def __init__(
        self, endpoint: BusEndpoint, *, name: str = "control-plane", connect_timeout_seconds: float = 10.0
    ) -> None:
        self._endpoint = endpoint
        self._name = name
        self._connect_timeout_seconds = connect_timeout_seconds
        self._session: Session | None = None
        self._changed = asyncio.Condition()
        self._closing = False
        self._attaching = asyncio.Lock()  # so that no subscription falls between two connections
        self._keeper: asyncio.Task[None] | None = None
        self._specs: tuple[StreamSpec, ...] = ()
        self._subscriptions: list[Subscription] = []
        self._reconnect_callbacks: list[Callable[[], Awaitable[None]]] = []
        self.reconnects = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def healthy(self) -> bool:
        """Whether there is a connection now."""
        return self._session is not None and not self._session.closed.is_set()

    def connection(self) -> Session:
        """Return the connection of now. Raises Unavailable, BUS_DISCONNECTED."""
        if self._session is None or self._session.closed.is_set():
            raise disconnected()
        return self._session

    async def start(self) -> None:
        """Connect; keep trying for `connect_timeout_seconds` if the broker does not answer.

        Raises:
            Unavailable: BUS_UNREACHABLE. Unauthenticated: BUS_REFUSED. PreconditionFailed: BUS_TLS.
        """
        last: Unavailable | None = None
        try:
            async with asyncio.timeout(self._connect_timeout_seconds):
                for delay_seconds in _delays():
                    try:
                        await self._connect()
                        break
                    except Unavailable as error:
                        last = error
                    await asyncio.sleep(delay_seconds)
        except TimeoutError:
            raise last or Unavailable(
                f"the message broker at {', '.join(self._endpoint.urls)} does not answer: check that it runs",
                reason="BUS_UNREACHABLE",
            ) from None
        self._keeper = asyncio.create_task(self._keep_connected(), name="bus")

    async def close(self) -> None:
        """Send what was published, close the connection, end all consumers."""
        self._closing = True
        if self._keeper is not None:
            await end(self._keeper)
            self._keeper = None
        if self._session is not None:
            await self._session.close()
        await self._set_session(None)

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Have `callback` awaited after each reconnect, when streams and subscriptions are back."""
        self._reconnect_callbacks.append(callback)

    async def ensure_streams(self, specs: Sequence[StreamSpec]) -> None:
        """Create or update streams, now and after each reconnect.

        Raises:
            Unavailable: BUS_STREAM_FAILED or BUS_DISCONNECTED.
        """
        session = self.connection()
        for spec in specs:
            with heeded():
                await ensure_stream(session.jetstream, spec)
        self._specs = tuple(specs)

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
        while (session := await self._next_session()) is not None:
            source = deliveries(session, stream.value, config, batch=batch)
            try:
                async with contextlib.aclosing(source):
                    async for delivery in source:
                        yield delivery
            except (nats.errors.Error, TimeoutError) as error:
                if not session.closed.is_set():
                    log.warning("bus.consumer_retries", durable=durable, error=str(error) or "timeout")
                    await asyncio.sleep(_CONSUMER_RETRY_SECONDS)

    async def _next_session(self) -> Session | None:
        """Wait for a connection; None when the bus is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closing or self.healthy)
        return None if self._closing else self._session

    async def _set_session(self, session: Session | None) -> None:
        async with self._changed:
            self._session = session
            self._changed.notify_all()

    async def _connect(self) -> None:
        session = await Session.open(self._endpoint, name=self._name, on_error=self._on_error)
        try:
            async with self._attaching:
                for subscription in self._subscriptions:
                    with heeded():
                        await subscription.attach(session)
                await self._set_session(session)
        except nats.errors.Error as error:
            await session.close()
            raise disconnected(str(error)) from None
        except BaseException:
            await session.close()
            raise
        log.info("bus.connected", url=", ".join(self._endpoint.urls))

    async def _keep_connected(self) -> None:
        while True:
            session = self._session
            if session is not None:
                await session.ended()
                await session.close()
                await self._set_session(None)
                log.warning("bus.disconnected")
            await self._reconnect()
            await self._restore_streams()
            self.reconnects += 1  # who sees that it is back finds the streams there
            for callback in self._reconnect_callbacks:
                try:
                    await callback()
                except Exception:
                    log.exception("bus.reconnect_callback_failed")

    async def _restore_streams(self) -> None:
        """Make streams that the broker has lost with its data; what does not need them works without."""
        for spec in self._specs:
            try:
                with heeded():
                    await ensure_stream(self.connection().jetstream, spec, update=False)
            except Unavailable as error:
                log.warning("bus.stream_not_restored", stream=spec.stream.value, error=error.message)

    async def _reconnect(self) -> None:
        for attempt, delay_seconds in enumerate(_delays(), start=1):
            await asyncio.sleep(delay_seconds)
            try:
                await self._connect()
            except OrQuantaError as error:
                if attempt == 1 or isinstance(error, Unauthenticated) or attempt % 10 == 0:
                    log.warning("bus.connect_failed", attempt=attempt, reason=error.reason, error=error.message)
            else:
                return

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
            forget=self._forget,
        )
        async with self._attaching:
            self._subscriptions.append(subscription)
            session = self._session
            if session is not None:
                with heeded(), contextlib.suppress(nats.errors.Error):  # then the next connection attaches it
                    await subscription.attach(session)
                    await session.settle()
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        with contextlib.suppress(ValueError):
            self._subscriptions.remove(subscription)

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, nats.errors.SlowConsumerError):
            for subscription in self._subscriptions:
                if subscription.is_on(error.sub):
                    subscription.note_drop()
        else:
            log.warning("bus.error", error=str(error))


def _delays() -> Iterator[float]:
    """Seconds between attempts: doubling up to five, half of each at random, so that many do not come at once."""
    delay_seconds = _FIRST_RETRY_SECONDS
    while True:
        yield delay_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        delay_seconds = min(delay_seconds * 2, _MAX_RETRY_SECONDS)
