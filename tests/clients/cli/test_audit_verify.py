"""`orquanta audit verify` and `export`: what a person is told of a log, straight from a server and from files."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from orquanta.ledger import wire
from orquanta.ledger.chain import GENESIS, canonical_json, private_hash, record_hash
from orquanta.ledger.checkpoint import Checkpoint, Start
from orquanta.ledger.export_file import checkpoint_line
from orquanta.ledger.merkle import Frontier
from orquanta.ledger.records import ARCHIVED, DISCONTINUED, LedgerRecord, canonical_record
from orquanta.ledger.signatures import Signer
from orquanta.v1 import audit_pb2
from tests.clients.cli.conftest import RunCli
from tests.clients.scripted import ScriptedServer

SIGNER = Signer(bytes(range(32)))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ARCHIVE_NOTE: dict[int, dict[str, object]] = {5: {"action": ARCHIVED, "archives": {"up_to": 2, "sha256": "ab"}}}


def log_of(count: int, special: dict[int, dict[str, object]] | None = None) -> list[LedgerRecord]:
    """Make a log."""
    records: list[LedgerRecord] = []
    previous = GENESIS
    for number in range(1, count + 1):
        key, words = number.to_bytes(32, "big"), canonical_json({"agent_name": "a", "payload": {}, "reasoning": "x"})
        fields = (special or {}).get(number, {"action": "x.done"})
        canonical = canonical_record(number, NOON.isoformat(), fields, private_hash(key, words))
        hashed = record_hash(previous, canonical)
        records.append(LedgerRecord(number, previous, hashed, canonical, words, key))
        previous = hashed
    return records


def tree_over(records: Sequence[LedgerRecord]) -> Frontier:
    """Return the Merkle tree over these records."""
    tree = Frontier()
    for one in records:
        tree.append(one.hash)
    return tree


def signed(records: Sequence[LedgerRecord]) -> Checkpoint:
    """Sign these records."""
    return SIGNER.sign(len(records), tree_over(records).root(), NOON)


def serve(
    server: ScriptedServer,
    records: Sequence[LedgerRecord],
    checkpoints: Sequence[Checkpoint],
    start: Start | None = None,
    answer: audit_pb2.VerifyAuditResponse | None = None,
) -> None:
    """Let the server send this log, and say that its own verification found nothing unless it is told otherwise."""
    begin = wire.write_start(start or Start(), origin=SIGNER.origin, public_key=SIGNER.public_key)
    server.answer(
        "AuditService/ExportAudit",
        [
            audit_pb2.ExportAuditResponse(start=begin),
            audit_pb2.ExportAuditResponse(checkpoints=[wire.write_checkpoint(one) for one in checkpoints]),
            audit_pb2.ExportAuditResponse(records=[wire.write_record(one) for one in records]),
        ],
    )
    server.answer("AuditService/VerifyAudit", answer or audit_pb2.VerifyAuditResponse(intact=True))


async def test_a_log_is_verified_and_the_unsigned_end_is_told(server: ScriptedServer, cli: RunCli) -> None:
    log = log_of(6)
    serve(server, log, [signed(log[:3]), signed(log[:5])])

    shown = await cli("audit", "verify")
    document = (await cli("audit", "verify", "--json")).document()

    assert shown.code == 0
    assert "intact" in shown.stdout
    assert "No checkpoint covers what is after record 5" in shown.stderr
    assert (document["intact"], document["checkpoints"], document["signed_id"]) == (True, 2, 5)


async def test_a_log_that_was_cut_off_or_forged_fails(server: ScriptedServer, cli: RunCli) -> None:
    log = log_of(6)
    serve(server, log[:4], [signed(log)])
    assert (await cli("audit", "verify")).code == 1
    serve(server, [replace(log[0], canonical="[" * 100_000), *log[1:]], [])
    assert (await cli("audit", "verify", "--json")).document()["fault"] == "edit"


async def test_what_only_the_server_can_see_fails_too(server: ScriptedServer, cli: RunCli) -> None:
    log = log_of(3)
    meddled = audit_pb2.VerifyAuditResponse(intact=False, fault="edit", at_id=2, text="shown with another outcome")
    serve(server, log, [signed(log)], answer=meddled)

    shown = await cli("audit", "verify", "--json")

    assert shown.code == 1
    assert (shown.document()["fault"], shown.document()["at_id"]) == ("edit", 2)


async def test_a_log_must_say_why_it_begins_later(server: ScriptedServer, cli: RunCli) -> None:
    log, silent = log_of(6, ARCHIVE_NOTE), log_of(6)
    serve(server, log[2:], [signed(log)], Start(2, log[1].hash, tree_over(log[:2]).subtrees))
    shown = await cli("audit", "verify")
    assert shown.code == 0
    assert "begins after record 2" in shown.stderr

    serve(server, silent[2:], [signed(silent)], Start(2, silent[1].hash, tree_over(silent[:2]).subtrees))
    assert (await cli("audit", "verify", "--json")).document()["fault"] == "deletion"


async def test_a_log_that_says_it_is_no_continuation_is_told(server: ScriptedServer, cli: RunCli) -> None:
    log = log_of(3, {2: {"action": DISCONTINUED}})
    serve(server, log, [signed(log)])

    shown = await cli("audit", "verify")

    assert "Record 2 says that the log is no continuation" in shown.stderr


async def test_an_export_verifies_offline_and_against_what_was_kept(
    server: ScriptedServer, cli: RunCli, tmp_path: Path
) -> None:
    log = log_of(5)
    serve(server, log, [signed(log[:4])])
    export, kept = tmp_path / "audit.jsonl", tmp_path / "kept.jsonl"
    assert (await cli("audit", "export", "-o", str(export))).code == 0
    assert (await cli("audit", "verify", str(export), "--json")).document()["signed_id"] == 4

    kept.write_text(checkpoint_line(signed(log)) + "\n", encoding="utf-8")
    assert (await cli("audit", "verify", str(export), "--against", str(kept), "--json")).document()["signed_id"] == 5
    kept.write_text(checkpoint_line(signed(log_of(6))) + "\n", encoding="utf-8")
    assert (await cli("audit", "verify", str(export), "--against", str(kept))).code == 1
    export.write_bytes(b"\xff\n")
    assert (await cli("audit", "verify", str(export))).code == 2
