"""The auditor: what was decided is signed soon, kept elsewhere, and archived before it goes."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from control_plane.agents.audit_files import append_line, last_checkpoint
from control_plane.agents.auditor import Auditor, AuditTerms
from control_plane.bus.client import Bus
from control_plane.bus.messages import Receipt
from control_plane.errors import Unavailable
from control_plane.store import audit, checkpoints
from control_plane.store.audit import AuditFilter
from control_plane.store.database import Store, Tx
from control_plane.store.pages import PageRequest
from orquanta.cli import audit_verify
from orquanta.ledger.checkpoint import Checkpoint
from orquanta.ledger.export_file import Header, checkpoint_line, read_lines
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.records import DISCONTINUED, LedgerRecord
from orquanta.ledger.signatures import Signer, is_signed_by
from orquanta.ledger.verify import FaultKind, Verdict, Verifier
from orquanta.ledger.wire import read_checkpoint
from orquanta.v1 import audit_pb2
from tests.fake_clock import FakeClock

SIGNER = Signer(bytes(range(32)))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Heard(Bus):
    """A bus that remembers what it is told to publish, unless it is away."""

    def __init__(self) -> None:
        self.checkpoints: list[Checkpoint] = []
        self.away = False

    async def publish_event(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - the bus's own signature
    ) -> Receipt:
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


async def test_a_restored_backup_is_told_in_the_log_before_anything_is_signed_again(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    await add(sqlite_store, 3)
    lost = SIGNER.sign(9, bytes(32), clock.now())
    append_line(tmp_path / "checkpoints.jsonl", checkpoint_line(lost))

    await auditor(sqlite_store, bus, tmp_path).round()

    page = await sqlite_store.read(lambda tx: audit.page(tx, AuditFilter(), PageRequest()))
    assert page.items[0].action == DISCONTINUED
    assert "over 9 records" in page.items[0].reasoning
    assert [one.size for one in bus.checkpoints] == [4]
    verdict = await verify(sqlite_store)
    assert verdict.intact
    assert verdict.breaks == (4,)

    clock.advance(61)
    await add(sqlite_store, 1)
    await auditor(sqlite_store, bus, tmp_path).round()
    assert (await verify(sqlite_store)).breaks == (4,)


async def test_a_log_whose_end_was_rewritten_and_its_checkpoint_dropped_is_told_at_the_next_start(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    await add(sqlite_store, 3)
    await auditor(sqlite_store, bus, tmp_path).round()
    with sqlite_store._engine.begin() as connection:
        for name in ("records_no_delete", "checkpoints_no_delete"):
            connection.execute(text(f"DROP TRIGGER audit_{name}"))
        for statement in ("words WHERE record_id > 1", "records WHERE id > 1", "checkpoints"):
            connection.execute(text(f"DELETE FROM audit_{statement}"))
    await add(sqlite_store, 5)

    await auditor(sqlite_store, bus, tmp_path).round()

    assert (await verify(sqlite_store)).breaks == (7,)
    fault = (await verify(sqlite_store, *bus.checkpoints)).fault
    assert fault is not None
    assert fault.kind is FaultKind.FORK


@pytest.mark.parametrize("statement", ["root = zeroblob(32)", "frontier = zeroblob(64)", "frontier = x'00'"])
async def test_a_checkpoint_that_was_meddled_with_is_not_built_upon(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path, statement: str
) -> None:
    bus = Heard()
    await add(sqlite_store, 3)
    await auditor(sqlite_store, bus, tmp_path).round()
    with sqlite_store._engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_checkpoints_no_update"))
        connection.execute(text(f"UPDATE audit_checkpoints SET {statement}"))
    clock.advance(61)

    await auditor(sqlite_store, bus, tmp_path).round()

    assert [one.size for one in bus.checkpoints] == [3, 4]
    tree = Frontier()
    for one in await sqlite_store.read(lambda tx: audit.hashes(tx, after_id=0, limit=9)):
        tree.append(one)
    assert bus.checkpoints[-1].root == tree.root()


async def test_a_log_that_is_cut_off_while_it_is_signed_is_told_and_signed_on(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    agent = auditor(sqlite_store, bus, tmp_path)
    await add(sqlite_store, 9)
    await agent.round()
    with sqlite_store._engine.begin() as connection:
        connection.execute(text("DROP TRIGGER audit_records_no_delete"))
        for statement in ("words WHERE record_id > 4", "records WHERE id > 4"):
            connection.execute(text(f"DELETE FROM audit_{statement}"))
    for _ in range(8):
        clock.advance(61)
        await agent.round()
        await add(sqlite_store, 1)

    assert [one.size for one in bus.checkpoints] == [9, 5, 6, 7, 8, 10, 11, 12]
    fault = (await verify(sqlite_store)).fault
    assert fault is not None
    assert fault.kind is FaultKind.FORK


async def test_a_checkpoint_that_a_crash_kept_from_the_file_is_handed_on_after_a_restart(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    away, bus = Heard(), Heard()
    away.away = True
    await add(sqlite_store, 2)
    await auditor(sqlite_store, away, tmp_path).round()

    agent = auditor(sqlite_store, bus, tmp_path)
    await agent.round()
    await agent.round()

    assert [one.size for one in bus.checkpoints] == [2]
    assert kept_in(tmp_path / "checkpoints.jsonl") == bus.checkpoints


def test_half_a_line_that_a_full_disk_left_does_not_spoil_the_file(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints.jsonl"
    first, second = SIGNER.sign(1, bytes(32), NOON), SIGNER.sign(2, bytes(32), NOON)
    append_line(path, checkpoint_line(first))
    with path.open("a") as file:
        file.write(checkpoint_line(second)[:50])

    assert last_checkpoint(path, SIGNER.public_key) == first
    append_line(path, checkpoint_line(second))

    assert kept_in(path) == [first, second]
    assert last_checkpoint(path, SIGNER.public_key) == second
    assert last_checkpoint(path, bytes(32)) is None


async def test_an_archive_of_words_that_were_erased_later_verifies_and_names_the_erasure(
    sqlite_store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    bus = Heard()
    agent = auditor(sqlite_store, bus, tmp_path, keep_days=30)
    await add(sqlite_store, 5)
    await agent.round()
    clock.advance(31 * 86_400)
    await sqlite_store.write(lambda tx: audit.erase(tx, by="r@x", by_user_id="u9", reason="asked", record_id=2))
    await agent.round()

    with (tmp_path / "audit-1-5.jsonl").open(encoding="utf-8") as file:
        verdict, _ = audit_verify.verify(read_lines(file), key=SIGNER.public_key, against=[])
    assert verdict.intact
    assert (verdict.records, verdict.checkpoints, verdict.erased_later) == (5, 1, (6,))
    live = await verify(sqlite_store)
    assert live.intact
    assert (live.after_id, live.archived) == (5, True)
    lines = (tmp_path / "audit-1-5.jsonl").read_text(encoding="utf-8").splitlines()
    without = [line for line in lines if '"erasure"' not in line]
    verdict, _ = audit_verify.verify(read_lines(io.StringIO("\n".join(without))), key=SIGNER.public_key, against=[])
    assert verdict.fault is not None
    assert verdict.fault.kind is FaultKind.EDIT
