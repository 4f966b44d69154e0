"""One host's link: connect, Hello, obey, heartbeats, connect again; the same protocol as the daemon's, in one task."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import grpc

from orquanta.v1 import node_link_pb2, node_link_pb2_grpc
from simulator.draws import dice_of
from simulator.host import VirtualHost
from simulator.identity import CHANNEL_OPTIONS, Identity, renewal_due_at, renewal_request
from simulator.journal import Happening
from simulator.stamps import stamp

_WELCOME_SECONDS: Final = 10.0
_RESEND_SECONDS: Final = 10.0
_FIRST_RETRY_SECONDS: Final = 0.1
_LONGEST_RETRY_SECONDS: Final = 5.0
_STEADY_SECONDS: Final = 10.0

_Call = grpc.aio.StreamStreamCall[node_link_pb2.ConnectRequest, node_link_pb2.ConnectResponse]


class _Over(Exception):
    """The stream has ended."""

    def __init__(self, reason: str, *, retry_after_seconds: float = 0.0, permanent: bool = False) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.permanent = permanent


@dataclass(slots=True)
class LinkCounts:
    """How the links of a process are."""

    up: int = 0
    connects: int = 0
    dropped: int = 0
    refused: int = 0
    put_off: int = 0
    last_reason: str = ""


class HostLink:
    """Keeps one host connected to one of its link servers. `on_change`: something of the host has a due time now."""

    def __init__(
        self,
        host: VirtualHost,
        identity: Identity,
        counts: LinkCounts,
        *,
        on_change: Callable[[VirtualHost], None],
        on_nats: Callable[["HostLink"], None],
        dice: random.Random,
    ) -> None:
        self.host = host
        self.identity = identity
        self.nats_servers: tuple[str, ...] = ()
        self.offline_until = 0.0
        """The network of this host is cut until then."""
        self._counts = counts
        self._on_change = on_change
        self._on_nats = on_nats
        self._dice = dice
        self._wake = asyncio.Event()
        self._call: _Call | None = None
        self._channel: grpc.aio.Channel | None = None
        self._renew_at = renewal_due_at(identity)
        self._sent_at = 0.0
        self._sequence = 0
        self._fence_seconds = float("inf")

    def wake(self) -> None:
        """Have what the host has said carried to the control plane."""
        self._wake.set()

    def cut(self, until: float) -> None:
        """Cut the network of this host until a moment."""
        self.offline_until = until
        if self._call is not None:
            self._call.cancel()

    async def run(self) -> None:
        """Stay connected until cancelled, or until the control plane does not want the host back."""
        failures = 0
        servers = list(self.identity.link_servers)
        dice_of(self.identity.node_id, "servers").shuffle(servers)  # hosts spread over the control planes
        for server in itertools.cycle(servers):
            while True:
                await asyncio.sleep(max(0.0, self.offline_until - time.time()))
                began = time.monotonic()
                over = await self._connect(server)
                self._counts.last_reason = str(over)
                if over.permanent:
                    self._counts.refused += 1
                    return
                failures = 0 if time.monotonic() - began >= _STEADY_SECONDS else failures + 1
                ceiling = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(failures, 16))
                asked = over.retry_after_seconds * self._dice.uniform(1.0, 1.2)
                await asyncio.sleep(asked or ceiling * self._dice.uniform(0.5, 1.0))
                if failures:
                    if len(servers) > 1:
                        self._hang_up()
                    break  # the next server

    async def _connect(self, server: str) -> _Over:
        if self._channel is None:
            self._channel = grpc.aio.secure_channel(server, self.identity.credentials, options=CHANNEL_OPTIONS)
        up = keep = False
        try:
            self._call = node_link_pb2_grpc.NodeLinkServiceStub(self._channel).Connect()
            heartbeat_seconds, lease_seconds = await self._greet(self._call)
            up = True
            self._counts.up += 1
            self._counts.connects += 1
            self.host.journal.note(Happening.LINKED, self.host.node_id, server=server, control_epoch=self.host.epoch)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(self._call))
                group.create_task(self._write(self._call, heartbeat_seconds, lease_seconds))
        except _Over as over:
            keep = not up and over.retry_after_seconds > 0  # so that coming back costs no handshake
            self._counts.put_off += keep
            return over
        except grpc.aio.AioRpcError as error:
            return _Over(f"{error.code().name}: {error.details()}")
        except BaseExceptionGroup as failures:
            return _first(failures)
        except asyncio.InvalidStateError:
            return _Over("the stream has ended")
        finally:
            if up:
                self._counts.up -= 1
                self._counts.dropped += 1
                self.host.journal.note(Happening.UNLINKED, self.host.node_id)
            self.host.unlink()
            if self._call is not None:
                self._call.cancel()
            self._call = None
            if not keep:
                self._hang_up()
        return _Over("the stream has ended")

    def _hang_up(self) -> None:
        """Close the channel by letting go of it: its call is cancelled already.

        `close` would look at every task of the process for calls of this channel: 15 ms with five thousand hosts. When
        some of so many lost their links, the others heard nothing for minutes, and lost theirs too.
        """
        self._channel = None

    async def _greet(self, call: _Call) -> tuple[float, float]:
        now = time.time()
        hello = node_link_pb2.ConnectRequest(hello=self.host.hello(now))
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                await call.write(hello)
                response = await call.read()
        except TimeoutError:
            raise _Over("no welcome in time") from None
        if not isinstance(response, node_link_pb2.ConnectResponse):
            raise await _status(call)
        if response.WhichOneof("message") != "welcome":
            if response.disconnect.HasField("fence"):
                told = now + response.disconnect.fence.ToTimedelta().total_seconds()
                self.host.fence_at = max(told, self.host.fence_at)  # never back; one that has no end has no jobs either
            raise _farewell(response.disconnect)
        welcome = response.welcome
        if not self.host.admit(welcome.control_epoch):
            raise _Over("a control plane of an older epoch answered")
        self._fence_seconds = welcome.fence.ToTimedelta().total_seconds()
        self.host.fence_at = now + self._fence_seconds
        self._on_change(self.host)
        self.nats_servers = tuple(welcome.nats_servers)
        self._on_nats(self)
        heartbeat = max(0.05, welcome.heartbeat_interval.ToTimedelta().total_seconds())
        return heartbeat, max(2 * heartbeat, welcome.lease.ToTimedelta().total_seconds())

    async def _read(self, call: _Call) -> None:
        host = self.host
        while True:
            response = await call.read()
            if not isinstance(response, node_link_pb2.ConnectResponse):
                raise await _status(call)
            match response.WhichOneof("message"):
                case "heartbeat_ack":
                    if 0 < response.heartbeat_ack.sequence == self._sequence:
                        host.fence_at = self._sent_at + self._fence_seconds
                case "desired_state":
                    host.obey(response.desired_state, time.time())
                    self._on_change(host)
                    self.wake()
                case "member_report_ack":
                    ack = response.member_report_ack
                    host.acknowledge(ack.allocation_id, ack.rank)
                case "spool_ack":
                    host.acknowledge_spool(response.spool_ack, time.time())
                case "certificate":
                    self.identity = replace(self.identity, certificate=response.certificate.decode())
                    self._renew_at = renewal_due_at(self.identity)
                    raise _Over("the certificate was renewed")
                case "disconnect":
                    raise _farewell(response.disconnect)
                case _:
                    pass  # of a later version

    async def _write(self, call: _Call, heartbeat_seconds: float, lease_seconds: float) -> None:
        """Say what the host says, and heartbeats; the first at a random moment, so that hosts do not beat in step."""
        loop = asyncio.get_running_loop()
        beat_at = loop.time() + heartbeat_seconds * self._dice.random()
        told_at = loop.time()
        for sequence in itertools.count(1):
            while (wait := beat_at - loop.time()) > 0:
                if not self.host.said:
                    self._wake.clear()
                    handle = loop.call_later(wait, self._wake.set)
                    try:
                        await self._wake.wait()
                    finally:
                        handle.cancel()
                said, self.host.said = self.host.said, []
                for request in said:
                    await call.write(request)
            now = time.time()
            if now > self.host.fence_at - self._fence_seconds + lease_seconds:
                raise _Over("no heartbeat was acknowledged in time")
            if loop.time() - told_at > _RESEND_SECONDS:
                told_at = loop.time()
                for report in self.host.ends():
                    await call.write(node_link_pb2.ConnectRequest(member_report=report))
            if now > self._renew_at:
                self._renew_at = now + _RESEND_SECONDS
                pem = renewal_request(self.identity)
                await call.write(node_link_pb2.ConnectRequest(certificate_signing_request=pem))
            self._sent_at, self._sequence = now, sequence
            beat = node_link_pb2.Heartbeat(sequence=sequence, host_time=stamp(now))
            await call.write(node_link_pb2.ConnectRequest(heartbeat=beat))
            beat_at += heartbeat_seconds


async def _status(call: _Call) -> _Over:
    code = await call.code()
    # A host without rights is told by the status: trying again would be of no use.
    return _Over(f"{code.name}: {await call.details()}", permanent=code is grpc.StatusCode.PERMISSION_DENIED)


def _farewell(message: node_link_pb2.Disconnect) -> _Over:
    return _Over(
        message.reason or "no reason given",
        retry_after_seconds=message.retry_after.ToTimedelta().total_seconds(),
        permanent=message.permanent,
    )


def _first(failures: BaseExceptionGroup[BaseException]) -> _Over:
    """Return why the stream ended; raises the group again if something else went wrong."""
    for failure in failures.exceptions:
        if isinstance(failure, _Over):
            return failure
        if isinstance(failure, grpc.aio.AioRpcError):
            return _Over(f"{failure.code().name}: {failure.details()}")
        if not isinstance(failure, asyncio.InvalidStateError):
            raise failures
    return _Over("the stream has ended")
