"""The daemon's connection to NATS: telemetry (may be lost) and logs (acknowledged)."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.later import without
from node_agent.link.backoff import Backoff
from node_agent.link.identity import Identity
from node_agent.link.newest import Newest
from node_agent.link.tls import client_context

with without("nats.js"):  # one request is all that is needed of JetStream: 1.4 MB
    from nats.aio.client import Client
    from nats.errors import Error as NatsError

log = structlog.get_logger()

_CANCEL_AGAIN_SECONDS = 0.2
_CONNECT_SECONDS = 5
_CLOSE_SECONDS = 1.0  # nats-py waits for ever for a connection whose handshake has failed
_ACK_SECONDS = 10.0
_PING_SECONDS = 10
_MAX_OUTSTANDING_PINGS = 2  # a half-open connection is found within 30 s
_USUAL_LIFE_SECONDS = 60.0  # grants run out and certificates are renewed: a long connection may end in peace
_SHOWN_BYTES = 200
_PENDING_BYTES = 4 * 1024 * 1024


class BrokerAway(Exception):
    """What was published was not acknowledged: NATS is away, or has no stream for it yet."""


@dataclass(slots=True)
class BrokerCounts:
    """What happened to telemetry since the daemon started."""

    telemetry_sent: int = 0
    telemetry_dropped: int = 0


class Broker:
    """Connects, and connects afresh whenever the connection ends.

    nats-py's own reconnecting is off: it gives up for good when the control plane's grant runs out (every ten
    minutes or so), and it would go on using a certificate that has been renewed.
    """

    def __init__(self, identity: Identity, *, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._servers: tuple[str, ...] = ()
        self._told: Newest[None] = Newest()
        self._client: Client | None = None
        self._last_failure = ""
        self.counts = BrokerCounts()

    @property
    def connected(self) -> bool:
        """True while NATS can be reached."""
        return self._client is not None and self._client.is_connected

    @property
    def configured(self) -> bool:
        """True if the control plane named servers."""
        return bool(self._servers)

    def use_servers(self, servers: Sequence[str]) -> None:
        """Connect to these servers from now on; to none if empty."""
        if tuple(servers) != self._servers:
            self._servers = tuple(servers)
            self._told.put(None)

    def use_identity(self, identity: Identity) -> None:
        """Connect with this identity from now on; the connection is made anew."""
        self._identity = identity
        self._told.put(None)

    async def publish_telemetry(self, data: bytes) -> None:
        """Send one TelemetryBatch, or drop and count it."""
        if self._client is None or not self._client.is_connected:
            self.counts.telemetry_dropped += 1
            return
        try:
            await self._client.publish(f"orq.node.{self._identity.node_id}.telemetry", data)
        except (NatsError, OSError):
            self.counts.telemetry_dropped += 1
        else:
            self.counts.telemetry_sent += 1

    async def publish_log(self, job_id: str, data: bytes, *, message_id: str) -> None:
        """Store one LogChunk in the stream; raises BrokerAway if that is not known to have worked."""
        if self._client is None:
            raise BrokerAway("not connected")
        try:
            answer = await self._client.request(
                f"orq.node.{self._identity.node_id}.log.{job_id}",
                data,
                timeout=_ACK_SECONDS,
                headers={"Nats-Msg-Id": message_id},
            )
            _check_stored(answer.data)
        except (NatsError, OSError, ValueError) as error:
            raise BrokerAway(str(error) or type(error).__name__) from error

    async def run(self, while_connected: Callable[[], Coroutine[None, None, None]]) -> NoReturn:
        """Stay connected until cancelled; `while_connected` runs during each connection and is then cancelled."""
        backoff = Backoff()
        while True:
            if not self._servers:
                await self._told.take()
                continue
            began = self._clock.monotonic()
            reason = await self._one_connection(while_connected)
            lived_seconds = self._clock.monotonic() - began
            self._note_down(reason, lived_seconds)
            await asyncio.sleep(backoff.next_seconds(lived_seconds))

    async def _one_connection(self, while_connected: Callable[[], Coroutine[None, None, None]]) -> str:
        """Connect, serve, and return why the connection ended."""
        over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        errors: list[str] = []
        try:
            client = await self._connect(over, errors)
        except (NatsError, OSError, TimeoutError) as error:
            _heed_cancellation()
            return errors[-1] if errors else str(error) or type(error).__name__
        if _is_cancelled():
            await _close(client)
            raise asyncio.CancelledError
        self._client = client
        self._last_failure = ""
        log.info("nats.up", server=client.connected_url.netloc if client.connected_url else "")
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(while_connected())
                told = group.create_task(self._told.take())
                try:
                    await asyncio.wait((over, told), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    told.cancel()
                    await _end(serving)
        finally:
            self._client = None
            await _close(client)
        return over.result() if over.done() else "the servers or the certificate changed"

    async def _connect(self, over: asyncio.Future[str], errors: list[str]) -> Client:
        """Return a connected client; `errors` then takes its newest error, `over` why it was closed."""

        async def note_error(error: Exception) -> None:
            errors[:] = [str(error) or type(error).__name__]
            log.debug("nats.error", error=errors[0])

        async def note_closed() -> None:
            if not over.done():
                over.set_result(errors[-1] if errors else "the connection was closed")

        self._told.clear()
        servers = list(self._servers)
        random.shuffle(servers)
        client = Client()
        try:
            await client.connect(
                servers,
                name=self._identity.node_id,
                tls=client_context(self._identity),
                tls_handshake_first=True,  # the broker speaks TLS from the first byte, so that nobody can strip it
                inbox_prefix=f"_INBOX.{self._identity.node_id}",
                allow_reconnect=False,
                max_reconnect_attempts=1,  # without it, connecting tries the same servers for two minutes
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_SECONDS,
                ping_interval=_PING_SECONDS,
                max_outstanding_pings=_MAX_OUTSTANDING_PINGS,
                pending_size=_PENDING_BYTES,
                error_cb=note_error,
                closed_cb=note_closed,
                disconnected_cb=note_closed,
            )
            _check_connected(client)
        except BaseException:
            await _close(client)  # nats-py leaves the socket of a refused connection open
            raise
        return client

    def _note_down(self, reason: str, lived_seconds: float) -> None:
        if lived_seconds >= _USUAL_LIFE_SECONDS:
            log.info("nats.down", reason=reason)
        elif reason != self._last_failure:  # the same failure every five seconds is one line in the log
            self._last_failure = reason
            log.warning("nats.down", reason=reason)


def _check_stored(answer: bytes) -> None:
    """Raise ValueError unless JetStream says that it has stored a message: `{"stream": "LOGS", "seq": 7}`."""
    said = json.loads(answer)
    if not isinstance(said, dict) or "error" in said or not isinstance(said.get("seq"), int):
        raise ValueError(f"JetStream did not store it: {answer[:_SHOWN_BYTES]!r}")


def _check_connected(client: Client) -> None:
    """nats-py takes the end of the stream for the broker's word of welcome, and would wait on it for ever."""
    if not client.is_connected:
        raise NatsError("nats: the broker closed the connection before it was up")


async def _close(client: Client) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.close()
    except (NatsError, OSError, TimeoutError) as error:
        log.debug("nats.close_failed", error=str(error))


def _is_cancelled() -> bool:
    """Tell whether this task was cancelled: nats-py, and `wait_for` of Python 3.11 beneath it, can lose that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _heed_cancellation() -> None:
    if _is_cancelled():
        raise asyncio.CancelledError


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended, however often it loses the cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_CANCEL_AGAIN_SECONDS)
