"""The connection to the broker: one that mends itself.

nats-py gives a client up for good after an authorisation error or an expired grant, and waits without jitter
between attempts. So each of its clients lives for one connection here and never reconnects; this makes the
next one, for ever, and subscribes again.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import nats.errors
import structlog

from control_plane.bus.cancellation import end, heeded
from control_plane.bus.jetstream import ensure_stream
from control_plane.bus.publishing import disconnected
from control_plane.bus.session import BusEndpoint, Session
from control_plane.bus.streams import StreamSpec
from control_plane.bus.subscriptions import Subscription
from control_plane.errors import OrQuantaError, Unauthenticated, Unavailable

log = structlog.get_logger()

_FIRST_RETRY_SECONDS: Final = 0.05
_MAX_RETRY_SECONDS: Final = 5.0


class KeptConnection:
    """Connects in `start` and again whenever the connection is lost, with its streams and subscriptions."""

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
        """Send what was published, close the connection, and let who waits for the next one know that there is none."""
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

    async def next_session(self) -> Session | None:
        """Wait for a connection; None when the bus is closed."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closing or self.healthy)
        return None if self._closing else self._session

    async def keep(self, subscription: Subscription) -> None:
        """Attach a subscription to the connection of now, if there is one, and to every later one."""
        async with self._attaching:
            self._subscriptions.append(subscription)
            session = self._session
            if session is not None:
                with heeded(), contextlib.suppress(nats.errors.Error):  # then the next connection attaches it
                    await subscription.attach(session)
                    await session.settle()

    def forget(self, subscription: Subscription) -> None:
        """Attach it to no later connection."""
        with contextlib.suppress(ValueError):
            self._subscriptions.remove(subscription)

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
