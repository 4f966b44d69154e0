"""How every call is made: deadline, credentials, retries, and watches that resume by themselves."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import uuid4

import grpc

from orquanta import tracing
from orquanta.errors import OrQuantaError, Unavailable
from orquanta.retry import RetryPolicy
from orquanta.status import error_from_rpc

Request = TypeVar("Request")
Response = TypeVar("Response")
Item = TypeVar("Item")

# A watch is one call, so it needs a deadline too; when this one passes, the watch resumes where it was.
WATCH_DEADLINE_SECONDS = 3600.0


class Resumable(Protocol):
    """A streamed response that says where to go on after it."""

    resume_token: str


Event = TypeVar("Event", bound=Resumable)


class Transport:
    """Makes calls on one channel. `pause`, `monotonic` and `jitter` are injected so that time can be."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        server: str,
        *,
        credential: str,
        timeout_seconds: float,
        retry: RetryPolicy,
        watch_retry: RetryPolicy,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.channel = channel
        self.server = server
        self._credential = credential
        self._timeout_seconds = timeout_seconds
        self._retry = retry
        self._watch_retry = watch_retry
        self._pause = pause
        self._monotonic = monotonic
        self._jitter = jitter

    def use_credential(self, credential: str) -> None:
        """Authenticate every later call with this token or API key; an empty one sends none."""
        self._credential = credential

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        repeatable: bool = True,
        timeout_seconds: float | None = None,
    ) -> Response:
        """One answer. The same request, with the same request id, is sent again as the policy allows.

        Pass `repeatable=False` for a mutation without a request id, and `timeout_seconds` for one attempt of a call
        that takes longer than others. Raises OrQuantaError.
        """
        began = self._monotonic()
        attempt = 0
        longest = timeout_seconds or self._timeout_seconds
        left = longest
        while True:
            attempt += 1
            try:
                return await method(request, timeout=left, metadata=self._metadata())
            except grpc.aio.AioRpcError as error:
                failure = error_from_rpc(error, self.server)
                elapsed = self._monotonic() - began
                pause = self._retry.pause_seconds(failure, attempt, elapsed, self._jitter())
                if pause is None or not repeatable:
                    raise failure from error
                left = min(longest, self._retry.total_seconds - elapsed - pause)
            await self._pause(pause)

    async def watch(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[Request, Event],
        request: Callable[[str], Request],
        read: Callable[[Event], Item],
        *,
        until: Callable[[Item], bool] | None,
    ) -> AsyncGenerator[Item, None]:
        """A stream that goes on after a broken connection, from the last resume token.

        `request` makes the request for a resume token ("" at first), `read` converts what arrives. The stream
        ends after the item of which `until` is true; before that, even an orderly end only means that the
        server went away. With `until=None` it ends when the server says so. Raises OrQuantaError once the
        policy gives up; its attempts and time count anew after each sign of life.
        """
        token, attempt, down_since = "", 0, None
        while True:
            opened = self._monotonic()
            stream = method(request(token), timeout=WATCH_DEADLINE_SECONDS, metadata=self._metadata())
            try:
                async for event in stream:
                    token, attempt, down_since = event.resume_token or token, 0, None
                    item = read(event)
                    yield item
                    if until is not None and until(item):
                        return
                if until is None:
                    return
                failure: OrQuantaError = Unavailable(f"{self.server} ended the stream before its time")
            except grpc.aio.AioRpcError as error:
                failure = error_from_rpc(error, self.server)
                failure.__cause__ = error
            finally:
                stream.cancel()
            now = self._monotonic()
            if now - opened > self._watch_retry.total_seconds:  # it was up and quiet, not down
                attempt, down_since = 0, None
            attempt += 1
            down_since = now if down_since is None else down_since
            pause = self._watch_retry.pause_seconds(failure, attempt, now - down_since, self._jitter())
            if pause is None:
                raise failure
            await self._pause(pause)

    async def poll(
        self,
        ask: Callable[[], Awaitable[Item]],
        *,
        every_seconds: float,
        on_failure: Callable[[OrQuantaError], object] | None = None,
    ) -> AsyncGenerator[Item, None]:
        """What `ask` finds, again and again, for what has no stream; it does not end by itself.

        Like a watch it goes on after an outage, until the policy gives up: then raises OrQuantaError. Each failure
        after which it goes on is told to `on_failure`. What was never there is no outage: the first failure of `ask`,
        which has its own retries, is raised at once.
        """
        attempt, down_since, answered = 0, None, False
        while True:
            try:
                found = await ask()
            except OrQuantaError as failure:
                now = self._monotonic()
                attempt += 1
                down_since = now if down_since is None else down_since
                pause = self._watch_retry.pause_seconds(failure, attempt, now - down_since, self._jitter())
                if pause is None or not answered:
                    raise
                if on_failure is not None:
                    on_failure(failure)
                await self._pause(max(pause, every_seconds))
                continue
            attempt, down_since, answered = 0, None, True
            yield found
            await self._pause(every_seconds)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> AsyncGenerator[Response, None]:
        """All of a stream that ends by itself. One that breaks is not taken up again. Raises OrQuantaError."""
        responses = method(request, timeout=WATCH_DEADLINE_SECONDS, metadata=self._metadata())
        try:
            async for response in responses:
                yield response
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error, self.server) from error
        finally:
            responses.cancel()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        sent = (("authorization", f"Bearer {self._credential}"),) if self._credential else ()
        trace = tracing.current()
        return sent if trace is None else (*sent, (tracing.HEADER, trace.traceparent()))


async def paged(
    fetch: Callable[[str], Awaitable[tuple[Sequence[Item], str]]],
) -> AsyncGenerator[Item, None]:
    """The items of all pages; the next page is asked for when the one before it is used up."""
    token = ""
    while True:
        items, token = await fetch(token)
        for item in items:
            yield item
        if not token:
            return


def request_id_or_new(request_id: str | None) -> str:
    """The caller's request id, or a fresh one."""
    return request_id or str(uuid4())
