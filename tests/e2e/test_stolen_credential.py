"""Whoever copies a node's key and certificate gets that node's own rights at most, and none once it is revoked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from control_plane.services.access import RULES, Port
from orquanta.gameday.fleet import Fleet, Host, wait_until
from orquanta.types.audit import AuditRecord
from orquanta.types.jobs import ExitReason, Job, JobSpec, JobState, ResourceRequest
from orquanta.types.nodes import NodeState
from orquanta.v1 import event_pb2, job_pb2, node_link_pb2, node_pb2
from orquanta.v1.node_link_pb2_grpc import NodeLinkServiceStub
from tests.e2e.books import nothing_changes
from tests.e2e.conftest import Site, guests, node_channel, output, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

Stream = grpc.aio.StreamStreamCall[node_link_pb2.ConnectRequest, node_link_pb2.ConnectResponse]


class Thief:
    """A NATS connection with a host's files; `complaints` is what the broker said about what it tried."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.closed = asyncio.Event()
        self.client = Client()

    async def connect(self, fleet: Fleet, host: Host, **claims: Any) -> None:  # Any: nats-py's own options
        context = ssl.create_default_context(cafile=str(host.identity / "ca.pem"))
        context.load_cert_chain(host.identity / "certificate.pem", host.identity / "key.pem")
        await self.client.connect(
            f"tls://127.0.0.1:{(fleet.state / 'nats-port').read_text()}",
            tls=context,
            tls_handshake_first=True,
            allow_reconnect=False,
            connect_timeout=30,
            error_cb=self._complain,
            closed_cb=self._close,
            **claims,
        )

    async def refused(self, what: str) -> None:
        """Wait until the broker has refused what was tried last; forget the complaint."""
        await wait_until(lambda: bool(self.complaints), f"the broker refuses {what}")
        assert all("permissions violation" in one for one in self.complaints)
        self.complaints.clear()

    async def _complain(self, error: Exception) -> None:
        self.complaints.append(str(error).lower())

    async def _close(self) -> None:
        self.closed.set()


@asynccontextmanager
async def thief(fleet: Fleet, host: Host, **claims: str) -> AsyncIterator[Thief]:
    made = Thief()
    try:
        await made.connect(fleet, host, **claims)
        yield made
    finally:  # a refused connection must be closed, too
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await made.client.close()


@asynccontextmanager
async def link(fleet: Fleet, host: Host, boot_id: str) -> AsyncIterator[Stream]:
    """A stream with a host's certificate that has said Hello."""
    async with node_channel(fleet, host) as channel:
        stream = NodeLinkServiceStub(channel).Connect(timeout=30)
        hello = node_link_pb2.Hello(inventory=node_pb2.HostInventory(hostname="thief", boot_id=boot_id))
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # refused already: reading tells why
            await stream.write(node_link_pb2.ConnectRequest(hello=hello))
        try:
            yield stream
        finally:
            stream.cancel()


async def hear(stream: Stream) -> node_link_pb2.ConnectResponse:
    async with asyncio.timeout(30):
        said = await stream.read()
    assert isinstance(said, node_link_pb2.ConnectResponse), "the stream ended without a word"
    return said


async def submit(site: Site, gpu_type: str, command: str) -> Job:
    spec = JobSpec(
        name="victim",
        command=command,
        resources=ResourceRequest(gpu_count=1, gpu_types=(gpu_type,)),
        max_runtime_seconds=300,
        stop_grace_seconds=1,
    )
    return (await site.admin.jobs.submit(spec)).job


async def test_a_stolen_certificate_cannot_speak_or_listen_as_another_node_on_nats(site: Site, tmp_path: Path) -> None:
    async with guests(site, robbed="1xL4", other="1xV100") as (robbed, other):
        end = tmp_path / "end"
        job = await submit(site, "V100", f"echo mine; until test -e {end}; do sleep 0.05; done; echo still mine")
        await reaches(site.admin, job.id, JobState.RUNNING)
        async with nothing_changes(site.admin), thief(site.fleet, robbed) as robber:
            heard: list[str] = []

            async def listen(message: Msg) -> None:
                heard.append(message.subject)

            forged = event_pb2.LogChunk(
                job_id=job.id, records=[event_pb2.LogRecord(data=b"forged\n")]
            ).SerializeToString()
            for subject in (
                f"orq.node.{other.node_id}.telemetry",
                f"orq.node.{other.node_id}.health",
                f"orq.node.{other.node_id}.log.{job.id}",
                f"orq.event.job.{job.id}",
                "$JS.API.STREAM.DELETE.ORQ_LOGS",
                "$JS.API.STREAM.PURGE.ORQ_EVENTS",
                "$SYS.REQ.SERVER.PING",
            ):
                await robber.client.publish(subject, forged)
                await robber.refused(f"to publish to {subject}")
            for subject in (
                ">",
                "orq.>",
                f"orq.node.{other.node_id}.>",
                f"_INBOX.{other.node_id}.>",
                "orq.event.>",
                "$SYS.>",
            ):
                await robber.client.subscribe(subject, cb=listen)
                await robber.refused(f"to subscribe to {subject}")
        end.touch()
        await site.admin.jobs.wait(job.id)
        assert heard == []
        assert await output(site.admin, job.id, follow=True) == b"mine\nstill mine\n"


