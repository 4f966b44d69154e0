"""nats-py's client for one connection, made safe against a broker that is killed, stands still or refuses."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from node_agent.beat import until_beat
from node_agent.later import without
from node_agent.link.cancellation import end, heeded

with without("nats.js"):  # one request is all that is needed of JetStream: 1.4 MB
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error as NatsError

__all__ = ["NatsError", "WireClient"]

_CONNECT_SECONDS: Final = 5
_CONNECT_IN_ALL_SECONDS: Final = 12.0  # the address, TLS, the greeting and the answer to ours have that much each
_CLOSE_SECONDS: Final = 1.0
_MAX_OUTSTANDING_PINGS: Final = 2
_PENDING_BYTES: Final = 4 * 1024 * 1024
_LOOK_SECONDS: Final = 2.0


class WireClient(Client):
    """A client whose every call ends, and is cancelled when its task is. It never reconnects.

    nats-py waits without a bound for a broker that reads no more: before it closes, and so before it says that the
    connection is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self._closing = asyncio.Event()

    async def open(self, servers: list[str], *, ping_seconds: float, **options: Any) -> None:
        """Connect. Raises NatsError, OSError or TimeoutError. Any: nats-py's own options."""
        try:
            async with asyncio.timeout(_CONNECT_IN_ALL_SECONDS):
                with heeded():
                    await self.connect(
                        servers,
                        allow_reconnect=False,
                        max_reconnect_attempts=1,  # without it, connecting tries the same servers for two minutes
                        reconnect_time_wait=0,
                        connect_timeout=_CONNECT_SECONDS,
                        ping_interval=ping_seconds,  # type: ignore[arg-type] # it is only slept for
                        max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
                        pending_size=_PENDING_BYTES,
                        **options,
                    )
            self._check()
        except BaseException:
            await self.leave()  # nats-py leaves the socket of a refused connection open
            raise

    def _check(self) -> None:
        """nats-py takes the end of the stream for the broker's word of welcome, and would wait on it for ever."""
        if not self.is_connected:
            raise NatsError("nats: the broker closed the connection before it was up")

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that a call would wait for the broker."""
        return self.pending_data_size > _PENDING_BYTES // 2

    async def publish(self, *args: Any, **options: Any) -> None:
        """Publish as nats-py does. Any: its own signature."""
        with heeded():
            await super().publish(*args, **options)

    async def request(self, *args: Any, **options: Any) -> Msg:
        """Ask as nats-py does. Any: its own signature."""
        with heeded():
            return await super().request(*args, **options)

    async def over(self) -> None:
        """Return when there is no connection any more, whether or not nats-py says so: it may not."""
        while self.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(until_beat(_LOOK_SECONDS)):
                    await self._closing.wait()

    async def leave(self) -> None:
        """Close the connection; nothing of it is left afterwards."""
        try:
            with suppress(NatsError, OSError, TimeoutError):
                await self.close()
        finally:
            self._cut()
            await end(*self._left())

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await super()._close(status, do_cbs)
        except (OSError, TimeoutError):
            self._cut()
        finally:
            self._closing.set()

    def _cut(self) -> None:
        """Close the socket now. What a broker that stands still has not read yet is lost, as it would be anyway."""
        for name in ("_io_writer", "_bare_io_writer"):
            writer = getattr(self._transport, name, None)
            if writer is not None:
                writer.transport.abort()

    def _left(self) -> list[asyncio.Task[Any]]:
        """Return the tasks of nats-py that have not ended, but not whoever asks."""
        found = [self._reading_task, self._ping_interval_task, self._flusher_task]
        found += [sub._wait_for_msgs_task for sub in self._subs.values()]  # noqa: SLF001 - nats-py's own part
        return [task for task in found if task is not None and task is not asyncio.current_task()]
