"""The auditor: what was decided is signed soon, kept elsewhere, and archived before it goes."""

from pathlib import Path

from control_plane.agents.auditor import Auditor, AuditTerms
from control_plane.bus.client import Bus
from control_plane.bus.messages import Receipt
from control_plane.errors import Unavailable
from control_plane.store import audit, checkpoints
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.export_file import Header, read_lines
from orquanta.ledger.records import LedgerRecord
from orquanta.ledger.signatures import Signer, is_signed_by
from orquanta.ledger.verify import FaultKind, Verdict, Verifier
from orquanta.ledger.wire import read_checkpoint
from orquanta.v1 import audit_pb2
from tests.fake_clock import FakeClock

SIGNER = Signer(bytes(range(32)))


class Heard(Bus):
    """A bus that remembers what it is told to publish, unless it is away."""

    def __init__(self) -> None:
        self.checkpoints: list[Checkpoint] = []
        self.away = False

    async def publish_event(self, subject: str, data: bytes, *, message_id: str) -> Receipt:
        if self.away:
            raise Unavailable("the broker is away", reason="BUS_DISCONNECTED")
        assert subject == "orq.event.audit.checkpoint"
        checkpoint = read_checkpoint(audit_pb2.AuditCheckpoint.FromString(data))
        assert message_id.endswith(f"-{checkpoint.size}")
        self.checkpoints.append(checkpoint)
        return Receipt("ORQ_EVENTS", sequence=len(self.checkpoints), duplicate=False)


def auditor(store: Store, bus: Bus, directory: Path, *, keep_days: int = 0) -> Auditor:
    """Make an auditor."""
    return Auditor(store, bus, SIGNER, AuditTerms(directory, directory / "checkpoints.jsonl", keep_days))


async def add(store: Store, count: int) -> None:
    """Add records, all in one transaction."""

    def write(tx: Tx) -> None:
        for number in range(count):
            audit.append(tx, agent_name="ann@x", action="x.done", reasoning=f"because {number}", outcome="done")

    await store.write(write)


def kept_in(path: Path) -> list[Checkpoint]:
    """Read a file of checkpoints."""
    with path.open(encoding="utf-8") as file:
        return [part for part in read_lines(file) if isinstance(part, Checkpoint)]


async def verify(store: Store, *against: Checkpoint) -> Verdict:
    """Verify what the store holds against all its checkpoints."""
    signed = await store.read(lambda tx: checkpoints.between(tx, after=0, limit=1000))
    verifier = Verifier(SIGNER.public_key, (*signed, *against), await store.read(checkpoints.start))
    for record in await store.read(lambda tx: audit.ledger(tx, after_id=0, limit=100_000)):
        verifier.feed(record)
    return verifier.finish()


async def test_records_are_signed_after_a_minute_and_many_at_once(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    agent = auditor(sqlite_store, bus, tmp_path)
    assert not await agent.round()

    await add(sqlite_store, 3)
    await agent.round()
    await add(sqlite_store, 2)
    assert not await agent.round()
    clock.advance(60)
    await agent.round()
    await add(sqlite_store, 255)
    assert not await agent.round()
    await add(sqlite_store, 1)
    await agent.round()
    clock.advance(60)
    assert not await agent.round()

    assert [one.size for one in bus.checkpoints] == [3, 5, 261]
    assert kept_in(tmp_path / "checkpoints.jsonl") == bus.checkpoints
    assert all(is_signed_by(one, SIGNER.public_key) for one in bus.checkpoints)
    assert (await verify(sqlite_store, *bus.checkpoints)).intact


async def test_a_restarted_auditor_goes_on_from_the_last_checkpoint(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    await add(sqlite_store, 300)
    await auditor(sqlite_store, bus, tmp_path).round()
    clock.advance(100)
    await add(sqlite_store, 7)
    await auditor(sqlite_store, bus, tmp_path).round()

    assert [one.size for one in bus.checkpoints] == [300, 307]
    assert (await verify(sqlite_store, *bus.checkpoints)).intact


async def test_a_checkpoint_waits_for_a_broker_that_is_away_and_is_not_lost(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    bus.away = True
    agent = auditor(sqlite_store, bus, tmp_path)
    await add(sqlite_store, 1)
    await agent.round()
    await add(sqlite_store, 1)
    clock.advance(61)
    await agent.round()
    assert not bus.checkpoints

    bus.away = False
    await agent.round()

    assert [one.size for one in bus.checkpoints] == [1, 2]


async def test_old_records_go_to_an_archive_that_verifies_and_what_stays_verifies_too(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    agent = auditor(sqlite_store, bus, tmp_path, keep_days=30)
    await add(sqlite_store, 5)
    await agent.round()
    clock.advance(40 * 86_400)
    await add(sqlite_store, 4)
    await agent.round()

    stays = await sqlite_store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    assert [one.id for one in stays.items] == [10, 9, 8, 7, 6]
    assert stays.items[0].action == "audit.archived"
    assert (await verify(sqlite_store)).intact
    with (tmp_path / "audit-1-5.jsonl").open(encoding="utf-8") as file:
        parts = list(read_lines(file))
    header, *rest = parts
    assert isinstance(header, Header)
    verifier = Verifier(SIGNER.public_key, [one for one in rest if isinstance(one, Checkpoint)], header.start)
    for part in rest:
        if isinstance(part, LedgerRecord):
            verifier.feed(part)
    assert verifier.finish().intact
    assert verifier.finish().records == 5

    await agent.round()
    clock.advance(40 * 86_400)
    await agent.round()
    assert (tmp_path / "audit-6-10.jsonl").exists()
    assert (await verify(sqlite_store, *bus.checkpoints)).intact


async def test_a_log_that_lost_its_end_to_a_restored_backup_is_found_by_the_kept_checkpoints(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    await add(sqlite_store, 3)
    await auditor(sqlite_store, bus, tmp_path).round()
    lost = SIGNER.sign(9, bytes(32), clock.now())

    fault = (await verify(sqlite_store, lost)).fault

    assert fault is not None
    assert fault.kind is FaultKind.TRUNCATION
