"""The daemon's connection to NATS: telemetry (may be lost) and logs (acknowledged)."""

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import NoReturn

import structlog

from node_agent.clock import Clock
from node_agent.link.backoff import Backoff
from node_agent.link.cancellation import end
from node_agent.link.identity import Identity
from node_agent.link.newest import Newest
from node_agent.link.tls import client_context
from node_agent.link.wire import NatsError, WireClient

log = structlog.get_logger()

_ACK_SECONDS = 10.0
_PING_SECONDS = 10.0  # two without an answer end a connection, so that a half-open one is found within 30 s
_USUAL_LIFE_SECONDS = 60.0  # grants run out and certificates are renewed: a long connection may end in peace
_SHOWN_BYTES = 200


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

    def __init__(self, identity: Identity, *, clock: Clock, ping_seconds: float = _PING_SECONDS) -> None:
        self._identity = identity
        self._clock = clock
        self._ping_seconds = ping_seconds
        self._servers: tuple[str, ...] = ()
        self._told: Newest[None] = Newest()
        self._client: WireClient | None = None
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
        """Send one TelemetryBatch, or drop and count it; never waits for the broker."""
        if self._client is None or not self._client.is_connected or self._client.is_full:
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
        errors: list[str] = []
        try:
            client = await self._connect(errors)
        except (NatsError, OSError, TimeoutError) as error:
            return errors[-1] if errors else str(error) or type(error).__name__
        self._client = client
        self._last_failure = ""
        log.info("nats.up", server=client.connected_url.netloc if client.connected_url else "")
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(while_connected())
                over = group.create_task(client.over())
                told = group.create_task(self._told.take())
                try:
                    await asyncio.wait((over, told), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await end(serving, over, told)
        finally:
            self._client = None
            await client.leave()
        if told.done() and not told.cancelled():
            return "the servers or the certificate changed"
        return errors[-1] if errors else "the connection was closed"

    async def _connect(self, errors: list[str]) -> WireClient:
        """Return a connected client; `errors` then takes its newest error."""

        async def note_error(error: Exception) -> None:
            errors[:] = [str(error) or type(error).__name__]
            log.debug("nats.error", error=errors[0])

        self._told.clear()
        servers = list(self._servers)
        random.shuffle(servers)
        client = WireClient()
        await client.open(
            servers,
            ping_seconds=self._ping_seconds,
            name=self._identity.node_id,
            tls=client_context(self._identity),
            tls_handshake_first=True,  # the broker speaks TLS from the first byte, so that nobody can strip it
            inbox_prefix=f"_INBOX.{self._identity.node_id}",
            error_cb=note_error,
        )
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
