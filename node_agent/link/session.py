"""One stream, from Hello to its end."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from node_agent.clock import Clock
from node_agent.link.epoch import ControlEpoch
from node_agent.link.host import BootClock, Host, Records
from node_agent.link.newest import Newest
from node_agent.link.outbox import Outbox
from node_agent.link.sender import SpoolSender
from node_agent.link.servers import addresses
from node_agent.link.stream_end import Call, StreamEnd, disconnected, end_of, first_end, status_of
from orquanta.v1 import job_pb2, node_link_pb2

log = structlog.get_logger()

_WELCOME_SECONDS = 10.0
_RESEND_SECONDS = 10.0  # an end that is not acknowledged for this long is told again
_MAX_UNACKNOWLEDGED = 64  # heartbeats; the lease ends a stream long before
_MIN_HEARTBEAT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Terms:
    """What the control plane's Welcome said."""

    heartbeat_seconds: float
    lease_seconds: float
    fence_seconds: float
    nats_servers: tuple[str, ...]
    clock_ahead_seconds: float
    """How far this host's wall clock is ahead of the control plane's."""
    link_servers: tuple[str, ...] = ()
    """The link servers of all control planes, `host:port`."""


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What a session works with; it belongs to the link and outlives the session."""

    node_id: str
    host: Host
    records: Records
    epoch: ControlEpoch
    clock: Clock
    boot_clock: BootClock
    orders: Newest[node_link_pb2.DesiredState]
    instructions: Newest[node_link_pb2.DesiredState]
    """The same orders, for what they say beside their members: a repair does not wait for jobs to start."""
    certificates: Newest[bytes]
    on_up: Callable[[Terms], None]
    has_other_servers: Callable[[], bool] = lambda: False


class Session:
    """Speaks on one stream until it ends."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self._sent: deque[tuple[int, float]] = deque(maxlen=_MAX_UNACKNOWLEDGED)
        self._heard_at = parts.clock.monotonic()
        self._fence_at = 0.0
        self._revision = -1
        self._close_reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.outbox = Outbox()
        self._sender = SpoolSender(parts.records, self.outbox.put_batch)
        self.terms: Terms | None = None
        """Set once the stream is up."""

    def close(self, reason: str) -> None:
        """Let `run` end."""
        if not self._close_reason.done():
            self._close_reason.set_result(reason)

    async def run(self, call: Call) -> StreamEnd:
        """Speak until the stream ends and return why it did."""
        try:
            terms = await self._greet(call)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(call, terms))
                group.create_task(self._write(call))
                group.create_task(self._beat(terms))
                group.create_task(self._sender.run())
                group.create_task(self._wait_for_close())
        except StreamEnd as end:
            return end
        except grpc.aio.AioRpcError as error:
            return end_of(error)
        except BaseExceptionGroup as failures:
            return first_end(failures)
        finally:
            call.cancel()
        raise AssertionError("a session's tasks end by raising")

    async def _greet(self, call: Call) -> Terms:
        """Send Hello with the full state, and wait for Welcome; the lease runs from when Hello was sent."""
        parts = self._parts
        hello = node_link_pb2.Hello(
            inventory=parts.host.inventory(),
            members=parts.host.member_reports(),
            host_time=self._now(),
            control_epoch=parts.epoch.value,
            conditions=parts.host.conditions(),
            repair=parts.host.repair_report(),
            spool_id=parts.records.spool_id,
            policy_version=parts.host.policy_version(),
        )
        sent_at = parts.boot_clock.boottime()
        try:
            async with asyncio.timeout(_WELCOME_SECONDS):
                response, _ = await asyncio.gather(call.read(), _say(call, node_link_pb2.ConnectRequest(hello=hello)))
        except TimeoutError as error:
            raise StreamEnd(f"no welcome within {_WELCOME_SECONDS:.0f} s") from error
        if not isinstance(response, node_link_pb2.ConnectResponse):
            raise await status_of(call)
        if response.WhichOneof("message") == "disconnect":
            if response.disconnect.HasField("fence"):  # it has to wait, and its jobs need not stop for that
                # Who tells it may not be who heard the host last: what that one has acknowledged still counts.
                told_seconds = response.disconnect.fence.ToTimedelta().total_seconds()
                await parts.host.extend_fence(sent_at + told_seconds)
            raise disconnected(response.disconnect)
        if response.WhichOneof("message") != "welcome":
            raise StreamEnd(f"the control plane spoke before its welcome: {response.WhichOneof('message')}")
        terms = self._accept(response.welcome)
        await self._move_fence(sent_at + terms.fence_seconds)
        return terms

    def _accept(self, welcome: node_link_pb2.Welcome) -> Terms:
        parts = self._parts
        if welcome.node_id != parts.node_id:
            raise StreamEnd(f"the control plane takes this node for {welcome.node_id!r}; it is {parts.node_id}")
        if not parts.epoch.admit(welcome.control_epoch):
            raise StreamEnd(
                f"a control plane of the older epoch {welcome.control_epoch} answered; "
                f"this node obeys {parts.epoch.value}"
            )
        heartbeat = max(_MIN_HEARTBEAT_SECONDS, welcome.heartbeat_interval.ToTimedelta().total_seconds())
        lease = max(2 * heartbeat, welcome.lease.ToTimedelta().total_seconds())
        ahead = 0.0
        if welcome.HasField("server_time"):
            ahead = (parts.clock.now() - welcome.server_time.ToDatetime(tzinfo=UTC)).total_seconds()
        self.terms = Terms(
            heartbeat_seconds=heartbeat,
            lease_seconds=lease,
            fence_seconds=max(lease, welcome.fence.ToTimedelta().total_seconds()),
            nats_servers=tuple(welcome.nats_servers),
            clock_ahead_seconds=ahead,
            link_servers=addresses(welcome.link_servers),
        )
        self._heard_at = parts.clock.monotonic()
        parts.on_up(self.terms)
        return self.terms

    async def _read(self, call: Call, terms: Terms) -> None:
        while True:
            response = await call.read()
            if not isinstance(response, node_link_pb2.ConnectResponse):
                raise await status_of(call)
            await self._handle(response, terms)

    async def _handle(self, response: node_link_pb2.ConnectResponse, terms: Terms) -> None:
        match response.WhichOneof("message"):
            case "heartbeat_ack":
                await self._handle_heartbeat_ack(response.heartbeat_ack.sequence, terms)
            case "desired_state":
                self._handle_order(response.desired_state)
            case "member_report_ack":
                ack = response.member_report_ack
                await self._parts.host.acknowledge(ack.allocation_id, ack.rank)
            case "spool_ack":
                await self._sender.acknowledge(response.spool_ack)
            case "certificate":
                self._parts.certificates.put(response.certificate)
            case "disconnect":
                raise disconnected(response.disconnect)
            case other:
                log.warning("link.message_unknown", message=other)

    async def _handle_heartbeat_ack(self, sequence: int, terms: Terms) -> None:
        while self._sent and self._sent[0][0] <= sequence:
            sent_sequence, sent_at = self._sent.popleft()
            if sent_sequence == sequence:
                if self._parts.boot_clock.boottime() >= self._fence_at:
                    raise StreamEnd("the fence passed before a heartbeat was acknowledged; both sides start anew")
                self._heard_at = self._parts.clock.monotonic()
                await self._move_fence(sent_at + terms.fence_seconds)

    async def _move_fence(self, boottime_seconds: float) -> None:
        self._fence_at = boottime_seconds
        await self._parts.host.set_fence(boottime_seconds)

    def _handle_order(self, order: node_link_pb2.DesiredState) -> None:
        if not self._parts.epoch.admit(order.control_epoch):
            log.warning(
                "link.order_refused",
                reason="its control epoch is older than one already obeyed",
                epoch=order.control_epoch,
                obeyed_epoch=self._parts.epoch.value,
            )
        elif order.revision > self._revision:
            self._revision = order.revision
            self._parts.orders.put(order)
            self._parts.instructions.put(order)

    async def _write(self, call: Call) -> None:
        while True:
            for request in await self.outbox.take():
                if request.WhichOneof("message") == "heartbeat":
                    self._sent.append((request.heartbeat.sequence, self._parts.boot_clock.boottime()))
                if not await _say(call, request):
                    return

    async def _beat(self, terms: Terms) -> None:
        """Send heartbeats, and end the stream when they are no longer acknowledged: it is then half open."""
        told_at = self._parts.clock.monotonic()
        for sequence in itertools.count(1):
            now = self._parts.clock.monotonic()
            silent = now - self._heard_at
            # With another server to call, the host does so while its lease still runs.
            patience = terms.lease_seconds / 2 if self._parts.has_other_servers() else terms.lease_seconds
            if silent > max(patience, 2 * terms.heartbeat_seconds):
                raise StreamEnd(f"no heartbeat was acknowledged for {silent:.1f} s")
            if now - told_at >= _RESEND_SECONDS:
                told_at = now
                self._tell_ends_again()
            self.outbox.put_heartbeat(node_link_pb2.Heartbeat(sequence=sequence, host_time=self._now()))
            await asyncio.sleep(terms.heartbeat_seconds)

    def _tell_ends_again(self) -> None:
        for report in self._parts.host.member_reports():
            if report.state == job_pb2.ALLOCATION_STATE_ENDED:
                self.outbox.put_report(report)

    async def _wait_for_close(self) -> None:
        raise StreamEnd(await self._close_reason)

    def _now(self) -> Timestamp:
        stamp = Timestamp()
        stamp.FromDatetime(self._parts.clock.now())
        return stamp


async def _say(call: Call, request: node_link_pb2.ConnectRequest) -> bool:
    """Send one message; return False if the peer has ended the stream.

    That is no failure by itself: what the peer said last is still to be read, and tells why.
    """
    try:
        await call.write(request)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return False
    return True
