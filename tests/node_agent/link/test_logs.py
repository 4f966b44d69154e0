"""Output on its way to a real broker: in order, whole, once, and again exactly after a crash."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent.clock import SystemClock
from node_agent.link.broker import Broker
from node_agent.link.certificate import CertificateFacts
from node_agent.link.identity import Identity
from node_agent.link.logs import CHUNK_BYTES, LogKey, LogPiece, LogShipper
from node_agent.link.shipped import ShippedFile
from orquanta.v1 import job_pb2
from tests.node_agent.broker import WAIT_SECONDS, NatsServer, nats_serving, output
from tests.node_agent.pki import Authority

KEY = LogKey("a-000000000001", "j-000000000001", 1, 0)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class ScriptedLog:
    """One member's output, given piece by piece; it has ended once `end` is called."""

    pieces: list[LogPiece] = field(default_factory=list)
    ended: bool = False
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, data: bytes, *, lost_before: int = 0) -> None:
        end = self.pieces[-1].offset + len(self.pieces[-1].data) if self.pieces else 0
        self.pieces.append(LogPiece(end + lost_before, job_pb2.LOG_STREAM_STDOUT, data, NOW))
        self.more.set()

    def end(self) -> None:
        self.ended = True
        self.more.set()

    def unshipped(self) -> Sequence[tuple[LogKey, bool]]:
        return [(KEY, self.ended)]

    async def follow(self, _key: LogKey, offset: int) -> AsyncIterator[LogPiece]:
        index = 0
        while True:
            self.more.clear()
            while index < len(self.pieces):
                piece = self.pieces[index]
                index += 1
                skip = max(0, offset - piece.offset)
                if skip < len(piece.data):
                    yield LogPiece(piece.offset + skip, piece.stream, piece.data[skip:], piece.read_at)
            if self.ended:
                return
            await self.more.wait()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def nats(tmp_path: Path, authority: Authority) -> AsyncIterator[NatsServer]:
    async with nats_serving(tmp_path / "nats", authority) as server:
        yield server


@pytest.fixture
def identity(tmp_path: Path, authority: Authority) -> Identity:
    pair = authority.server()
    directory = tmp_path / "identity"
    directory.mkdir()
    (directory / "key.pem").write_bytes(pair.key_pem)
    (directory / "certificate.pem").write_bytes(pair.certificate_pem)
    (directory / "ca.pem").write_bytes(authority.pem)
    return Identity("host-1", (), CertificateFacts("n-0123456789ab", "1", NOW, NOW), directory)


