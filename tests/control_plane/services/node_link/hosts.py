"""Hosts that speak the link's protocol from a script."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import aio

from control_plane.identity.ca import CertificateAuthority
from control_plane.model.ids import NodeId
from control_plane.model.job import Allocation
from orquanta.v1 import job_pb2, node_link_pb2, node_pb2
from orquanta.v1.node_link_pb2_grpc import NodeLinkServiceStub

PATIENCE_SECONDS = 30.0

Responses = aio.StreamStreamCall[node_link_pb2.ConnectRequest, node_link_pb2.ConnectResponse]


def stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


def signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def inventory(name: str, gpus: int = 2, *, boot_id: str = "", uuids: Iterable[str] = ()) -> node_pb2.HostInventory:
    chosen = list(uuids) or [f"GPU-{name}-{index}" for index in range(gpus)]
    return node_pb2.HostInventory(
        hostname=name,
        boot_id=boot_id or f"boot-{name}",
        agent_version="1.0",
        cpu_count=8,
        memory_bytes=1 << 36,
        address="10.0.0.1",
        gpus=[
            node_pb2.GpuInventory(index=i, uuid=uuid, gpu_type="H100", product_name="H100", memory_bytes=80 << 30)
            for i, uuid in enumerate(chosen)
        ],
    )


class Stream:
    """One stream as a host sees it."""

    def __init__(self, call: Responses) -> None:
        self.call = call
        self.received: list[node_link_pb2.ConnectResponse] = []

    async def send(self, **message: Any) -> None:  # Any: one of the protocol's messages, by its field's name
        await self.call.write(node_link_pb2.ConnectRequest(**message))

    async def try_hello(self, host: "Host") -> None:
        """Send Hello on a stream that may be refused before it arrives."""
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await self.send(hello=host.hello())

    async def heartbeat(self, sequence: int) -> None:
        await self.send(heartbeat=node_link_pb2.Heartbeat(sequence=sequence))

    async def next(self, kind: str) -> node_link_pb2.ConnectResponse:
        """Read up to the next message of a kind."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                response = await self.call.read()
                if response is aio.EOF:
                    raise EOFError(f"{await self.call.code()}: {await self.call.details()}")
                assert isinstance(response, node_link_pb2.ConnectResponse)
                self.received.append(response)
                if response.WhichOneof("message") == kind:
                    return response

    async def desired(self, count: int) -> list[node_link_pb2.MemberAssignment]:
        """Read until the newest desired state wants this many members."""
        said = [one.desired_state for one in self.received if one.WhichOneof("message") == "desired_state"]
        while not said or len(said[-1].members) != count:
            said.append((await self.next("desired_state")).desired_state)
        return list(said[-1].members)

    async def ended(self) -> grpc.StatusCode:
        """Read to the end; return how it ended."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while (response := await self.call.read()) is not aio.EOF:
                    assert isinstance(response, node_link_pb2.ConnectResponse)
                    self.received.append(response)
            except aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    async def farewell(self) -> node_link_pb2.Disconnect:
        return (await self.next("disconnect")).disconnect


class MovableClock:
    """The machine's clocks, plus what a test adds."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.offset_seconds)

    def monotonic(self) -> float:
        return asyncio.get_event_loop().time() + self.offset_seconds


class Plane(Protocol):
    """What a host has to know of the control plane that it calls."""

    clock: MovableClock
    ca: CertificateAuthority
    nodes_address: str


@dataclass
class Host:
    """A host with an identity."""

    rig: Plane
    name: str
    key: ec.EllipticCurvePrivateKey
    node_id: NodeId
    certificate: bytes
    gpus: int = 2

    def uuids(self) -> list[str]:
        return [f"GPU-{self.name}-{index}" for index in range(self.gpus)]

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Stream]:
        """Open a stream that has said nothing yet."""
        credentials = grpc.ssl_channel_credentials(self.rig.ca.trust_pem, key_pem(self.key), self.certificate)
        async with aio.secure_channel(self.rig.nodes_address, credentials) as channel:
            call: Any = NodeLinkServiceStub(channel).Connect()  # Any: the stub's call is a union over API styles
            try:
                yield Stream(call)
            finally:
                call.cancel()

    def hello(
        self,
        *,
        members: Iterable[node_link_pb2.MemberReport] = (),
        boot_id: str = "",
        uuids: Iterable[str] = (),
        control_epoch: int = 0,
    ) -> node_link_pb2.Hello:
        return node_link_pb2.Hello(
            inventory=inventory(self.name, self.gpus, boot_id=boot_id, uuids=uuids),
            members=members,
            host_time=stamp(self.rig.clock.now()),
            control_epoch=control_epoch,
        )

    @asynccontextmanager
    async def connect(self, **hello: Any) -> AsyncIterator[Stream]:  # Any: as `hello`
        """Open a stream up to its Welcome."""
        async with self.dial() as stream:
            await stream.send(hello=self.hello(**hello))
            await stream.next("welcome")
            yield stream


def report(
    allocation: Allocation, rank: int = 0, state: int = job_pb2.ALLOCATION_STATE_RUNNING, **changes: Any
) -> node_link_pb2.MemberReport:  # Any: fields of the report
    fields: dict[str, Any] = {  # Any: as above
        "allocation_id": allocation.id,
        "job_id": allocation.job_id,
        "epoch": allocation.epoch,
        "rank": rank,
        "state": state,
        "gpu_uuids": allocation.members[rank].gpu_uuids,
    }
    if state == job_pb2.ALLOCATION_STATE_ENDED:
        fields |= {"exit_reason": job_pb2.EXIT_REASON_EXITED, "exit_code": 0}
    return node_link_pb2.MemberReport(**(fields | changes))
