"""One host's stream while it is up, both directions of it in the one task that gRPC has for the call.

A second task that listens, an event that wakes the first, and a timer for the host's silence would be 5 KB for each of
ten thousand hosts. So the call's task listens, and answers what can be answered before it listens again. What is to be
said while it waits is written by a task that lives no longer than that takes.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from grpc import aio

from control_plane.services.link_session import LinkSession
from control_plane.services.reader import too_slow
from orquanta.v1 import node_link_pb2

log = structlog.get_logger()

_COME_BACK_SECONDS: Final = 5.0
_UNREADABLE: Final = "what was received cannot be read"

# Any: gRPC's context is generic in the message types of each method.
Context = aio.ServicerContext[Any, Any]


class LinkStream:
    """Carries what a host and its session say to each other. `run` it in the task of the call."""

    __slots__ = ("_context", "_error", "_listening", "_loop", "_requests", "_session", "_speaking", "_task")

    def __init__(
        self, session: LinkSession, requests: AsyncIterator[node_link_pb2.ConnectRequest], context: Context
    ) -> None:
        self._session = session
        self._requests = requests
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None  # Any: of whatever gRPC runs
        self._listening = False
        self._speaking: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    async def run(self) -> None:
        """Listen and speak until one side has ended the stream; what waits then is still said.

        Raises what writing raises: Unavailable if the host does not read.
        """
        outbox = self._session.outbox
        self._task = asyncio.current_task()
        outbox.on_news = self._speak_aside
        try:
            await self._speak()
            while not outbox.closed:
                request = await self._next()
                if request is None:
                    break
                self._take(request)
                del request  # or the last one would be kept until the next one has come
                if self._speaking is None:
                    await self._speak()
            outbox.end()
            if self._speaking is not None:
                await asyncio.wait([self._speaking])
            if self._error is not None:
                raise self._error
            await self._speak()
        finally:
            outbox.on_news = None
            outbox.end()
            if self._speaking is not None:
                self._speaking.cancel()
                await asyncio.wait([self._speaking])

    async def _next(self) -> node_link_pb2.ConnectRequest | None:
        """Return what the host says next; None if it says nothing more, or there is nothing more to say to it."""
        session = self._session
        self._listening = True
        session.listening_since = self._loop.time()
        try:
            return await anext(self._requests)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            # Cancelled by us, if the stream is over; by gRPC, if the call is, or by both.
            if self._listening or self._task is None or self._task.uncancel() > 0:
                raise
            return None
        except Exception as error:  # noqa: BLE001 - whatever breaks a stream ends this stream alone
            log.info("link.broken", node_id=session.node_id, why=f"{type(error).__name__}: {error}"[:200])
            session.end(_UNREADABLE, retry_after_seconds=_COME_BACK_SECONDS)
            return None
        finally:
            self._listening = False
            session.listening_since = None

    def _take(self, request: node_link_pb2.ConnectRequest) -> None:
        try:
            self._session.take(request)
        except Exception:
            log.exception("link.not_taken", node_id=self._session.node_id)
            self._session.end(_UNREADABLE, retry_after_seconds=_COME_BACK_SECONDS)

    async def _speak(self) -> None:
        """Say what is to be said; for how long gRPC takes no more is watched for all links at once, see `end_silent`.

        Raises Unavailable if that was too long, and what gRPC raises.
        """
        session, outbox = self._session, self._session.outbox
        writer = self._speaking or self._task
        try:
            while outbox.waiting:
                for response in outbox.take():
                    session.writer, session.writing_since = writer, self._loop.time()
                    await self._context.write(response)
        except asyncio.CancelledError:
            if session.writer is not None or writer is None or writer.uncancel() > 0:
                raise
            raise too_slow() from None
        finally:
            session.writer = None

    def _speak_aside(self) -> None:
        """Have said what is to be said while the call's task listens; otherwise that one says it before it listens."""
        if self._listening and self._speaking is None:
            self._speaking = asyncio.create_task(self._speak_and_end(), name="link")

    async def _speak_and_end(self) -> None:
        outbox = self._session.outbox
        try:
            await self._speak()
        except Exception as error:  # noqa: BLE001 - raised again by the call's task
            self._error = error
            outbox.end()
        finally:
            self._speaking = None
        if outbox.closed and self._listening and self._task is not None:
            self._listening = False  # so that it knows who has cancelled it
            self._task.cancel()