@asynccontextmanager
async def shipping(
    log: ScriptedLog, nats: NatsServer, identity: Identity, directory: Path
) -> AsyncIterator[tuple[LogShipper, Broker, asyncio.Event]]:
    broker = Broker(identity, clock=SystemClock())
    broker.use_servers([nats.url])
    shipped = asyncio.Event()
    shipper = LogShipper(log, broker, directory, on_shipped=lambda _: shipped.set())
    running = asyncio.ensure_future(broker.run(shipper.run))
    try:
        yield shipper, broker, shipped
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_output_arrives_whole_in_bounded_chunks_with_a_mark_at_the_end(
    nats: NatsServer, identity: Identity, tmp_path: Path
) -> None:
    log = ScriptedLog()
    for number in range(20):
        log.write(bytes([number]) * 50_000)
    log.end()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (shipper, _, shipped):
        await asyncio.wait_for(shipped.wait(), 30)
        assert shipper.is_shipped(KEY)
    chunks = await nats.chunks()
    assert output(chunks) == b"".join(piece.data for piece in log.pieces)
    assert max(chunk.next_offset - chunk.offset for chunk in chunks) <= CHUNK_BYTES
    assert len(chunks) < 10
    assert [chunk.end for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_chunks_of_many_tiny_records_stay_within_the_bound_of_a_message(
    nats: NatsServer, identity: Identity, tmp_path: Path
) -> None:
    log = ScriptedLog()
    for number in range(20_000):
        log.write(bytes([number % 256]))
    log.end()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (_, _, shipped):
        await asyncio.wait_for(shipped.wait(), 30)
    chunks = await nats.chunks()
    assert output(chunks) == b"".join(piece.data for piece in log.pieces)
    assert max(chunk.ByteSize() for chunk in chunks) <= CHUNK_BYTES
    assert len(chunks) < len(log.pieces) / 20  # how many go together depends on the machine's speed


async def test_bytes_that_the_host_lost_are_told_by_the_offsets(
    nats: NatsServer, identity: Identity, tmp_path: Path
) -> None:
    log = ScriptedLog()
    log.write(b"one")
    log.write(b"two", lost_before=100)
    log.end()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (_, _, shipped):
        await asyncio.wait_for(shipped.wait(), 30)
    spans = [(c.offset, c.next_offset, sum(len(r.data) for r in c.records)) for c in await nats.chunks()]
    assert spans == [(0, 3, 3), (3, 106, 3), (106, 106, 0)]


async def test_a_chunk_under_way_in_a_crash_is_sent_again_exactly_and_stored_once(
    nats: NatsServer, identity: Identity, tmp_path: Path
) -> None:
    log = ScriptedLog()
    log.write(b"before")
    directory = tmp_path / "shipped"
    async with shipping(log, nats, identity, directory) as (_, _, _):
        await nats.chunks(count=1)
    name = "a-000000000001.0"
    text = (directory / name).read_text()
    # What the file holds if the daemon dies between sending the chunk and hearing that it arrived.
    (directory / name).write_text(text.replace('"acknowledged": 6', '"acknowledged": 0'))
    log.write(b"after")
    log.end()
    async with shipping(log, nats, identity, directory) as (_, _, shipped):
        await asyncio.wait_for(shipped.wait(), 30)
    assert [(c.offset, c.next_offset) for c in await nats.chunks()] == [(0, 6), (6, 11), (11, 11)]


async def test_a_restart_goes_on_where_the_broker_has_it(nats: NatsServer, identity: Identity, tmp_path: Path) -> None:
    log = ScriptedLog()
    log.write(b"one")
    async with shipping(log, nats, identity, tmp_path / "shipped"):
        await nats.chunks(count=1)
        await _until(lambda: ShippedFile(tmp_path / "shipped" / "a-000000000001.0").value.acknowledged == 3)
    log.write(b"two")
    log.end()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (_, _, shipped):
        await asyncio.wait_for(shipped.wait(), 30)
    assert output(await nats.chunks()) == b"onetwo"


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


async def test_output_waits_until_there_is_a_stream_for_it(
    nats: NatsServer, identity: Identity, tmp_path: Path
) -> None:
    client = await nats.connect()
    await client.jetstream(timeout=WAIT_SECONDS).delete_stream("LOGS")
    log = ScriptedLog()
    log.write(b"early")
    log.end()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (shipper, broker, shipped):
        await _until(lambda: broker.connected)
        assert not shipper.is_shipped(KEY)
        await client.jetstream(timeout=WAIT_SECONDS).add_stream(name="LOGS", subjects=["orq.node.*.log.*"])
        await asyncio.wait_for(shipped.wait(), 30)
    await client.close()
    assert output(await nats.chunks()) == b"early"


async def test_telemetry_without_a_broker_is_dropped_and_counted(identity: Identity) -> None:
    broker = Broker(identity, clock=SystemClock())
    await broker.publish_telemetry(b"x")
    assert (broker.counts.telemetry_sent, broker.counts.telemetry_dropped) == (0, 1)


async def test_a_broker_that_is_away_is_found_when_it_comes(
    nats: NatsServer, identity: Identity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await nats.kill()
    log = ScriptedLog()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (_, broker, _):
        output = ""
        async with asyncio.timeout(30):
            while "nats.down" not in output:
                output += capsys.readouterr().out
                await asyncio.sleep(0.01)
        assert "Connect call failed" in output
        await nats.start()
        await _until(lambda: broker.connected)


async def test_a_renewed_identity_is_used_at_once(nats: NatsServer, identity: Identity, tmp_path: Path) -> None:
    log = ScriptedLog()
    async with shipping(log, nats, identity, tmp_path / "shipped") as (_, broker, _):
        await _until(lambda: broker.connected)
        first = broker._client
        broker.use_identity(identity)
        await _until(lambda: broker.connected and broker._client is not first)


def test_progress_that_is_damaged_starts_anew_with_another_salt(tmp_path: Path) -> None:
    file = ShippedFile(tmp_path / "a.0")
    file.acknowledge(7, ended=False)
    assert ShippedFile(tmp_path / "a.0").value == file.value
    (tmp_path / "a.0").write_text("{")
    again = ShippedFile(tmp_path / "a.0").value
    assert again.acknowledged == 0
    assert again.salt != file.value.salt