async def test_no_claim_of_another_name_helps_on_nats(site: Site) -> None:
    async with guests(site, robbed="1xL4", other="1xV100") as (robbed, other):
        for claims in (
            {"user": other.node_id, "password": "x"},
            {"user": "control-plane", "password": "guess"},
            {"token": "guess"},
            {"name": other.node_id},
        ):
            try:
                async with thief(site.fleet, robbed, **claims) as robber:
                    await robber.client.publish(f"orq.node.{other.node_id}.telemetry", b"forged")
                    await robber.refused(f"to publish as another node with {claims}")
            except NatsError as error:
                assert "authorization" in str(error).lower()  # noqa: PT017 - refused at once, or bound to its own


async def refusals(site: Site, host: Host) -> list[AuditRecord]:
    return [one async for one in site.admin.audit.list(node_id=host.node_id) if one.action == "link.refuse"]


async def test_another_host_with_the_same_certificate_is_refused_while_the_first_is_there(site: Site) -> None:
    async with guests(site, robbed="1xL4") as (robbed,):
        async with nothing_changes(site.admin), link(site.fleet, robbed, "another-boot") as stream:
            said = await hear(stream)
            assert said.WhichOneof("message") == "disconnect"
            assert "another host is connected with the same certificate" in said.disconnect.reason
            assert await stream.read() is grpc.aio.EOF
        node = await site.admin.nodes.get(robbed.node_id)
        assert node.connected
        assert node.inventory.hostname != "thief"
        told = await refusals(site, robbed)
        while not told:  # it is on record as soon as the first host speaks on
            await asyncio.sleep(0.5)
            told = await refusals(site, robbed)
        assert len(told) == 1
        assert "copied" in told[0].reasoning


async def test_a_stolen_certificate_opens_none_of_the_calls_of_people(site: Site) -> None:
    methods = [name for name, rule in RULES.items() if rule.port is Port.PEOPLE]
    async with nothing_changes(site.admin), node_channel(site.fleet, site.host) as channel:
        for method in methods:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED, method


async def test_a_report_about_another_nodes_allocation_changes_nothing_and_is_on_record(site: Site) -> None:
    async with guests(site, robbed="1xL4", other="1xV100") as (robbed, other):
        job = await submit(site, "V100", "sleep 30")
        running = await reaches(site.admin, job.id, JobState.RUNNING)
        await robbed.daemon.stop()
        allocation = running.allocations[-1]
        report = node_link_pb2.MemberReport(
            allocation_id=allocation.id,
            job_id=job.id,
            epoch=running.epoch,
            rank=0,
            state=job_pb2.ALLOCATION_STATE_ENDED,
            exit_reason=job_pb2.EXIT_REASON_EXITED,
            exit_code=0,
        )
        async with nothing_changes(site.admin), link(site.fleet, robbed, "the-thief") as stream:
            assert (await hear(stream)).WhichOneof("message") == "welcome"
            await stream.write(node_link_pb2.ConnectRequest(member_report=report))
            while (await hear(stream)).WhichOneof("message") != "member_report_ack":
                pass  # it was looked at: the host may forget what it made up
        assert (await site.admin.jobs.get(job.id)).state is JobState.RUNNING
        told = [one async for one in site.admin.audit.list(node_id=robbed.node_id) if one.action == "report.refuse"]
        assert "not its own" in told[0].reasoning
        assert await site.admin.jobs.cancel(job.id)
        assert other.node_id == allocation.members[0].node_id
        await site.admin.jobs.wait(job.id)


@pytest.mark.long
async def test_revoking_a_node_ends_its_link_and_its_broker_connection_and_moves_its_job(
    quick_fleet: Callable[..., Fleet], tmp_path: Path
) -> None:
    async with quick_fleet(lease_seconds="3", fence_seconds="4") as fleet:  # so long it may run until it runs elsewhere
        admin = await fleet.client()
        hosts = await asyncio.gather(*(fleet.add_host(admin, name, "1xL40S") for name in ("first", "second")))
        site = Site(fleet, admin, hosts[0])
        end = tmp_path / "end"
        job = await submit(site, "L40S", f"echo $ORQUANTA_EPOCH; until test -e {end}; do sleep 0.05; done")
        running = await reaches(site.admin, job.id, JobState.RUNNING)
        node_id = running.allocations[-1].members[0].node_id
        robbed, other = hosts if hosts[0].node_id == node_id else reversed(hosts)
        async with thief(site.fleet, robbed) as robber:
            node = await site.admin.nodes.revoke(robbed.node_id, reason="its key was copied")
            assert node.state is NodeState.REVOKED
            await asyncio.wait_for(robber.closed.wait(), 30)
        assert await asyncio.to_thread(robbed.daemon.wait, 30) == 77
        assert "revoked" in robbed.daemon.tail()
        with pytest.raises(NatsError):
            async with thief(site.fleet, robbed):
                pass
        async with link(site.fleet, robbed, "another-boot") as stream:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hear(stream)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "join the host again" in (caught.value.details() or "")
        end.touch()
        done = await site.admin.jobs.wait(job.id)
        assert done.state is JobState.SUCCEEDED, done.status_reason
        assert [one.members[0].node_id for one in done.allocations] == [robbed.node_id, other.node_id]
        assert done.allocations[0].members[0].exit_reason is not ExitReason.EXITED
        assert await output(site.admin, job.id, follow=True) == b"2\n"
        await wait_until(lambda: not robbed.processes(), "the revoked host runs nothing any more")
