"""A scripted control plane: real gRPC over real mutual TLS, and nothing behind it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf.duration_pb2 import Duration

from orquanta.gameday.fleet import free_port
from orquanta.v1 import health_pb2, job_pb2, node_link_pb2, node_link_pb2_grpc, node_pb2, repair_pb2
from tests.node_agent.pki import Authority, key_of_request, node_id_of, serial_of

WAIT_SECONDS = 30.0
TOKEN_CREDENTIAL = "oqj_t-0123456789ab_" + "s" * 52


class Stream:
    """One Connect stream as the control plane sees it."""

    def __init__(self, plane: "Plane", node_id: str, serial: int) -> None:
        self._plane = plane
        self.node_id = node_id
        self.serial = serial
        self.hello: node_link_pb2.Hello | None = None
        self.reports: list[node_link_pb2.MemberReport] = []
        self.heartbeats: list[node_link_pb2.Heartbeat] = []
        self.inventories: list[node_pb2.HostInventory] = []
        self.repairs: list[repair_pb2.RepairReport] = []
        self.batches: list[node_link_pb2.SpoolBatch] = []
        self.out: asyncio.Queue[node_link_pb2.ConnectResponse | None] = asyncio.Queue()
        self.closed = False

    @property
    def all_reports(self) -> list[node_link_pb2.MemberReport]:
        return [*(self.hello.members if self.hello else ()), *self.reports]

    def send(self, response: node_link_pb2.ConnectResponse) -> None:
        self.out.put_nowait(response)

    def order(
        self,
        *members: node_link_pb2.MemberAssignment,
        revision: int = 1,
        epoch: int | None = None,
        repair: repair_pb2.RepairOrder | None = None,
        condition_orders: Sequence[node_link_pb2.ConditionOrder] = (),
        stops: Sequence[node_link_pb2.MemberStop] = (),
    ) -> None:
        state = node_link_pb2.DesiredState(
            control_epoch=self._plane.epoch if epoch is None else epoch,
            revision=revision,
            members=members,
            repair=repair,
            policy=self._plane.policy,
            condition_orders=condition_orders,
            stops=stops,
        )
        self.send(node_link_pb2.ConnectResponse(desired_state=state))

    def cut(self) -> None:
        self.out.put_nowait(None)


@dataclass
class Plane(node_link_pb2_grpc.NodeLinkServiceServicer):
    authority: Authority
    epoch: int = 5
    fence_seconds: float = 60.0
    heartbeat_seconds: float = 0.05
    lease_seconds: float = 10.0
    acknowledge_heartbeats: bool = True
    acknowledge_ends: bool = True
    acknowledge_spool: bool = True
    policy: repair_pb2.SignedPolicy | None = None
    """Sent with every order."""
    books: list[node_link_pb2.SpoolRecord] = field(default_factory=list)
    """Records of all spools, each once, in the order of their coming."""
    spool_positions: dict[str, int] = field(default_factory=dict)
    answer_signing_requests: bool = True
    certificate_lifetime: timedelta = timedelta(days=1)
    certificate_starts_in: timedelta = timedelta(minutes=-1)
    nats_servers: tuple[str, ...] = ()
    link_servers: tuple[str, ...] = ()
    desired: tuple[node_link_pb2.MemberAssignment, ...] | None = ()
    """Sent after each welcome; nothing if None."""
    refuse: node_link_pb2.Disconnect | None = None
    abort: grpc.StatusCode | None = None
    token_used_by: bytes = b""
    join_error: tuple[grpc.StatusCode, str] | None = None
    joins: list[node_link_pb2.JoinRequest] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    """The connection of each stream."""
    join_address: str = ""
    link_address: str = ""

    def __post_init__(self) -> None:
        self._changed = asyncio.Condition()
        self._link_server: grpc.aio.Server | None = None

    @property
    def token(self) -> str:
        der = base64.urlsafe_b64encode(self.authority.der).decode().rstrip("=")
        return f"{TOKEN_CREDENTIAL}_{der}"

    @property
    def stream(self) -> Stream:
        return self.streams[-1]

    async def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something that the daemon said makes the condition true."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    async def up(self, streams: int = 1) -> Stream:
        """Wait until this many streams have begun and the newest one has said hello and beaten once."""
        await self.wait_for(lambda: len(self.streams) >= streams and self.stream.heartbeats)
        return self.stream

    async def reported(self, state: job_pb2.AllocationState.ValueType) -> node_link_pb2.MemberReport:
        """Wait for a report of this state on any stream and return it."""

        def find() -> list[node_link_pb2.MemberReport]:
            return [r for stream in self.streams for r in stream.all_reports if r.state == state]

        await self.wait_for(find)
        return find()[-1]

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # The service.

    async def Join(  # noqa: N802 - gRPC's name
        self,
        request: node_link_pb2.JoinRequest,
        context: grpc.aio.ServicerContext[node_link_pb2.JoinRequest, Awaitable[node_link_pb2.JoinResponse]],
    ) -> node_link_pb2.JoinResponse:
        self.joins.append(request)
        key = key_of_request(request.certificate_signing_request)
        if self.join_error is not None:
            await context.abort(*self.join_error)
        if request.token != TOKEN_CREDENTIAL:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the join token is unknown; make a new one")
        if self.token_used_by not in (b"", key):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "the join token was used already; make a new one")
        off = abs((request.host_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)).total_seconds())
        if off > 300:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION, f"this host's clock is {off / 3600:.1f} hours off; set it"
            )
        self.token_used_by = key
        return node_link_pb2.JoinResponse(
            node_id="n-0123456789ab",
            certificate=self.authority.sign_node(
                request.certificate_signing_request,
                "n-0123456789ab",
                lifetime=self.certificate_lifetime,
                starts_in=self.certificate_starts_in,
            ),
            ca_certificate=self.authority.pem,
            link_servers=[self.link_address],
        )

    async def Connect(  # noqa: N802 - gRPC's name
        self,
        request_iterator: AsyncIterator[node_link_pb2.ConnectRequest],
        context: grpc.aio.ServicerContext[
            AsyncIterator[node_link_pb2.ConnectRequest], AsyncIterator[node_link_pb2.ConnectResponse]
        ],
    ) -> AsyncIterator[node_link_pb2.ConnectResponse]:
        pem = next(iter(context.auth_context()["x509_pem_cert"]))
        stream = Stream(self, node_id_of(pem), serial_of(pem))
        self.streams.append(stream)
        self.peers.append(context.peer())
        if self.abort is not None:
            await context.abort(self.abort, "go away")
        if self.refuse is not None:
            await self._note()
            yield node_link_pb2.ConnectResponse(disconnect=self.refuse)
            return
        reading = asyncio.create_task(self._read(stream, request_iterator))
        try:
            while (response := await stream.out.get()) is not None:
                yield response
        finally:
            stream.closed = True
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._note()

    async def _read(  # noqa: C901 - one case for each message
        self, stream: Stream, requests: AsyncIterator[node_link_pb2.ConnectRequest]
    ) -> None:
        async for request in requests:
            match request.WhichOneof("message"):
                case "hello":
                    stream.hello = request.hello
                    self._welcome(stream)
                case "heartbeat":
                    stream.heartbeats.append(request.heartbeat)
                    if self.acknowledge_heartbeats:
                        ack = node_link_pb2.HeartbeatAck(sequence=request.heartbeat.sequence)
                        stream.send(node_link_pb2.ConnectResponse(heartbeat_ack=ack))
                case "member_report":
                    stream.reports.append(request.member_report)
                    self._acknowledge(stream, request.member_report)
                case "inventory":
                    stream.inventories.append(request.inventory)
                case "repair_report":
                    stream.repairs.append(request.repair_report)
                case "spool":
                    stream.batches.append(request.spool)
                    self._book(stream, request.spool)
                case "certificate_signing_request":
                    if self.answer_signing_requests:
                        pem = self.authority.sign_node(request.certificate_signing_request, stream.node_id)
                        stream.send(node_link_pb2.ConnectResponse(certificate=pem))
            await self._note()
        stream.cut()

    def _welcome(self, stream: Stream) -> None:
        assert stream.hello is not None
        welcome = node_link_pb2.Welcome(
            node_id=stream.node_id,
            control_epoch=self.epoch,
            heartbeat_interval=_duration(self.heartbeat_seconds),
            lease=_duration(self.lease_seconds),
            fence=_duration(self.fence_seconds),
            nats_servers=self.nats_servers,
            link_servers=self.link_servers,
        )
        welcome.server_time.FromDatetime(datetime.now(UTC))
        stream.send(node_link_pb2.ConnectResponse(welcome=welcome))
        if self.desired is not None:
            stream.order(*self.desired)
        for report in stream.hello.members:
            self._acknowledge(stream, report)

    def _book(self, stream: Stream, batch: node_link_pb2.SpoolBatch) -> None:
        """Take each record once, as the control plane's books do."""
        position = self.spool_positions.get(batch.spool_id, 0)
        for record in batch.records:
            if record.sequence > position:
                self.books.append(record)
                position = record.sequence
        self.spool_positions[batch.spool_id] = position
        if self.acknowledge_spool:
            ack = node_link_pb2.SpoolAck(spool_id=batch.spool_id, sequence=position)
            stream.send(node_link_pb2.ConnectResponse(spool_ack=ack))

    @property
    def health_events(self) -> list[health_pb2.HealthEvent]:
        """Return the health events in the books."""
        return [record.health_event for record in self.books if record.HasField("health_event")]

    def _acknowledge(self, stream: Stream, report: node_link_pb2.MemberReport) -> None:
        if self.acknowledge_ends and report.state == job_pb2.ALLOCATION_STATE_ENDED:
            ack = node_link_pb2.MemberReportAck(allocation_id=report.allocation_id, rank=report.rank)
            stream.send(node_link_pb2.ConnectResponse(member_report_ack=ack))

    # Its life.

    async def stop_link(self) -> None:
        assert self._link_server is not None
        await self._link_server.stop(0)
        self._link_server = None

    async def start_link(self) -> None:
        """Serve Connect; on the same port as before, if it served before."""
        pair = self.authority.server()
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        node_link_pb2_grpc.add_NodeLinkServiceServicer_to_server(self, server)
        credentials = grpc.ssl_server_credentials(
            [(pair.key_pem, pair.certificate_pem)], self.authority.pem, require_client_auth=True
        )
        # Not a port that the kernel gives to whoever asks for any: it must still be there when this serves again.
        self.link_address = self.link_address or f"127.0.0.1:{free_port()}"
        server.add_secure_port(self.link_address, credentials)
        await server.start()
        self._link_server = server


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


@asynccontextmanager
async def serving(plane: Plane) -> AsyncIterator[Plane]:
    """Serve Join and Connect on ports of their own."""
    pair = plane.authority.server()
    join_server = grpc.aio.server()
    node_link_pb2_grpc.add_NodeLinkServiceServicer_to_server(plane, join_server)
    port = join_server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(pair.key_pem, pair.certificate_pem)])
    )
    plane.join_address = f"127.0.0.1:{port}"
    await join_server.start()
    await plane.start_link()
    try:
        yield plane
    finally:
        for stream in plane.streams:
            stream.cut()
        await join_server.stop(0)
        if plane._link_server is not None:
            await plane.stop_link()
