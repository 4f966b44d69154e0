"""Telemetry and job output through a real broker, as real hosts with rights of their own send them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from control_plane.bus.callout import AuthCallout
from control_plane.bus.client import Bus
from control_plane.bus.embedded import EmbeddedNats
from control_plane.bus.streams import stream_specs
from control_plane.bus.subjects import node_inbox_prefix, node_log, node_telemetry
from control_plane.errors import ResourceExhausted
from control_plane.model.account import User
from control_plane.model.identity import CertificateSerial, Role
from control_plane.model.ids import ALLOCATION, JOB, AllocationId, JobId, NodeId, new_id, new_user_id
from control_plane.model.job import (
    Allocation,
    AllocationMember,
    AllocationState,
    Job,
    JobSpec,
    JobState,
    ResourceRequest,
)
from control_plane.model.node import Node, NodeState
from control_plane.store import allocations, audit, jobs, nodes, users
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import page_request
from control_plane.telemetry.ingest import TelemetryIngest
from control_plane.telemetry.log_file import Appended, LogChunk
from control_plane.telemetry.log_ingest import LogIngest
from control_plane.telemetry.logs import LogStore
from control_plane.telemetry.windows import TelemetryWindows
from orquanta.v1 import event_pb2, job_pb2
from tests.control_plane.bus.conftest import CLOCK, NodeClient, Site, node_client

PATIENCE_SECONDS = 30.0


@dataclass
class Place:
    """A control plane with a broker, and one job that is placed on the first of two hosts."""

    site: Site
    bus: Bus
    broker: EmbeddedNats
    store: Store
    logs: LogStore
    nodes: tuple[NodeId, NodeId]
    job_id: JobId
    allocation_id: AllocationId

    @asynccontextmanager
    async def host(self, index: int) -> AsyncIterator[NodeClient]:
        node = self.site.join(self.nodes[index])
        async with node_client(self.site, self.broker.url, node.pem, node_inbox_prefix(node.node_id)) as client:
            yield client

    def chunk(self, offset: int, data: bytes, *, end: bool = False, rank: int = 0) -> bytes:
        made = event_pb2.LogChunk(
            job_id=self.job_id,
            allocation_id=self.allocation_id,
            epoch=1,
            rank=rank,
            offset=offset,
            next_offset=offset + len(data),
            records=[event_pb2.LogRecord(stream=job_pb2.LOG_STREAM_STDOUT, data=data)] if data else [],
            end=end,
        )
        for record in made.records:
            record.read_at.FromDatetime(datetime.now(UTC))
        return made.SerializeToString()

    async def text(self) -> bytes:
        return b"".join([entry.data async for entry in self.logs.read(self.job_id, 1, ranks=[0])])

    async def until_text(self, expected: bytes) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = b""
            async for entry in self.logs.follow(self.job_id, 1, ranks=[0], finished=_never):
                found += entry.data
                if found == expected:
                    return
                assert expected.startswith(found)

    @asynccontextmanager
    async def ingesting(self) -> AsyncIterator[LogIngest]:
        ingest = LogIngest(self.bus, self.logs, self.store, clock=CLOCK)
        loop = asyncio.create_task(ingest.run())
        try:
            yield ingest
            assert not loop.done(), loop
        finally:
            loop.cancel()
            await asyncio.wait([loop])


async def _never() -> bool:
    return False


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not true():  # noqa: ASYNC110 - counters have nothing to wait for
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site.create(tmp_path_factory.mktemp("site"))


@pytest.fixture
async def place(shared_site: Site, tmp_path: Path) -> AsyncIterator[Place]:
    site = Site(
        tmp_path, shared_site.ca, shared_site.secrets, shared_site.ca_file, shared_site.server, shared_site.client
    )
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedNats(site.broker_config(), clock=CLOCK))
        bus = await stack.enter_async_context(Bus(site.endpoint(broker.url)))
        await bus.ensure_streams(stream_specs())
        await stack.enter_async_context(
            AuthCallout(bus, issuer_seed=site.secrets.nats_issuer_seed, is_node_allowed=site.is_allowed, clock=CLOCK)
        )
        store = await Store.open(f"sqlite:///{tmp_path / 'orquanta.db'}", clock=CLOCK)
        stack.push_async_callback(store.close)
        logs = LogStore(tmp_path / "logs", poll_seconds=0.05)
        await logs.start()
        members = (site.join().node_id, site.join().node_id)
        job_id, allocation_id = await store.write(lambda tx: _one_job(tx, members))
        yield Place(site, bus, broker, store, logs, members, job_id, allocation_id)


def _one_job(tx: Tx, node_ids: tuple[NodeId, NodeId]) -> tuple[JobId, AllocationId]:
    user = User(new_user_id(), "a@b.c", Role.USER, False, tx.now, None, Decimal(0), Decimal(0), None)
    users.insert(tx, user, "x")
    for node_id in node_ids:
        node = Node(
            node_id, node_id, NodeState.JOINING, "", False, False, None, {}, CertificateSerial("1"), tx.now, None,
            tx.now, 1,
        )  # fmt: skip
        nodes.insert(tx, node)
    job_id: JobId = new_id(JOB)
    spec = JobSpec("job", ResourceRequest(gpu_count=1), command="true")
    job = Job(job_id, None, user.id, user.email, spec, JobState.QUEUED, "", 1, "owned", tx.now, tx.now, 1)
    jobs.insert(tx, job, position=0)
    allocation_id: AllocationId = new_id(ALLOCATION)
    allocation = Allocation(
        allocation_id, job_id, 1, AllocationState.PENDING, "H100", Decimal(1), 60, "", 0, "", tx.now,
        (AllocationMember(0, node_ids[0], "one", ("GPU-1",)),),
    )  # fmt: skip
    tx.session.flush()
    allocations.insert(tx, allocation, user.id)
    return job_id, allocation_id


async def test_telemetry_of_a_host_arrives_in_its_window(place: Place) -> None:
    windows = TelemetryWindows(clock=CLOCK)
    async with TelemetryIngest(place.bus, windows) as ingest, place.host(0) as host:
        batch = event_pb2.TelemetryBatch(gpus=[event_pb2.GpuSample(uuid="GPU-1", utilization_percent=42)])
        batch.sampled_at.GetCurrentTime()
        await host.client.publish(node_telemetry(place.nodes[0]), b"\xff\xff")
        await host.client.publish(node_telemetry(place.nodes[0]), batch.SerializeToString())
        await until(lambda: ingest.counts.batches == 1)
        assert ingest.counts.garbage == 1
        assert windows.utilization(place.nodes[0], "GPU-1", 60) == 42
        # A host with good credentials that speaks as another one is not heard.
        await host.client.publish(node_telemetry(place.nodes[1]), batch.SerializeToString())
        assert await host.violations()
        assert windows.nodes() == (place.nodes[0],)


async def test_output_arrives_once_however_often_it_is_sent(place: Place) -> None:
    async with place.ingesting() as ingest, place.host(0) as host:
        stream = host.stream()
        subject = node_log(place.nodes[0], place.job_id)
        for _ in range(2):
            await stream.publish(subject, place.chunk(0, b"one\n"))
            await stream.publish(subject, place.chunk(4, b"two\n"))
        await stream.publish(subject, place.chunk(8, b"", end=True))
        await place.until_text(b"one\ntwo\n")
        await until(lambda: ingest.counts.stored == 3 and ingest.counts.repeats >= 2)
        assert await place.logs.ranks(place.job_id, 1) == (0,)


async def test_output_of_a_job_on_another_node_is_dropped_and_put_on_record_once(place: Place) -> None:
    async with place.ingesting() as ingest, place.host(1) as thief:
        stream = thief.stream()
        for _ in range(3):
            await stream.publish(node_log(place.nodes[1], place.job_id), place.chunk(0, b"forged\n"))
        await stream.publish(node_log(place.nodes[1], place.job_id), b"\xff garbage")
        await stream.publish(node_log(place.nodes[1], new_id(JOB)), place.chunk(0, b"other subject\n"))
        await until(lambda: ingest.counts.refused >= 3 and ingest.counts.garbage >= 2)
        assert await place.text() == b""
        page = await place.store.read(
            lambda tx: audit.page(tx, AuditFilter(node_id=place.nodes[1]), page_request(50, ""))
        )
        assert [record.action for record in page.items] == ["job_log.refuse"]


async def test_a_host_that_invents_attempts_cannot_stop_the_output_of_others(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.telemetry.log_ingest._OWNERS_CACHED", 1)
    subject = node_log(place.nodes[0], place.job_id)

    def invented() -> bytes:
        chunk = event_pb2.LogChunk(job_id=place.job_id, allocation_id=new_id(ALLOCATION), epoch=1)
        return chunk.SerializeToString()

    async with place.host(0) as host:
        stream = host.stream()
        await stream.publish(subject, place.chunk(0, b"one\n"))
        for _ in range(8):
            await stream.publish(subject, invented())
        async with place.ingesting() as ingest:  # takes all of these in one batch
            await until(lambda: ingest.counts.refused >= 8)
            for refused in range(9, 14):
                await asyncio.gather(
                    stream.publish(subject, place.chunk(4, b"two\n")), stream.publish(subject, invented())
                )
                await until(lambda: ingest.counts.refused >= refused)  # noqa: B023 - awaited at once
            await place.until_text(b"one\ntwo\n")


async def test_chunks_that_come_in_the_wrong_order_are_put_in_order(place: Place) -> None:
    async with place.ingesting() as ingest, place.host(0) as host:
        stream = host.stream()
        subject = node_log(place.nodes[0], place.job_id)
        await stream.publish(subject, place.chunk(4, b"two\n"))
        await until(lambda: ingest.counts.put_back >= 1)
        assert await place.text() == b""
        await stream.publish(subject, place.chunk(0, b"one\n"))
        await place.until_text(b"one\ntwo\n")


async def test_nothing_is_acknowledged_while_the_disk_is_full_and_nothing_is_missing_afterwards(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = place.logs.append
    full = True

    async def failing(chunks: list[tuple[LogChunk, bool]]) -> list[Appended]:
        if full:
            raise ResourceExhausted("no space left", reason="LOG_DISK_UNUSABLE")
        return await append(chunks)

    monkeypatch.setattr(place.logs, "append", failing)
    async with place.ingesting() as ingest, place.host(0) as host:
        stream = host.stream()
        subject = node_log(place.nodes[0], place.job_id)
        for number in range(20):
            await stream.publish(subject, place.chunk(number * 4, b"%03d\n" % number))
        await until(lambda: "no space" in ingest.trouble)
        full = False
        await place.until_text(b"".join(b"%03d\n" % number for number in range(20)))
        await until(lambda: ingest.trouble == "")


async def test_what_was_taken_and_not_acknowledged_before_a_restart_is_stored_after_it(place: Place) -> None:
    async with place.host(0) as host:
        stream = host.stream()
        subject = node_log(place.nodes[0], place.job_id)
        async with place.ingesting() as first:
            await stream.publish(subject, place.chunk(0, b"one\n"))
            await place.until_text(b"one\n")
            await until(lambda: first.counts.stored == 1)
        await stream.publish(subject, place.chunk(4, b"two\n"))
        await stream.publish(subject, place.chunk(8, b"three\n"))
        async with place.ingesting():
            await place.until_text(b"one\ntwo\nthree\n")
