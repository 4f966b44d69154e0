"""Core subscriptions that survive reconnects, and handlers whose failures end nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from control_plane.bus.cancellation import end
from control_plane.bus.messages import Message
from control_plane.bus.session import Session

log = structlog.get_logger()

Handler = Callable[[Message], Awaitable[None]]
Answer = Callable[[bytes], Awaitable[bytes | None]]

_DROPS_LOGGED_EVERY: Final = 10_000


class Subscription:
    """What `Bus.subscribe` returns. `dropped`: messages lost because the handler was too slow."""

    def __init__(
        self,
        subject: str,
        handle: "HandlerLoop | ResponderLoop",
        *,
        queue: str,
        pending_messages: int,
        pending_bytes: int,
        forget: Callable[["Subscription"], None],
    ) -> None:
        self.subject = subject
        self.dropped = 0
        self._handle = handle
        self._queue = queue
        self._pending_messages = pending_messages
        self._pending_bytes = pending_bytes
        self._forget = forget
        self._current: NatsSubscription | None = None

    async def close(self) -> None:
        """Stop receiving; answers that are being worked on are given up."""
        self._forget(self)
        if self._current is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._current.unsubscribe()
            self._current = None
        await self._handle.close()

    async def attach(self, session: Session) -> None:
        """Subscribe on a connection. Raises nats.errors.Error."""
        self._current = await session.client.subscribe(
            self.subject,
            queue=self._queue,
            cb=self._handle.on_message,
            pending_msgs_limit=self._pending_messages,
            pending_bytes_limit=self._pending_bytes,
        )

    def is_on(self, current: NatsSubscription) -> bool:
        """Return whether `current` is what this subscription has on the present connection."""
        return self._current is current

    def note_drop(self) -> None:
        """Count a message that found no room."""
        self.dropped += 1
        if self.dropped % _DROPS_LOGGED_EVERY == 1:
            log.warning("bus.messages_dropped", subject=self.subject, dropped=self.dropped)


@dataclass(frozen=True, slots=True)
class HandlerLoop:
    """Hands messages to a handler, one after the other."""

    handler: Handler

    async def on_message(self, message: Msg) -> None:
        """Handle one message."""
        await _guarded(self.handler, message)

    async def close(self) -> None:
        """Do nothing: the message that is being handled is handled to its end."""


class ResponderLoop:
    """Answers requests, up to `concurrency` at a time; the others wait in the subscription's bounded queue."""

    def __init__(self, answer: Answer, publish: Callable[[str, bytes], Awaitable[None]], *, concurrency: int) -> None:
        self._answer = answer
        self._publish = publish
        self._slots = asyncio.Semaphore(concurrency)
        self._running: set[asyncio.Task[None]] = set()

    async def on_message(self, message: Msg) -> None:
        """Begin to answer one request."""
        await self._slots.acquire()
        task = asyncio.create_task(self._respond(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Give up the answers that are being worked on."""
        for task in tuple(self._running):
            await end(task)

    async def _respond(self, message: Msg) -> None:
        async def reply(request: Message) -> None:
            said = await self._answer(request.data)
            if said is not None and message.reply:
                await self._publish(message.reply, said)

        try:
            await _guarded(reply, message)
        finally:
            self._slots.release()


async def _guarded(handler: Handler, message: Msg) -> None:
    """Run a handler so that nothing it raises ends its subscription, except being cancelled itself."""
    try:
        await handler(Message(message.subject, message.data, message.headers or {}))
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        log.warning("bus.handler_cancelled", subject=message.subject)
    except Exception:
        log.exception("bus.handler_failed", subject=message.subject)
